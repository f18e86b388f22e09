"""Jobs of Python programs on a real server: they run there, and what they make comes back."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from disco import Disco, Job, Params, result_iterator
from disco.error import DiscoError, JobError


@dataclass(frozen=True)
class Point:
    """A value that only a pickle can hold."""

    x: int


class Squares(Job):
    partitions = 2
    params = Params(power=2)

    @staticmethod
    def map(line: str, params: Any) -> Iterator[tuple[int, int]]:
        for number in line.split():
            yield int(number), int(number) ** params.power

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Any:
        return pairs


@pytest.fixture
def master(served_master: str) -> str:
    return served_master


def test_functions_and_params_travel_and_records_come_back(master: str) -> None:
    factor = 10
    job = Squares(master=master).run(
        input=["raw://1 2", "raw://3"],
        params=Params(power=3),
        reduce=lambda pairs, params: [(key, Point(value * factor)) for key, value in pairs],
    )
    records = sorted(result_iterator(job.wait()), key=lambda record: record[0])
    assert [(key, point.x) for key, point in records] == [(1, 10), (2, 80), (3, 270)]


def test_an_output_is_read_where_it_is(master: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    job = Squares(master=master).run(input=["raw://1 2 3"], output=str(output), format="jsonl")
    urls = job.wait()
    assert urls == [f"{output}/part-00000.jsonl", f"{output}/part-00001.jsonl"]
    assert sorted(result_iterator(urls)) == [(1, 1), (2, 4), (3, 9)]
    client = job.disco._master.client  # type: ignore[attr-defined]
    assert sorted(client.records(job.name)) == [(1, 1), (2, 4), (3, 9)]
    assert len(list(client.records(job.name, first_part=1))) < 3
    following = Squares(master=master).run(
        input=urls, map_reader=None, map=lambda line, params: [(line, None)]
    )
    assert len(list(result_iterator(following.wait()))) == 3


def test_a_failure_is_told_with_the_line_of_the_author(master: str) -> None:
    job = Squares(master=master).run(input=["raw://1 x"], max_attempts=1)
    with pytest.raises(JobError, match=r"invalid literal for int\(\)") as caught:
        job.wait()
    assert "The record: '1 x'" in str(caught.value)
    assert "yield int(number), int(number) ** params.power" in str(caught.value)
    assert job.results() == ("dead", [])


def test_a_job_is_found_by_its_name_killed_and_purged(master: str) -> None:
    def sleep(line: str, params: Any) -> Any:
        import time

        time.sleep(600)

    name = Squares(master=master).run(input=["raw://1"], map=sleep).name
    disco = Disco(master)
    assert disco.results(name) == ("active", [])
    disco.kill(name)
    with pytest.raises(JobError, match="killed by its author"):
        disco.wait(name)
    disco.purge(name)
    assert disco.results(name) == ("unknown job", [])


def test_values_and_profile_are_read_as_long_as_the_job_is_there(
    master: str, tmp_path: Path
) -> None:
    def put_it(line: str, params: Any) -> Any:
        put("line", line)  # type: ignore[name-defined]  # noqa: F821
        print("hello")
        return [(line, 1)]

    output = str(tmp_path / "out")  # so that nothing of the job's processes is left at its end
    job = Squares(master=master).run(input=["raw://x"], map=put_it, profile=True, output=output)
    job.wait()
    disco = Disco(master)
    assert disco.oob_get(job.name, "line") == b"x"
    assert [key for key in job.oob_list() if not key.startswith("profile-")] == ["line"]
    assert any(name == "put_it" for _, _, name in job.profile_stats().stats)  # type: ignore[attr-defined]
    assert "MSG: [map:0] hello" in [text for _, (_, _, text) in job.events()]
    with pytest.raises(DiscoError, match="Unknown key or jobname"):
        job.oob_get("other")
    job.purge()
    with pytest.raises(DiscoError, match="Unknown key or jobname"):
        job.oob_list()
