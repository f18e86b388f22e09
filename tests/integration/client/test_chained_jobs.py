"""Programs that give one job's results to the next on a real server."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from disco import Disco, Job, Params, result_iterator
from disco.client.errors import CannotTravelError
from disco.ddfs import DDFS
from disco.job import JobChain


@dataclass(frozen=True)
class Point:
    """A value that only a pickle can hold."""

    x: int


class Points(Job):
    """Leaves its records in three partitions."""

    partitions = 3

    @staticmethod
    def map(line: str, params: Any) -> Iterator[tuple[int, Point]]:
        for number in line.split():
            yield int(number), Point(int(number))

    @staticmethod
    def partition(key: int, partitions: int, params: Any) -> int:
        return key % partitions


class Total(Job):
    """Reduces what others have mapped, label by label."""

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[int, int]]:
        yield this_partition(), sum(point.x for _, point in pairs)  # type: ignore[name-defined]  # noqa: F821


@pytest.fixture
def master(served_master: str) -> str:
    return served_master


def test_a_chain_on_a_server_passes_records_and_labels_on(master: str) -> None:
    points, total = Points(master=master), Total(master=master)
    chain = JobChain({total: points, points: ["raw://0 1 2 3", "raw://4 5"]})
    chain.wait(poll_interval=0.05)
    assert list(result_iterator(total.wait())) == [(0, 3), (1, 5), (2, 7)]
    again = Points(master=master).run(
        input=points.wait(),
        map=lambda pair, params: [(pair[0], (pair[1], params.word))],
        params=Params(word=b"x"),
    )
    read = sorted(result_iterator(again.wait()), key=lambda record: record[0])
    assert read == [(number, (Point(number), b"x")) for number in range(6)]
    assert again.jobinfo()["pipeline"][0][4] == 6 - 1  # 4 and 5 leave one label of the second empty
    chain.purge()
    assert Disco(master).results([points, total], timeout=0)[1] == []
    again.purge()


def test_results_that_a_server_s_jobs_save_are_a_tag(master: str, served_ddfs: str) -> None:
    job = Points(master=master).run(
        input=["raw://1 2"], reduce=lambda pairs, params: sorted(pairs, key=repr), save_results=True
    )
    urls = job.wait()
    assert urls == [f"tag://disco:results:default:{job.name}"]
    assert job.results() == ("ready", urls)
    job.purge()
    ddfs = DDFS(served_ddfs)
    assert sorted(result_iterator(urls, ddfs=ddfs), key=repr) == [(1, Point(1)), (2, Point(2))]
    assert len(list(result_iterator(urls, ddfs=served_ddfs))) == 2
    empty = Total(master=master).run(input=["raw://"], map=Points.map, save_results=True)
    (tag,) = empty.wait()
    assert list(ddfs.blobs(tag)) == []
    empty.purge()


def test_results_of_this_process_and_of_servers_do_not_mix(master: str) -> None:
    with pytest.raises(CannotTravelError, match="which no server can read: run that job with"):
        Points(master=master).run(input=["disco://127.0.0.1:7/uid/2/0"])
