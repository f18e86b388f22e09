# mypy: ignore-errors
"""Counts words of two tags, then finds the most frequent word of each length: two chained jobs."""

from io import BytesIO

from disco.core import Disco, result_iterator
from disco.ddfs import DDFS
from disco.error import DataError
from disco.job import Job, JobChain
from disco.util import kvgroup
from disco.worker.classic.func import chain_reader, sum_combiner


class CountWords(Job):
    partitions = 2
    combiner = staticmethod(sum_combiner)
    sort = True

    @staticmethod
    def map(line, params):
        for word in re.findall(b"[a-z]+", line.lower()):  # noqa: F821 - re is there for functions
            yield word, 1

    @staticmethod
    def reduce(pairs, params):
        for word, counts in kvgroup(pairs):
            yield word, sum(counts)


class MostFrequent(Job):
    map_reader = staticmethod(chain_reader)

    @staticmethod
    def map(entry, params):
        word, count = entry
        yield len(word), (count, word)

    @staticmethod
    def reduce(pairs, out, params):
        for length, found in kvgroup(sorted(pairs)):
            count, word = max(found)
            out.add(length, (bytes_to_str(word), count))  # noqa: F821


def store(ddfs):
    ddfs.push("words:old", [(BytesIO(b"the cat and the dog\nthe end\n"), "old")])
    ddfs.push("words:new", [(BytesIO(b"a cat is no dog\n"), "new")], update=True)
    ddfs.tag("words:all", [["tag://words:old"], ["tag://words:new"]])


def main():
    ddfs = DDFS()
    store(ddfs)
    count, frequent = CountWords(), MostFrequent()
    chain = JobChain({count: "tag://words:all", frequent: count})
    chain.wait(poll_interval=0.1)
    for length, (word, times) in result_iterator(frequent.wait()):
        print(length, word, times)
    status, urls = count.results()
    print(status, sum(times for _, times in result_iterator(urls)))
    print(count.jobinfo()["active"], [stage[0] for stage in count.jobinfo()["pipeline"]])
    chain.purge()
    try:
        list(result_iterator(urls))
    except DataError:
        print("purged", Disco().results(count.name)[0])
    for tag in ddfs.list("words:"):
        ddfs.delete(tag)


if __name__ == "__main__":
    main()
