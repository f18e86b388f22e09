"""Reading frames back: in order, sorted whatever their number, and grouped by key."""

import errno
import os
import random
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco_engine.core.settings import KIB, MIB
from disco_engine.records.blocks import Frame, FrameCorruptError, encode
from disco_engine.records.frozen import RecordError
from disco_engine.records.merging import sorted_blocks
from disco_engine.records.readers import SortedRecords, pairs_of, sort_frames
from disco_engine.records.spills import SpillArea, SpillError
from disco_engine.records.writers import ShuffleWriter

Pair = tuple[Any, Any]


def frames_of(pairs: Iterable[Pair], *, sort: bool, target_bytes: int = MIB) -> list[Frame]:
    frames: list[Frame] = []
    writer = ShuffleWriter(
        lambda label, records, data: frames.append(Frame(data)),
        sort=sort,
        target_bytes=target_bytes,
        memory_bytes=8 * target_bytes,
    )
    writer.partition(pairs, lambda key: 0)
    writer.close()
    return frames


def in_order(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted(pairs, key=itemgetter(0))


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_records_are_read_in_the_order_of_frames() -> None:
    folded = Frame(encode(["a", "b"], [1, 2, 3], [1, 2]))
    plain = Frame(encode([1, 2], [[3], 4]))
    pairs = pairs_of(iter([folded, plain]))
    assert list(pairs) == [("a", 1), ("b", 2), ("b", 3), (1, [3]), (2, 4)]
    assert list(pairs_of([])) == []


def test_a_damaged_frame_stops_the_reader() -> None:
    good = encode(["a"], [1])
    pairs = pairs_of([Frame(good), Frame(good[:-1])])
    assert next(pairs) == ("a", 1)
    with pytest.raises(FrameCorruptError):
        next(pairs)


key_kinds = st.sampled_from(
    [
        st.text(max_size=2),
        st.integers(-20, 20) | st.floats(allow_nan=False) | st.booleans(),
        st.binary(max_size=2),
        st.tuples(st.integers(0, 3), st.text(max_size=1)),
        st.dates(date(2020, 1, 1), date(2020, 1, 9)),
        st.lists(st.integers(0, 3), max_size=2),
    ]
)
values = st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(
    key_kinds.flatmap(lambda keys: st.lists(st.lists(st.tuples(keys, values)), max_size=6)),
    st.booleans(),
    st.sampled_from([1, 2000, 20_000, MIB]),
)
@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_sorting_is_what_sorted_does(
    tmp_path: Path, parts: list[list[Pair]], sort: bool, memory: int
) -> None:
    frames = [frame for part in parts for frame in frames_of(part, sort=sort, target_bytes=500)]
    wanted = in_order(pair for part in parts for pair in part)
    with sort_frames(frames, memory_bytes=memory, scratch=tmp_path) as records:
        found = list(records)
    assert [key for key, _ in found] == [key for key, _ in wanted]
    assert Counter(map(repr, found)) == Counter(map(repr, wanted))
    with sort_frames(frames, memory_bytes=memory, scratch=tmp_path) as records:
        groups = [(key, list(group)) for key, group in records.groups()]
    assert [key for key, _ in groups] == [key for key, _ in groupby(map(itemgetter(0), wanted))]
    assert [value for _, group in groups for value in group] == [value for _, value in found]
    assert files_in(tmp_path) == []


def blocks_of_words(parts: int, number: int) -> list[list[Pair]]:
    chance = random.Random(7)
    return [
        [(f"w{int(chance.paretovariate(0.4)) % 5000}", place) for place in range(number)]
        for _ in range(parts)
    ]


@pytest.mark.parametrize("memory", [50 * KIB, 500 * KIB, 100 * MIB])
def test_folded_plain_and_mixed_frames_sort_alike(tmp_path: Path, memory: int) -> None:
    parts = blocks_of_words(parts=6, number=5000)
    wanted = in_order(pair for part in parts for pair in part)
    folded = [frame for part in parts for frame in frames_of(part, sort=True)]
    plain = [Frame(encode(*map(list, zip(*part, strict=True)))) for part in parts]
    for frames in (folded, plain, folded[:3] + plain[3:]):
        with sort_frames(frames, memory_bytes=memory, scratch=tmp_path) as records:
            found = list(records)
            assert (records.spilled_bytes > 0) == (memory < MIB)
        assert [key for key, _ in found] == [key for key, _ in wanted]
        assert Counter(found) == Counter(wanted)


def test_pickled_and_plain_values_sort_together(tmp_path: Path) -> None:
    frames = [Frame(encode([2, 4], [[2], {"x": 4}])), Frame(encode([1, 3], ["one", b"three"]))]
    for memory in (1, MIB):
        with sort_frames(frames, memory_bytes=memory, scratch=tmp_path) as records:
            assert list(records) == [(1, "one"), (2, [2]), (3, b"three"), (4, {"x": 4})]


def test_equal_keys_of_different_types_stay_what_they_are(tmp_path: Path) -> None:
    """1, True and 1.0 are one group, but each record keeps its own key."""
    frames = [Frame(encode([1, 2], ["a", "b", "c"], [2, 1])), Frame(encode([True, 1.0], [1, 2]))]
    with sort_frames(frames, memory_bytes=MIB, scratch=tmp_path) as records:
        assert repr(list(records)) == "[(1, 'a'), (1, 'b'), (True, 1), (1.0, 2), (2, 'c')]"


def records_of_100_bytes(number: int) -> Iterator[Pair]:
    for _ in range(number):
        key = os.urandom(10)
        yield key, key * 9


def test_twenty_times_the_memory_is_sorted_within_the_memory(tmp_path: Path) -> None:
    memory = 512 * KIB
    frames = frames_of(records_of_100_bytes(105_000), sort=False, target_bytes=16 * KIB)
    tracemalloc.start()
    try:
        with sort_frames(frames, memory_bytes=memory, scratch=tmp_path) as records:
            found = 0
            last = b""
            for key, value in records:
                assert last <= key
                assert value == key * 9
                last = key
                found += 1
            assert records.spilled_bytes > memory
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == 105_000
    assert peak < 1.5 * memory
    assert files_in(tmp_path) == []


def test_more_runs_than_can_be_merged_at_once_are_merged_in_passes(tmp_path: Path) -> None:
    area = SpillArea(tmp_path)
    frames = frames_of(records_of_100_bytes(40_000), sort=True, target_bytes=16 * KIB)
    gathered = sorted_blocks(frames, memory_bytes=100 * KIB, area=area)
    runs = len(files_in(tmp_path))
    assert area.runs > runs  # some were merged before the last merge
    with SortedRecords(gathered, area) as records:
        keys = [key for key, _ in records]
    assert len(keys) == 40_000
    assert keys == sorted(keys)


def test_a_key_may_have_more_values_than_memory_holds(tmp_path: Path) -> None:
    memory = MIB

    def pairs() -> Iterator[Pair]:
        for place in range(60_000):
            yield ("few" if place % 1000 == 0 else "many"), os.urandom(100)
            if place % 20_000 == 0:
                yield "zero", b""

    frames = frames_of(pairs(), sort=True, target_bytes=64 * KIB)
    tracemalloc.start()
    try:
        with sort_frames(frames, memory_bytes=memory, scratch=tmp_path) as records:
            counts = {key: sum(1 for _ in group) for key, group in records.groups()}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counts == {"few": 60, "many": 59_940, "zero": 3}
    assert peak < 1.5 * memory


def test_values_that_are_not_read_are_skipped(tmp_path: Path) -> None:
    frames = frames_of(((place % 7, place) for place in range(7000)), sort=True, target_bytes=5000)
    for memory in (20_000, MIB):
        with sort_frames(frames, memory_bytes=memory, scratch=tmp_path) as records:
            assert [key for key, _ in records.groups()] == list(range(7))
        with sort_frames(frames, memory_bytes=memory, scratch=tmp_path) as records:
            firsts = [(key, next(group) % 7) for key, group in records.groups()]
        assert firsts == [(key, key) for key in range(7)]


def test_a_record_larger_than_memory_is_sorted(tmp_path: Path) -> None:
    huge = os.urandom(MIB) * 3
    pairs = [(place, huge if place % 50 == 0 else "small") for place in range(200)]
    random.Random(1).shuffle(pairs)
    frames = frames_of(pairs, sort=False, target_bytes=10_000)
    with sort_frames(frames, memory_bytes=MIB, scratch=tmp_path) as records:
        assert list(records) == in_order(pairs)
        assert records.spilled_bytes > 0


def test_nothing_sorts_to_nothing(tmp_path: Path) -> None:
    for read in (SortedRecords.__iter__, SortedRecords.groups):
        with sort_frames([], memory_bytes=MIB, scratch=tmp_path) as records:
            assert list(read(records)) == []


def test_sorted_records_are_read_once(tmp_path: Path) -> None:
    with sort_frames([Frame(encode([1], [2]))], memory_bytes=MIB, scratch=tmp_path) as records:
        assert list(records) == [(1, 2)]
        with pytest.raises(ValueError, match="read once"):
            iter(records)
    with pytest.raises(ValueError, match="after they were closed"):
        records.groups()


@pytest.mark.parametrize("memory", [1, 20_000, MIB])
def test_keys_that_do_not_compare_are_named(tmp_path: Path, memory: int) -> None:
    """Each frame alone can be sorted, so the writers saw nothing wrong."""
    words = frames_of(((str(place), 1) for place in range(2000)), sort=True, target_bytes=2000)
    numbers = frames_of(((place, 1) for place in range(2000)), sort=True, target_bytes=2000)
    with pytest.raises(RecordError, match=r"of type (str|int) and .* of type (int|str): sort=True"):
        read_all(words + numbers, memory, tmp_path)
    assert files_in(tmp_path) == []


def read_all(frames: Iterable[Frame], memory: int, scratch: Path) -> list[Pair]:
    with sort_frames(frames, memory_bytes=memory, scratch=scratch) as records:
        return list(records)


def test_an_error_while_frames_arrive_leaves_no_files(tmp_path: Path) -> None:
    def arriving() -> Iterator[Frame]:
        yield from frames_of(records_of_100_bytes(5000), sort=True, target_bytes=20_000)
        assert files_in(tmp_path)
        raise ConnectionError("the service is gone")

    with pytest.raises(ConnectionError):
        read_all(arriving(), 100_000, tmp_path)
    assert files_in(tmp_path) == []


def test_stopping_early_leaves_no_files(tmp_path: Path) -> None:
    frames = frames_of(records_of_100_bytes(5000), sort=True, target_bytes=20_000)
    with sort_frames(frames, memory_bytes=100_000, scratch=tmp_path) as records:
        reading = iter(records)
        next(reading)
        assert files_in(tmp_path)
    assert files_in(tmp_path) == []
    assert len(list(reading)) < 5000


def test_a_damaged_spill_file_is_found(tmp_path: Path) -> None:
    frames = frames_of(records_of_100_bytes(20_000), sort=True, target_bytes=20_000)
    with sort_frames(frames, memory_bytes=400_000, scratch=tmp_path) as records:
        for path in files_in(tmp_path):
            data = bytearray(path.read_bytes())
            data[-10] ^= 1
            path.write_bytes(data)
        with pytest.raises(SpillError, match=r"spill file .*run-\d+ is not what was written"):
            list(records)


_SPILL = """
import resource, sys
from pathlib import Path
from disco_engine.records.blocks import Frame, encode
from disco_engine.records.readers import sort_frames
import os
frames = [Frame(encode([os.urandom(10)], [os.urandom(100_000)])) for _ in range(50)]
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    sort_frames(frames, memory_bytes=2_000_000, scratch=Path(sys.argv[1]))
except OSError as error:
    print(error.errno, error.strerror)
print(sorted(Path(sys.argv[1]).iterdir()))
"""


def test_a_disk_that_fills_up_is_named_with_the_remedy(tmp_path: Path) -> None:
    """A limit on the size of files fails the write just as a full disk does."""
    done = subprocess.run(
        [sys.executable, "-c", _SPILL, str(tmp_path)], check=True, capture_output=True, text=True
    )
    message, left = done.stdout.splitlines()
    assert message.startswith(f"{errno.EFBIG} cannot spill to {tmp_path}/sort-")
    assert "File too large" in message
    assert "free space there, sort with more memory, or use more partitions" in message
    assert left == "[]"
