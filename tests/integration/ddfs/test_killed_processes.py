"""Processes that are killed at every step of storing: what they leave is whole, and can go on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from disco.core import result_iterator
from disco.ddfs import DDFS

KILLED = Path(__file__).with_name("killed.py")
TEXT = b"".join(b"a line of text %d\n" % number for number in range(20))


@pytest.fixture
def ddfs(root: str) -> DDFS:
    return DDFS(root)


def kills(root: str, what: str, **environment: str) -> Iterator[int]:
    """Yield the step at which each process was killed, once for the one that got to its end."""
    with subprocess.Popen(
        [sys.executable, str(KILLED), root, what],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        steps = 0
        while process.stdout.readline():
            steps += 1
            yield steps
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.wait() == 0
    # Fewer would mean that the processes were killed somewhere else.
    assert steps > 4, steps


def left(ddfs: DDFS) -> list[str]:
    """Return all that is stored, but for tags and what there is only once."""
    return [
        found.name
        for root in ddfs.roots.all()
        for prefix in ("blob/", "tmp/")
        for found in root.store.names(prefix)
    ]


def links_of(ddfs: DDFS, tag: str) -> list[list[str]]:
    return ddfs.urls(tag) if ddfs.exists(tag) else []


@pytest.mark.timeout(600)
def test_a_push_is_tagged_as_a_whole_or_not_at_all(root: str, ddfs: DDFS) -> None:
    pushed = 0
    for _step in kills(root, "push"):
        links = links_of(ddfs, "t")
        assert len(links) in (2 * pushed, 2 * pushed + 2)
        pushed = len(links) // 2
        if links:
            assert [file.read() for file in ddfs.pull("t")] == [b"one", b"two"] * pushed
    assert pushed

    ddfs.collect(0)
    assert len(left(ddfs)) == 2 * pushed
    assert len([file.read() for file in ddfs.pull("t")]) == 2 * pushed


@pytest.mark.timeout(600)
def test_chunks_are_tagged_as_a_whole_or_not_at_all(root: str, ddfs: DDFS, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(TEXT)
    chunked = 0
    for _step in kills(root, "chunk", TEXT=str(text)):
        links = links_of(ddfs, "t")
        assert len(links) in (2 * chunked, 2 * chunked + 2)
        chunked = len(links) // 2
        assert b"".join(result_iterator(links)) == TEXT * 2 * chunked
    assert chunked

    ddfs.collect(0)
    assert len(left(ddfs)) == 2 * chunked


@pytest.mark.timeout(600)
def test_a_change_of_a_tag_is_made_once_or_not_at_all(root: str, ddfs: DDFS) -> None:
    seen: list[list[str]] = []
    for _step in kills(root, "tag"):
        links = links_of(ddfs, "t")
        assert links == seen or links[1:] == seen
        seen = links
    assert seen

    ddfs.collect(0)
    assert left(ddfs) == []
    ddfs.tag("t", ["http://example.org/more"])
    assert ddfs.urls("t") == [["http://example.org/more"], *seen]


@pytest.mark.timeout(600)
def test_a_collection_never_takes_what_a_tag_has_and_the_next_one_ends_its_work(
    root: str, ddfs: DDFS
) -> None:
    ddfs.push("kept", [(io.BytesIO(b"kept"), "kept")])
    ddfs.push("gone", [(io.BytesIO(b"gone"), "gone")])
    ddfs.delete("gone")
    for _step in kills(root, "collect"):
        assert [file.read() for file in ddfs.pull("kept")] == [b"kept"]
        ddfs.push("gone", [(io.BytesIO(b"gone"), "gone")])
        ddfs.delete("gone")

    ddfs.collect(0)
    assert [ddfs.blob_name(name) for name in left(ddfs)] == ["kept"]
    ddfs.tag("other", ddfs.urls("kept"))
