# mypy: ignore-errors
"""Tests of jobs as Disco's users have them: ``disco.test``, a server of inputs, functions."""

import sys

from disco.func import default_partition, sum_reduce
from disco.job import Job
from disco.settings import DiscoSettings
from disco.test import TestCase, TestJob, TestRunner


def fun_map(entry, params):
    for word in entry.split():
        yield word, params["weight"]


def fun_partition(key, partitions, params):
    return default_partition(key, partitions, params)


class Lengths(TestJob):
    @staticmethod
    def map(line, params):
        yield "length", len(line)


class WordsTest(TestCase):
    def serve(self, path):
        return b"a b a\n" * int(path)

    def test_counts(self):
        self.job = Job("counts").run(
            input=self.test_server.urls(["1", ["2", "2"]]),
            map=fun_map,
            partition=fun_partition,
            reduce=sum_reduce,
            params={"weight": 10},
        )
        assert sorted(self.results(self.job)) == [(b"a", 60), (b"b", 30)]

    def test_lengths(self):
        assert self.num_workers > 0
        self.job = Lengths().run(input=self.test_server.urls(["1"]))
        self.assertResults(self.job, [("length", 6)])


if __name__ == "__main__":
    settings = DiscoSettings(DISCO_TEST_HOST="127.0.0.1", DISCO_TEST_PORT=0)
    WordsTest.settings = settings
    ended = TestRunner(settings).run(f"{__name__}.WordsTest")
    print(ended.testsRun, len(ended.failures) + len(ended.errors))
    sys.exit(not ended.wasSuccessful())
