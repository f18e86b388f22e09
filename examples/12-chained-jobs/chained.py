"""Jobs that read each other's results: how many words occur once, twice and so on.

Run it with `python chained.py TEXT…`.
"""

import re
import sys

from disco.core import Job, result_iterator
from disco.job import JobChain
from disco.worker.classic.func import sum_combiner, sum_reduce

WORD = re.compile(rb"[A-Za-z']+")


class Words(Job):
    """From lines of text to (word, how often it occurs)."""

    partitions = 2
    combiner = staticmethod(sum_combiner)
    reduce = staticmethod(sum_reduce)

    @staticmethod
    def map(line, params):
        """Yield (word, 1) for each word."""
        for word in WORD.findall(line.lower()):
            yield word.decode(), 1


class Frequencies(Job):
    """From (word, how often it occurs) to (how often, how many words occur so often)."""

    combiner = staticmethod(sum_combiner)
    reduce = staticmethod(sum_reduce)

    @staticmethod
    def map(entry, params):
        """Yield (how often, 1); an entry of another job's result is a pair."""
        _, count = entry
        yield count, 1


class Longest(Job):
    """From (word, how often it occurs) to (length, the first word of that length)."""

    @staticmethod
    def map(entry, params):
        """Yield (length, word)."""
        word, _ = entry
        yield len(word), word

    @staticmethod
    def reduce(pairs, params):
        """Yield the longest words' length, and the first of them."""
        length, word = min(pairs, key=lambda pair: (-pair[0], pair[1]))
        yield length, word


def by_hand(inputs):
    """Return {how often: how many words}: the second job reads what the first has returned."""
    words = Words().run(input=inputs)
    frequencies = Frequencies().run(input=words.wait())
    found = dict(result_iterator(frequencies.wait()))
    words.purge()
    frequencies.purge()
    return found


def as_chain(inputs):
    """Return the same, and the longest word: two jobs read the result of one, at the same time."""
    words, frequencies, longest = Words(), Frequencies(), Longest()
    chain = JobChain({words: inputs, frequencies: words, longest: words}).wait()
    counts = dict(result_iterator(frequencies.results()[1]))
    ((_, word),) = result_iterator(longest.results()[1])
    chain.purge()
    return counts, word


if __name__ == "__main__":
    counts, word = as_chain(sys.argv[1:])
    for often, number in sorted(counts.items())[:10]:
        print(f"{number:6d} words occur {often} times")
    print(f"the longest is {word}")
