"""Where a job's functions spend their time: the same job twice, before and after a look.

Run it with `python profiling.py TEXT…`; or `disco run --profile profiling.py:Slow TEXT…` and, on a
server, `disco pstats NAME`.
"""

import re
import sys

from disco.core import Job, result_iterator
from disco.worker.classic.func import sum_combiner, sum_reduce

WORD = re.compile(b"[a-z]+")
STOPWORDS = b"a and for he his in is it not of shall that the they to unto was".split()
FAST_STOPWORDS = frozenset(STOPWORDS)


class Slow(Job):
    """From lines of text to (word, how often it occurs), without the most frequent ones."""

    profile = True
    combiner = staticmethod(sum_combiner)
    reduce = staticmethod(sum_reduce)

    @staticmethod
    def map(line, params):
        """Yield (word, 1)."""
        for word in words_of(line):
            if not is_stopword(word):
                yield word, 1


def words_of(line):
    """Return the words of a line, the hard way."""
    letters = [character if chr(character).isalpha() else 32 for character in line.lower()]
    return bytes(letters).split()


def is_stopword(word):
    """Return whether a word is too frequent to be interesting, the hard way."""
    return any(word == other for other in STOPWORDS)


class Quick(Slow):
    """The same, after a look at where the time went."""

    @staticmethod
    def map(line, params):
        """Return all (word, 1)."""
        return [(word, 1) for word in WORD.findall(line.lower()) if word not in FAST_STOPWORDS]


def profiled(job, inputs):
    """Run a job; return its results, and the statistics of its functions."""
    job.run(input=inputs)
    counts = dict(result_iterator(job.wait()))
    stats = job.profile_stats()
    job.purge()
    return counts, stats


if __name__ == "__main__":
    for job in (Slow(), Quick()):
        print(type(job).__name__)
        _, stats = profiled(job, sys.argv[1:])
        stats.print_stats(8)
