"""Estimate pi by throwing darts: a job whose inputs are numbers, not files."""

import random

from disco import Job


class EstimatePi(Job):
    """From inputs `raw://SEED:DARTS` to one record: ("pi", the estimate)."""

    @staticmethod
    def map(entry, params):
        """Yield (0, (darts inside the quarter circle, darts thrown)); the seed makes it exact."""
        seed, darts = (int(number) for number in entry.split(":"))
        random_of_task = random.Random(seed)
        inside = sum(
            random_of_task.random() ** 2 + random_of_task.random() ** 2 <= 1.0 for _ in range(darts)
        )
        yield 0, (inside, darts)

    @staticmethod
    def reduce(pairs, params):
        """Yield the estimate from all tasks."""
        inside, thrown = 0, 0
        for _, (hits, darts) in pairs:
            inside, thrown = inside + hits, thrown + darts
        yield "pi", 4 * inside / thrown


if __name__ == "__main__":
    from disco import result_iterator

    job = EstimatePi().run(input=[f"raw://{seed}:100000" for seed in range(16)])
    print(dict(result_iterator(job.wait())))
