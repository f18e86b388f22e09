"""A job's results as another's input, straight from the partition services of this process."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import eventually

from disco import Disco, Job, Params, result_iterator, session
from disco.error import DataError, DiscoError, JobError
from disco.job import JobChain
from disco.util import kvgroup
from disco.worker.classic.func import chain_reader
from disco_engine.local.supervisor import Role

RECORDS: list[tuple[Any, Any]] = [
    ("text", 1),
    (b"bytes", 2.5),
    (3, None),
    (("a", 1), {"x": [1, 2]}),
    ("text", {"set"}),
    (None, ()),
]


class Emit(Job):
    """Yields the records it has as params, all of them for each input."""

    workers = 1
    partitions = 1

    @staticmethod
    def map(line: str, params: Any) -> Any:
        return params


class Labelled(Job):
    """A map that leaves its records in four partitions, of which one stays empty."""

    workers = 2
    partitions = 4

    @staticmethod
    def map(line: str, params: Any) -> Iterator[tuple[int, str]]:
        for number in range(12):
            yield number, line

    @staticmethod
    def partition(key: int, partitions: int, params: Any) -> int:
        return key % 3


class Same(Job):
    """Yields the pairs it reads, with the process and task that read them."""

    workers = 1
    partitions = 1

    @staticmethod
    def map(pair: Any, params: Any) -> Iterator[tuple[Any, Any]]:
        yield pair


class Sums(Job):
    """Reduces what others have mapped; each task says what its label is."""

    workers = 1

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[int, Any]]:
        numbers = sorted(key for key, _ in pairs)
        yield this_partition(), numbers  # type: ignore[name-defined]  # noqa: F821


@pytest.fixture(scope="module")
def labelled() -> Job:
    job = Labelled().run(input=["raw://a", "raw://b"])
    job.wait()
    return job


def test_records_keep_their_number_order_and_types() -> None:
    first = Emit().run(input=["raw://1", "raw://2"], params=RECORDS)
    second = Same().run(input=first.wait())
    assert list(result_iterator(second.wait())) == RECORDS * 2
    assert second.jobinfo()["pipeline"][0][0:1] + second.jobinfo()["pipeline"][0][4:] == [
        "map",
        2,  # a task per part
        0,
    ]
    with_reader = Same().run(input=[second.wait()], map_reader=chain_reader)
    assert list(result_iterator(with_reader.wait())) == RECORDS * 2
    for job in (first, second, with_reader):
        job.purge()


def test_a_reduce_without_a_map_gets_a_task_per_label_over_all_parts(labelled: Job) -> None:
    job = Sums().run(input=labelled.wait())
    assert list(result_iterator(job.wait())) == [
        (label, sorted([label, label + 3, label + 6, label + 9] * 2)) for label in range(3)
    ]
    job.purge()


def test_a_map_over_a_result_with_partitions_gets_a_task_per_part_and_label(labelled: Job) -> None:
    urls = labelled.wait()
    assert len(urls) == 2
    job = Same().run(input=urls)
    records = list(result_iterator(job.wait()))
    assert sorted(records) == sorted((number, line) for number in range(12) for line in "ab")
    assert [key % 3 for key, _ in records] == [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4 + [1] * 4 + [
        2
    ] * 4
    assert job.jobinfo()["pipeline"][0][4] == 6
    job.purge()


def test_what_each_finished_stage_has_written_can_be_read(labelled: Job) -> None:
    assert labelled.stageresults("map") == [[url] for url in labelled.wait()]
    job = Labelled().run(input=["raw://a"], reduce=lambda pairs, params: list(pairs)[:1])
    job.wait()
    mapped = job.stageresults("map")
    assert job.mapresults() == mapped
    assert [url.rpartition("?")[2] for (url,) in mapped] == [
        f"label={label}&records=4" for label in range(3)
    ]
    assert sorted(result_iterator(mapped)) == [(number, "a") for number in range(12)]
    again = Same().run(input=mapped)
    assert len(list(result_iterator(again.wait()))) == 12
    assert len(list(result_iterator(job.stageresults("reduce")))) == 3
    again.purge()
    job.purge()


def test_what_a_stage_has_written_is_an_error_when_some_of_it_is_lost() -> None:
    """Nobody makes it again once it has been read by the next stage."""
    job = Labelled().run(input=["raw://a", "raw://b"], reduce=lambda pairs, params: pairs)
    job.wait()
    run = session.find(job.name)
    assert run is not None
    log, *_ = run.engine.run_dir.rglob("stage-1.by-label.log")
    with log.open("r+b") as file:
        file.write(b"damage")
    urls = job.mapresults()
    with pytest.raises(DataError, match="damaged on disk"):
        list(result_iterator(urls))
    with pytest.raises(DataError, match="4 records of the result's 8: it has lost the others"):
        list(result_iterator(urls))
    again = Same().run(input=urls)
    with pytest.raises(JobError, match="4 of its 8 records are there; it is the result of another"):
        again.wait()
    again.purge()
    with pytest.raises(DiscoError, match=r"the 2 tasks of stage 'map' of .* 1 is lost"):
        job.mapresults()
    job.purge()


def test_files_that_keep_types_are_read_as_results_are(tmp_path: Path) -> None:
    """As on a cluster, where jobs reach each other's records through an output only."""
    first = Emit().run(
        input=["raw://1", "raw://2"], params=RECORDS, output=str(tmp_path / "out"), format="pickle"
    )
    second = Same().run(input=first.wait(), split_size=10)
    assert list(result_iterator(second.wait())) == RECORDS * 2
    assert second.jobinfo()["pipeline"][0][4] == 2
    second.purge()


def test_a_result_that_is_gone_is_refused_before_anything_starts() -> None:
    job = Emit().run(input=["raw://1"], params=[(1, 2)])
    urls = job.wait()
    job.purge()
    with pytest.raises(DiscoError, match="does not have that result: it has been purged, or"):
        Same().run(input=urls)
    with pytest.raises(DataError, match="it has been purged"):
        list(result_iterator(urls))


class Waits(Job):
    """Reads pairs, and after the first waits for a file."""

    workers = 1
    partitions = 1

    @staticmethod
    def map(pair: Any, params: Any) -> Iterator[tuple[Any, Any]]:
        Path(params.place, "began").touch()
        while not Path(params.place, "go").exists():
            time.sleep(0.01)
        yield pair


def test_a_job_whose_input_is_purged_while_it_reads_ends_and_says_why(tmp_path: Path) -> None:
    first = Emit().run(input=["raw://1"], params=[(n, "x" * 1000) for n in range(100)])
    second = Waits().run(input=first.wait(), params=Params(place=str(tmp_path)))
    eventually((tmp_path / "began").exists)
    first.purge()
    with pytest.raises(JobError, match=f"read the results of {first.name}, which were purged"):
        second.wait(timeout=60)
    assert second.results()[0] == "dead"
    second.purge()


class Nearest(Job):
    """One round of k-means on a line: lists of points in, those of each centre out."""

    workers = 1
    partitions = 1

    @staticmethod
    def map(pair: tuple[int, list[float]], params: Any) -> Iterator[tuple[int, float]]:
        for point in pair[1]:
            distances = [abs(point - centre) for centre in params.centres]
            yield distances.index(min(distances)), point

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[int, list[float]]]:
        for centre, points in kvgroup(sorted(pairs)):
            yield centre, list(points)


def test_ten_rounds_of_an_iterative_job_leave_no_more_processes_than_one() -> None:
    before = len(session.all_runs())
    last: Job = Emit().run(input=["raw://1"], params=[(0, [1.0, 2.0, 3.0, 11.0, 12.0, 13.0])])
    centres = [1.0, 2.0]
    for _ in range(10):
        job = Nearest().run(input=last.wait(), params=Params(centres=centres))
        records = list(result_iterator(job.wait()))
        centres = [sum(points) / len(points) for _, points in records]
        last.purge()
        last = job
        (run,) = session.all_runs()[: len(session.all_runs()) - before]
        run.engine.stop_workers()
        assert [child.role for child in run.engine.children() if child.pid] == [
            Role.PARTITION_SERVICE
        ]
    assert centres == [2.0, 12.0]
    last.purge()


def test_a_chain_runs_each_job_over_the_results_of_those_before() -> None:
    first, second, third = Emit("first"), Same("second"), Same("third")
    first.params = [("a", 1), ("b", 2)]  # type: ignore[attr-defined]
    second.params = third.params = Params()  # type: ignore[attr-defined]
    chain = JobChain({third: [second, first], second: first, first: ["raw://1"]})
    assert chain.wait(poll_interval=0.05) is chain
    assert list(result_iterator(third.wait())) == [("a", 1), ("b", 2)] * 2
    chain.purge()
    assert third.results() == ("unknown job", [])
    assert Disco().results([first, second, third], timeout=0)[1] == []
