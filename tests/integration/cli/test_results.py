"""results: records on the screen and in files."""

import csv
import io
import json
import stat
from pathlib import Path

import pytest

from disco.v1 import coordinator_pb2, jobs_pb2
from disco_engine.outputs import read_records
from disco_gateway.backend import ResultSource
from disco_gateway.fake import FakeBackend
from disco_gateway.fake_partition import serving_partition, source_of

from .conftest import COUNT, Shell, blocks_of, is_watched, until

ALL = [("a", 3), ("b", 2), ("c", 1), ("d", 9)]


@pytest.fixture
def job(server: FakeBackend, results: ResultSource) -> FakeBackend:
    server.add("default", "count")
    server.finish("default", "count", source=results)
    return server


@pytest.mark.usefixtures("job")
async def test_records_are_printed_with_a_word_on_how_to_see_and_keep_them_all(
    shell: Shell,
) -> None:
    done = await shell.disco("results", "count")
    assert (done.status, done.out) == (0, "a\t3\nb\t2\nc\t1\nd\t9\n")
    assert done.err == ("All are shown. To keep them: disco results count --output DIRECTORY.\n")

    done = await shell.disco("results", "count", "--head", "1")
    assert done.out == "a\t3\n"
    assert done.err.startswith("Shown: 1 of 4. To see all: disco results count --head all. ")
    assert (await shell.disco("results", "count", "--top", "2", "--quiet")).out == "d\t9\na\t3\n"
    assert (await shell.disco("results", "count", "--part", "1")).out == "d\t9\n"


@pytest.mark.usefixtures("job")
async def test_records_are_printed_in_a_format(shell: Shell) -> None:
    done = await shell.disco("results", "count", "--format", "jsonl", "--head", "2")

    assert list(map(json.loads, done.out.splitlines())) == [
        {"key": "a", "value": 3},
        {"key": "b", "value": 2},
    ]
    rows = csv.reader(
        io.StringIO((await shell.disco("results", "count", "--format", "csv", "--head", "all")).out)
    )
    assert list(rows) == [["key", "value"], ["a", "3"], ["b", "2"], ["c", "1"], ["d", "9"]]


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("form", ["jsonl", "parquet", "pickle"])
async def test_records_are_saved_in_a_file_per_part(shell: Shell, form: str) -> None:
    done = await shell.disco("results", "count", "--output", "out", "--format", form)

    assert (done.status, done.out) == (0, "")
    assert done.err == f"4 records written to the directory out, as {form}.\n"
    files = sorted(path.name for path in (shell.directory / "out").iterdir())
    assert len(files) == 3
    assert files[0] == "_SUCCESS"
    assert list(read_records(str(shell.directory / "out"))) == ALL


@pytest.mark.usefixtures("job")
async def test_records_are_saved_in_one_file_whose_name_tells_its_format(shell: Shell) -> None:
    done = await shell.disco("results", "count", "--output", "out.csv")

    assert (done.status, done.err) == (0, "4 records written to out.csv, as csv.\n")
    path = shell.directory / "out.csv"
    assert path.read_text() == "key,value\na,3\nb,2\nc,1\nd,9\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o077, "only its owner can read it"
    again = await shell.disco("results", "count", "--output", "out.csv")
    assert (again.status, again.err) == (
        2,
        "Error: out.csv exists: choose another name, or remove it\n",
    )


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("--part", "2"), 2, "Error: count has no part 2: it has 2 parts, counted from 0\n"),
        (("--output", ""), 2, "Error: --output is empty: expected a file or directory\n"),
        (("--output", "no/where.csv"), 1, "Error: no/where.csv: No such file or directory\n"),
        (("--format", "xml"), 2, "'xml' is not one of"),
    ],
)
async def test_what_makes_no_sense_is_said(
    shell: Shell, arguments: tuple[str, ...], status: int, expected: str
) -> None:
    done = await shell.disco("results", "count", *arguments)

    assert done.status == status
    assert expected in done.err


async def test_a_job_that_has_not_succeeded_has_none(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "count", phase=coordinator_pb2.JOB_PHASE_RUNNING)

    done = await shell.disco("results", "count")

    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "Error: count has no results: it is running, and they are there once a job has succeeded\n"
    )


async def test_pickles_of_others_are_read_only_if_they_are_trusted(
    server: FakeBackend, shell: Shell
) -> None:
    async with serving_partition([blocks_of((frozenset({1}), 1))]) as partition:
        server.add("default", "count")
        server.finish("default", "count", source=source_of(partition))

        refused = await shell.disco("results", "count", "--output", "out", "--format", "pickle")
        assert refused.status == 2
        assert "--trust" in refused.err
        assert not (shell.directory / "out").exists(), "a part of an output was left"
        trusted = await shell.disco("results", "count", "--trust")
        assert trusted.out == "frozenset({1})\t1\n"


async def test_records_in_an_output_are_read_from_there(server: FakeBackend, shell: Shell) -> None:
    shell.environment["COLUMNS"] = "300"  # however long the path is
    out = shell.directory / "there"
    out.mkdir()
    (out / "part-00000.csv").write_text("key,value\na,1\n")
    (out / "_SUCCESS").write_text("")
    info = jobs_pb2.ResultsInfo(records=1, parts=1, output_url=str(out), output_format="csv")
    server.add("default", "count")
    server.finish("default", "count", results=info)

    assert (await shell.disco("results", "count")).out == "a\t1\n"
    told = (await shell.disco("status", "count")).out
    assert f"1 record in {out}, as csv" in told


async def test_lost_results_are_told_and_leave_nothing(
    server: FakeBackend, shell: Shell, tmp_path: Path
) -> None:
    async with serving_partition([blocks_of(("a", 1)), blocks_of(("b", 2))]) as partition:
        server.add("default", "count")
        server.finish("default", "count", source=source_of(partition))
        partition.lie = 1

        done = await shell.disco("results", "count", "--output", "out.jsonl")

    assert done.status == 1
    assert done.err.startswith("Error: ")
    assert list(shell.directory.glob("*out*")) == []
    assert list(shell.directory.glob(".disco-*")) == []


async def test_what_no_stream_can_encode_is_escaped(server: FakeBackend, shell: Shell) -> None:
    shell.write("count.py", COUNT)
    async with serving_partition([blocks_of(("lone \ud800", float("nan")))]) as partition:
        following = await shell.start(
            "submit", "count.py", "raw://a", "--name", "odd", "--follow", "--json"
        )
        await until(lambda: is_watched(server))
        server.finish("default", "odd", source=source_of(partition))

        told = await shell.ended(following)
        printed = await shell.disco("results", "odd")

    assert (printed.status, printed.out) == (0, "lone \\ud800\tnan\n")
    assert json.loads(told.out.splitlines()[-1])["results"] == [
        {"key": "lone \ud800", "value": "nan"}
    ]
