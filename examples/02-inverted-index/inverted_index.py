"""An inverted index: for each word, the verses it occurs in."""

import re

from disco import Job
from disco.util import kvgroup

WORD = re.compile(r"[a-z']+")


class InvertedIndex(Job):
    """From lines `reference<TAB>text` to (word, [reference, …])."""

    partitions = 4
    sort = True  # the reduce gets each word's verses together, however many there are

    @staticmethod
    def map(line, params):
        """Yield (word, reference) once for each distinct word of a verse."""
        reference, text = line.decode().rstrip("\n").split("\t", 1)
        for word in sorted(set(WORD.findall(text.lower()))):
            yield word.encode(), reference

    @staticmethod
    def reduce(pairs, params):
        """Yield (word, references)."""
        for word, references in kvgroup(pairs):
            yield word.decode(), sorted(references)
