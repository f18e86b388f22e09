"""Outputs of jobs, read from where they are."""

import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from disco.client.errors import LostRecordsError, UntrustedError
from disco.client.outputs import Output
from disco.v1 import jobs_pb2
from disco_engine.outputs import commit, open_writer, prepare


def output_at(directory: Path, form: str, told: str | None = None) -> Output:
    """Write two files of two records each, and return the output that a server tells of."""
    url, files = str(directory), []
    prepare(url, form, "me")
    records: Iterator[tuple[int, Any]] = ((number, "a\nb") for number in range(4))
    for part in range(2):
        writer = open_writer(url, form, "me", part, "written")
        writer.extend(0, islice(records, 2))
        writer.close()
        files.append(writer.file_name)
    commit(url, form, "me", files)
    info = jobs_pb2.ResultsInfo(records=4, parts=2, output_url=url)
    info.output_format = form if told is None else told
    return Output(info=info, job="default/count", here=True)


async def read(output: Output, first: int = 0, count: int = 0, *, trusted: bool = False) -> int:
    """Return how many records there are."""
    return sum([len(batch) async for batch in output.batches(first, count, trusted=trusted)])


@pytest.mark.parametrize(("form", "count"), [("jsonl", 4), ("csv", 4), ("text", 8)])
async def test_all_records_are_read(tmp_path: Path, form: str, count: int) -> None:
    output = output_at(tmp_path / "out", form)

    assert await read(output) == count
    assert await read(output, 1, 1) == count // 2


@pytest.mark.parametrize(("first", "count"), [(0, 0), (0, 1)])
async def test_a_file_that_is_gone_is_no_short_result(
    tmp_path: Path, first: int, count: int
) -> None:
    output = output_at(tmp_path / "out", "jsonl")
    (tmp_path / "out" / "part-00000.jsonl").unlink()

    with pytest.raises(LostRecordsError, match="1 of its 2 files are there"):
        await read(output, first, count)


async def test_records_that_are_gone_are_no_short_result(tmp_path: Path) -> None:
    output = output_at(tmp_path / "out", "jsonl")
    part = tmp_path / "out" / "part-00000.jsonl"
    part.write_text(part.read_text().splitlines(keepends=True)[0])

    with pytest.raises(LostRecordsError, match="3 of its 4 records are there"):
        await read(output)


@pytest.mark.parametrize("told", ["pickle", ""])
async def test_strangers_pickles_are_not_read_whatever_the_server_calls_them(
    tmp_path: Path, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = output_at(tmp_path / "out", "pickle", told)
    assert await read(output, trusted=True) == 4
    monkeypatch.setattr(pickle, "loads", lambda _: pytest.fail("was unpickled"))

    with pytest.raises(UntrustedError, match="default/count"):
        await read(output)
