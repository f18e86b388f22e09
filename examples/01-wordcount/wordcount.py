"""Count the words of a text: the smallest job that does something."""

import re

from disco import Job
from disco.util import kvgroup
from disco.worker.classic.func import sum_combiner

WORD = re.compile(rb"[A-Za-z']+")


class WordCount(Job):
    """From lines of text to (word, how often it occurs)."""

    partitions = 2
    combiner = staticmethod(sum_combiner)

    @staticmethod
    def map(line, params):
        """Yield (word, 1) for each word of a line, which is bytes and ends with a newline."""
        for word in WORD.findall(line.lower()):
            yield word.decode(), 1

    @staticmethod
    def reduce(pairs, params):
        """Yield (word, total); *pairs* are all (word, count) of one partition."""
        for word, counts in kvgroup(sorted(pairs)):
            yield word, sum(counts)
