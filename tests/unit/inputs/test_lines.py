"""Lines of ranges: none lost, none twice, whatever the cuts, the pieces and the replicas."""

import bz2
import gzip
import io
import lzma
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco_engine.core.model import FailureKind, TaskInput
from disco_engine.inputs import opening
from disco_engine.inputs.expand import expand
from disco_engine.inputs.lines import line_blocks, line_chunks, lines
from disco_engine.inputs.replicas import by_preference
from disco_engine.program import ProgramError

Store = Callable[[str, bytes], str]
FlakyStore = Callable[[str, bytes, int], str]

TEXTS = st.lists(
    st.sampled_from([b"a", b"bb", b"\r", b"\n", b"\n", b"\r\n", "é".encode(), "漢字".encode()])
).map(b"".join)

shared_files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def lines_of(data: bytes) -> list[bytes]:
    return io.BytesIO(data).readlines()


@shared_files
@given(data=TEXTS, split=st.integers(1, 9), piece=st.integers(1, 9))
def test_the_ranges_of_a_file_have_each_of_its_lines_once_and_in_order(
    tmp_path: Path, data: bytes, split: int, piece: int
) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    with mock.patch.object(opening, "LOCAL_PIECE_BYTES", piece):
        items = expand([(str(path),)], split_size_bytes=split, splittable=True)
        assert len(items) == max(1, -(-len(data) // split))
        assert [line for item in items for line in lines(item)] == lines_of(data)


@shared_files
@given(data=TEXTS.filter(bool), random=st.randoms(use_true_random=False))
def test_any_cuts_give_the_same_lines(tmp_path: Path, data: bytes, random: random.Random) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    inner = sorted(random.sample(range(1, len(data)), min(3, len(data) - 1)))
    cuts = [0, *inner, len(data)]
    found: list[bytes] = []
    for start, end in pairwise(cuts):
        found += lines(TaskInput(urls=(str(path),), offset=start, length=end - start))
    assert found == lines_of(data)


@shared_files
@given(
    data=TEXTS,
    good=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    split=st.integers(1, 20),
    piece=st.integers(1, 9),
)
def test_a_replica_that_breaks_off_is_continued_in_another_at_the_same_line(
    memory: Store,
    flaky: FlakyStore,
    data: bytes,
    good: tuple[int, int],
    split: int,
    piece: int,
) -> None:
    replicas = (flaky("one", data, good[0]), flaky("two", data, good[1]), memory("/good", data))
    with mock.patch.object(opening, "REMOTE_PIECE_BYTES", piece):
        for splittable in (True, False):
            items = [
                TaskInput(urls=replicas, offset=offset, length=min(split, len(data) - offset))
                for offset in range(0, len(data), split)
            ]
            if not splittable:
                items = [TaskInput(urls=replicas)]
            assert [line for item in items for line in lines(item)] == lines_of(data)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_what_a_damaged_replica_gave_before_its_checksum_is_not_taken_for_right(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    """It may have given wrong lines; they were kept, and the right ones left out."""
    data = b"".join(b"line %d\n" % (number * 7919 % 9973) for number in range(20_000))
    packed = compress(data)
    good = tmp_path / "good"
    good.write_bytes(packed)
    bad = tmp_path / "bad"
    for at in range(100, len(packed) - 100, len(packed) // 4):
        bad.write_bytes(packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :])
        item = TaskInput(urls=(str(bad), str(good)))
        told = ""
        found: list[bytes] = []
        try:
            found.extend(lines(by_preference(item, 1)))
        except ProgramError as error:
            told = error.failure.message
        assert f"cannot read {bad}: " in told or b"".join(found) == data
        assert "so the task begins anew with another replica" in told or not told
        assert b"".join(lines(by_preference(item, 2))) == data


def test_every_attempt_begins_with_another_replica(memory: Store) -> None:
    item = TaskInput(urls=(memory("/a", b""), "/local", memory("/b", b"")))
    first, second, third, fourth = (by_preference(item, attempt).urls for attempt in range(1, 5))
    assert first[0] == "/local"
    assert {first[0], second[0], third[0]} == {*item.urls}
    assert fourth == first


def test_a_broken_local_gzip_is_continued_in_a_plain_remote_replica(
    tmp_path: Path, memory: Store
) -> None:
    data = b"".join(b"line %d of the file\n" % number for number in range(200_000))
    packed = gzip.compress(data)
    broken = tmp_path / "text.gz"
    broken.write_bytes(packed[: len(packed) // 2])
    item = by_preference(TaskInput(urls=(memory("/text", data), str(broken))), 1)
    blocks = list(line_blocks(item))
    assert {block.url for block in blocks} == set(item.urls)
    assert blocks[0].url == str(broken), "what is on this machine is read first"
    assert b"".join(block.data for block in blocks) == data


def test_when_every_replica_fails_the_error_has_the_reason_of_each(
    tmp_path: Path, flaky: FlakyStore
) -> None:
    urls = (str(tmp_path / "gone"), flaky("broken", b"some\ntext\n", 6))
    with pytest.raises(ProgramError) as caught:
        list(lines(TaskInput(urls=urls)))
    failure = caught.value.failure
    assert failure.kind is FailureKind.DATA
    assert failure.message == (
        "none of the 2 replicas could be read to the end: "
        f"cannot read {urls[0]}: No such file or directory; "
        "cannot read flaky://broken: Connection reset by peer"
    )
    assert failure.input == " ".join(urls)


def test_a_single_url_that_fails_gives_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=f"^cannot read {tmp_path}: Is a directory$"):
        list(lines(TaskInput(urls=(str(tmp_path),))))


def test_only_newlines_end_lines_and_the_last_line_may_have_none(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"a\rb\r\n\n\x0b\x0c\x1c\x85\nend")
    assert list(lines(TaskInput(urls=(str(path),)))) == [
        b"a\rb\r\n",
        b"\n",
        b"\x0b\x0c\x1c\x85\n",
        b"end",
    ]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert list(line_chunks(TaskInput(urls=(str(path),)))) == []


def test_a_line_longer_than_every_range_belongs_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "long"
    long = b"x" * 50_000_000
    path.write_bytes(b"short\n" + long + b"\nlast\n")
    items = expand([(str(path),)], split_size_bytes=10_000_000, splittable=True)
    found = [list(lines(item)) for item in items]
    assert len(found) == 6
    assert found[0] == [b"short\n", long + b"\n"]
    assert found[1:] == [[], [], [], [], [b"last\n"]]


def test_a_file_that_has_shrunk_since_the_plan_is_an_error_not_a_short_result(
    tmp_path: Path,
) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"one\ntwo\nthree\n")
    first, second = expand([(str(path),)], split_size_bytes=7, splittable=True)
    path.write_bytes(b"one\n")
    for item in (first, second):
        with pytest.raises(ProgramError, match=r"has shrunk .*: it ends before byte (7|14);"):
            list(lines(item))


def test_raw_urls_give_their_text_as_str_lines() -> None:
    assert list(lines(TaskInput(urls=("raw://two words\nand é",)))) == ["two words\n", "and é"]
    assert list(lines(TaskInput(urls=("raw://",)))) == []


def test_a_result_of_another_job_is_not_opened_as_a_file() -> None:
    with pytest.raises(ProgramError, match="disco:// is not storage that can be opened here"):
        list(lines(TaskInput(urls=("disco://127.0.0.1:1/uid/1/0",))))
