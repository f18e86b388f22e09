"""k-means: a job per round; the centres travel to the tasks as `params`.

Run it with `python kmeans.py points.csv`. Source of the algorithm: Lloyd, Least squares
quantization in PCM, 1982.
"""

import sys

from disco import Job, Params, result_iterator


def nearest(point, centres):
    """Return the index of the centre that is nearest to *point*, both (x, y)."""
    return min(
        range(len(centres)),
        key=lambda i: (point[0] - centres[i][0]) ** 2 + (point[1] - centres[i][1]) ** 2,
    )


class Assign(Job):
    """From lines `x,y` to (index of a centre, its new (x, y))."""

    @staticmethod
    def map(line, params):
        """Yield (index of the nearest centre, (x, y, 1))."""
        x, y = (float(number) for number in line.split(b","))
        yield nearest((x, y), params.centres), (x, y, 1)

    @staticmethod
    def combiner(centre, point, sums, done, params):
        """Add up what goes to the same centre before it travels."""
        if done:
            return sums.items()
        x, y, count = sums.get(centre, (0.0, 0.0, 0))
        sums[centre] = (x + point[0], y + point[1], count + point[2])
        return None

    @staticmethod
    def reduce(pairs, params):
        """Yield (index, mean of its points)."""
        sums = {}
        for centre, (x, y, count) in pairs:
            sum_x, sum_y, total = sums.get(centre, (0.0, 0.0, 0))
            sums[centre] = (sum_x + x, sum_y + y, total + count)
        for centre, (x, y, count) in sorted(sums.items()):
            yield centre, (x / count, y / count)


def kmeans(inputs, centres, rounds):
    """Return the centres, (x, y) each, after *rounds* rounds from the given ones."""
    for _ in range(rounds):
        job = Assign().run(input=inputs, params=Params(centres=centres))
        moved = dict(result_iterator(job.wait()))
        job.purge()
        centres = [moved.get(i, centre) for i, centre in enumerate(centres)]
    return centres


if __name__ == "__main__":
    for x, y in kmeans(sys.argv[1:], [(0.0, 0.0), (5.0, 5.0), (10.0, 0.0)], 8):
        print(f"{x:7.3f} {y:7.3f}")
