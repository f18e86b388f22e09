"""This project, two worker processes with a slot each."""

import shutil
import sys
import tempfile
from bisect import bisect

from disco import Job, result_iterator
from disco.util import kvgroup
from disco.worker.classic.func import sum_combiner


def words_of(line, params):
    """Yield (word, 1) for each word."""
    for word in line.split():
        yield word, 1


class WordCount(Job):
    """With a combiner: little is shuffled."""

    partitions = 2
    map = staticmethod(words_of)
    combiner = staticmethod(sum_combiner)

    @staticmethod
    def reduce(pairs, params):
        """Yield (number of words, sum of their counts)."""
        totals = {}
        for word, count in pairs:
            totals[word] = totals.get(word, 0) + count
        yield len(totals), sum(totals.values())


class Shuffle(Job):
    """Without a combiner: every pair is shuffled, and grouped by key."""

    partitions = 2
    sort = True
    map = staticmethod(words_of)

    @staticmethod
    def reduce(pairs, params):
        """Yield (number of words, sum of their counts)."""
        words, total = 0, 0
        for _, ones in kvgroup(pairs):
            words, total = words + 1, total + sum(ones)
        yield words, total


BOUNDS = [bytes([97 + 26 * i // 8, 97 + 26 * (26 * i % 8) // 8]) for i in range(1, 8)]


class Sort(Job):
    """Order 100-byte lines by their first 10 bytes, into 8 sorted files."""

    partitions = 8
    sort = True

    @staticmethod
    def map(line, params):
        """Yield (key, rest)."""
        yield line[:10], line[11:-1]

    @staticmethod
    def partition(key, partitions, params):
        """Return the range that *key* lies in."""
        return bisect(BOUNDS, key)

    @staticmethod
    def reduce(pairs, params):
        """Yield the pairs in key order."""
        return pairs


class Empty(Job):
    """Tasks that do nothing."""

    @staticmethod
    def map(entry, params):
        """Yield nothing."""
        return ()


def main(case, paths):
    """Run one case and print a checksum that all contenders share."""
    if case == "sort":
        folder = tempfile.mkdtemp()
        Sort().run(input=paths, output=f"{folder}/out", workers=2).wait()
        shutil.rmtree(folder)
        return
    if case == "empty":
        Empty().run(input=["raw://"] * int(paths[0]), workers=2).wait()
        return
    job = {"wordcount": WordCount, "shuffle": Shuffle}[case]().run(input=paths, workers=2)
    parts = list(result_iterator(job.wait()))
    print(*(sum(column) for column in zip(*parts, strict=True)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
