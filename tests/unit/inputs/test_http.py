"""Web servers, with ranges and without, over real sockets."""

import gzip
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from disco_engine.core.model import FailureKind, TaskInput
from disco_engine.inputs.expand import expand
from disco_engine.inputs.formats import parquet_rows
from disco_engine.inputs.lines import lines
from disco_engine.inputs.opening import head_of, open_stream, pieces
from disco_engine.program import ProgramError

TEXT = b"".join(b"%d: what a line says\n" % (number * 7919) for number in range(100_000))


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    (tmp_path / "text.gz").write_bytes(gzip.compress(TEXT))
    (tmp_path / "empty").touch()


def test_a_server_with_ranges_is_read_in_ranges(ranged_server: str) -> None:
    url = f"{ranged_server}/text"
    items = expand([(url,)], split_size_bytes=1_000_000, splittable=True)
    assert len(items) == 3
    assert all(item.urls == (url,) for item in items)
    assert b"".join(line for item in items for line in lines(item)) == TEXT
    assert head_of(url).seekable


def test_a_server_without_ranges_is_read_from_front_to_back_as_one_task(plain_server: str) -> None:
    url = f"{plain_server}/text"
    items = expand([(url,)], split_size_bytes=1_000_000, splittable=True)
    assert items == (TaskInput(urls=(url,)),)
    assert b"".join(lines(items[0])) == TEXT
    assert b"".join(pieces(url, offset=1_234_567)) == TEXT[1_234_567:]


def test_compressed_and_empty_files_are_read_from_any_server(
    ranged_server: str, plain_server: str
) -> None:
    for server in (ranged_server, plain_server):
        (item,) = expand([(f"{server}/text.gz",)], split_size_bytes=1_000, splittable=True)
        assert b"".join(lines(item)) == TEXT
        (item,) = expand([(f"{server}/empty",)], split_size_bytes=1_000, splittable=True)
        assert list(lines(item)) == []
        assert head_of(item.urls[0]).codec is None
        assert b"".join(pieces(f"{server}/text", offset=len(TEXT))) == b""


def test_a_stream_may_be_closed_before_its_end(plain_server: str) -> None:
    with open_stream(f"{plain_server}/text") as stream:
        assert stream.readline() == TEXT[: TEXT.index(b"\n") + 1]


def test_parquet_is_read_from_any_server(
    ranged_server: str, plain_server: str, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"n": n} for n in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for server in (ranged_server, plain_server):
        assert list(parquet_rows(TaskInput(urls=(f"{server}/rows.parquet",)))) == rows


def test_a_missing_file_is_named(plain_server: str) -> None:
    url = f"{plain_server}/gone"
    with pytest.raises(ProgramError, match=f"^no such file: {url}$") as caught:
        expand([(url,)], split_size_bytes=1, splittable=True)
    assert caught.value.failure.kind is FailureKind.FATAL
    with pytest.raises(ProgramError, match=f"^cannot read {url}: no such file$"):
        list(pieces(url))


def test_a_server_that_does_not_answer_is_tried_again_later() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/text"
        with pytest.raises(ProgramError, match=f"^cannot reach {url}: ") as caught:
            expand([(url,)], split_size_bytes=1, splittable=True)
        assert caught.value.failure.kind is FailureKind.USER
        with pytest.raises(ProgramError, match=f"^cannot read {url}: "):
            list(pieces(url))


def test_a_connection_that_ends_midway_is_an_error_or_continued_elsewhere(
    breaking_server: str, plain_server: str
) -> None:
    url = f"{breaking_server}/text"
    with pytest.raises(ProgramError, match=f"^cannot read {url}: .*[Nn]ot enough data"):
        list(lines(TaskInput(urls=(url,))))
    item = TaskInput(urls=(url, f"{plain_server}/text"))
    for _ in range(4):  # whichever of the two comes first
        assert b"".join(lines(item)) == TEXT


def test_a_process_that_read_from_a_server_ends_without_a_warning(plain_server: str) -> None:
    script = """
import logging, sys
logging.getLogger("asyncio").setLevel(logging.ERROR)  # how slow this machine is, is no matter
from disco_engine.core.model import TaskInput
from disco_engine.inputs.lines import lines
from disco_engine.inputs.opening import open_stream
item = TaskInput(urls=(sys.argv[1],))
assert sum(1 for _ in lines(item)) == 100_000
next(iter(lines(item)))
open_stream(sys.argv[1]).read(10)
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "always", "-c", script, f"{plain_server}/text"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
