"""Inputs are what they are in Disco: their types, replicas, and tags."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disco.ddfs import DDFS
from disco.test import TestServer
from disco.worker.classic.func import chain_reader

from . import jobs
from .conftest import Backend


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    serving = TestServer.create(
        ("127.0.0.1", 0), lambda path: b"" if path == "empty" else f"{path}\nlast".encode()
    )
    serving.start()
    yield serving
    serving.stop()


def test_entries_have_disco_s_types(files: Backend, server: TestServer, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"file\nlast")
    ((url,), (empty,)) = server.urls(["http", "empty"])
    inputs = [str(path), f"file://{path}", url, empty, "raw://raw", "url://h/x"]
    records = files.results(jobs.Types, input=inputs)
    assert sorted(records, key=str) == sorted(
        [
            ("bytes", b"file\n"),
            ("bytes", b"file\n"),
            ("bytes", b"http\n"),
            *[("bytes", b"last")] * 3,
            ("str", "raw"),
            ("str", "url://h/x"),
        ],
        key=str,
    )


def pairs(stream: Any, size: int | None, url: str) -> list[Any]:
    return [("k", {1: b"v"}), (("t", 1), None)]


def test_chunks_of_a_tag_have_the_types_that_were_stored_and_blobs_are_inputs_each(
    files: Backend,
) -> None:
    ddfs = DDFS()
    for letter in "ab":
        ddfs.chunk("compat:pairs", [f"raw://{letter}"], reader=pairs)
    records = files.results(jobs.Copied, input=["tag://compat:pairs"], map_reader=chain_reader)
    assert sorted(records, key=str) == sorted([("k", {1: b"v"}), (("t", 1), None)] * 2, key=str)
    ddfs.delete("compat:pairs")


def test_a_replica_that_fails_is_replaced_without_repeating_anything(
    files: Backend, tmp_path: Path
) -> None:
    for name in ("broken", "whole"):
        (tmp_path / name).write_bytes(b"1\n2\n3\n4\n")
    replicas = [str(tmp_path / "broken"), str(tmp_path / "whole")]
    records = files.results(jobs.Replicated, input=[replicas])
    assert sorted(records) == [(b"1\n", 1), (b"2\n", 1), (b"3\n", 1), (b"4\n", 1)]


def test_a_local_input_is_opened_as_compat_s_file(files: Backend, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"x")
    assert files.results(jobs.Streams, input=[str(tmp_path / "text")]) == [("is a file", True)]
