"""How often each letter occurs: what is to be counted is known, so combiner and reduce are given.

Run it with `python letter_frequency.py TEXT…`.
"""

import sys

from disco.core import Job, result_iterator
from disco.worker.classic.func import sum_combiner, sum_reduce


class LetterFrequency(Job):
    """From lines of text to (letter, how often it occurs), small and capital letters alike."""

    combiner = staticmethod(sum_combiner)
    reduce = staticmethod(sum_reduce)

    @staticmethod
    def map(line, params):
        """Yield (letter, 1) for each letter of a line."""
        for character in line.decode().lower():
            if character.isalpha():
                yield character, 1


def percentages(counts):
    """Return {letter: its share in per cent}, the most frequent first."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return {letter: 100 * count / total for letter, count in ordered}


if __name__ == "__main__":
    job = LetterFrequency().run(input=sys.argv[1:])
    for letter, share in percentages(dict(result_iterator(job.wait()))).items():
        print(f"{letter}  {share:6.3f} %  {'#' * round(4 * share)}")
    job.purge()
