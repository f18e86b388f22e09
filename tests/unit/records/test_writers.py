"""The writer: labels, order, folding, bounded memory, and errors a user can act on."""

import enum
import os
import random
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco_engine.core.settings import KIB, MIB
from disco_engine.records.blocks import Block, Frame, decode
from disco_engine.records.frozen import RecordError
from disco_engine.records.readers import pairs_of
from disco_engine.records.writers import ShuffleWriter


class Sink:
    """Keeps what a writer hands over, by label."""

    def __init__(self) -> None:
        self.frames: dict[int, list[Frame]] = defaultdict(list)

    def __call__(self, label: int, records: int, data: bytes) -> None:
        assert type(label) is int
        assert len(decode(Frame(data)).values) == records > 0
        self.frames[label].append(Frame(data))

    def pairs(self) -> dict[int, list[tuple[Any, Any]]]:
        return {label: list(pairs_of(frames)) for label, frames in self.frames.items()}

    def blocks(self) -> list[Block]:
        return [decode(frame) for frames in self.frames.values() for frame in frames]


class Fruit(enum.StrEnum):
    PEAR = "pear"


class Seven:
    def __index__(self) -> int:
        return 7


def label_of_length(key: Any) -> int:
    return len(str(key)) % 3


keys = st.text(max_size=3) | st.integers(-5, 5) | st.binary(max_size=2)
values = st.integers() | st.text(max_size=50) | st.lists(st.integers(), max_size=2) | st.none()


@given(
    st.lists(st.tuples(keys, values), max_size=300),
    st.sampled_from([100, 2000, 10**6]),
    st.sampled_from([500, 10_000, 10**7]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_records_reach_their_label_in_the_order_of_writing(
    pairs: list[tuple[Any, Any]], target: int, memory: int
) -> None:
    sink, wanted = Sink(), defaultdict(list)
    writer = ShuffleWriter(sink, sort=False, target_bytes=target, memory_bytes=memory)
    for key, value in pairs:
        wanted[label_of_length(key)].append((key, value))
    writer.partition(pairs, label_of_length)
    for key, value in pairs[:50]:
        writer.add(1, key, value)
    writer.extend(-4, iter(pairs))
    writer.close()
    wanted[1] += pairs[:50]
    wanted[-4] += pairs
    assert sink.pairs() == {label: records for label, records in wanted.items() if records}


@given(
    st.lists(st.tuples(st.text(max_size=1) | st.text(max_size=9), values), max_size=300),
    st.sampled_from([100, 2000, 10**6]),
    st.sampled_from([500, 10_000, 10**7]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_frame_of_a_sorting_writer_is_sorted_and_stable(
    pairs: list[tuple[str, Any]], target: int, memory: int
) -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=True, target_bytes=target, memory_bytes=memory)
    writer.partition(((key, (place, value)) for place, (key, value) in enumerate(pairs)), len)
    writer.close()
    for label, frames in sink.frames.items():
        for frame in frames:
            records = [(key, place) for key, (place, _) in pairs_of([frame])]
            assert records == sorted(records)
            assert {len(key) for key, _ in records} == {label}
    written = [(key, *value) for pairs in sink.pairs().values() for key, value in pairs]
    assert sorted(written, key=lambda record: int(record[1])) == [
        (key, place, value) for place, (key, value) in enumerate(pairs)
    ]


def words(number: int, vocabulary: int) -> Iterator[tuple[str, int]]:
    random_words = random.Random(3)
    for _ in range(number):
        yield f"word-{random_words.randrange(vocabulary)}", 1


def test_a_repeated_key_is_shipped_once_per_block() -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=True)
    writer.partition(words(100_000, 500), lambda key: len(key) % 4)
    writer.close()
    assert sum(len(block.keys) for block in sink.blocks()) == 500
    assert sum(len(block.values) for block in sink.blocks()) == 100_000
    assert all(block.keys == sorted(block.keys) for block in sink.blocks())


@pytest.mark.parametrize("how", ["add", "extend"])
def test_records_written_one_by_one_are_folded_too(how: str) -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=True)
    if how == "add":
        for key, value in words(100_000, 500):
            writer.add(0, key, value)
    else:
        writer.extend(0, words(100_000, 500))
    writer.close()
    assert sum(len(block.keys) for block in sink.blocks()) < 5_000
    assert len(sink.pairs()[0]) == 100_000


def test_unique_keys_are_not_folded() -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=True, target_bytes=64 * KIB)
    writer.partition(((os.urandom(10), b"value") for _ in range(50_000)), lambda key: key[0] % 2)
    writer.close()
    # The first look comes after some have been folded.
    assert sum(block.counts is None for block in sink.blocks()[5:]) >= len(sink.blocks()) - 5
    assert sum(map(len, sink.pairs().values())) == 50_000


def test_folding_starts_and_stops_as_the_data_change() -> None:
    def changing() -> Iterator[tuple[str, int]]:
        yield from ((f"unique-{i}", 0) for i in range(50_000))
        yield from words(200_000, 100)
        yield from ((f"other-{i}", 0) for i in range(50_000))

    sink = Sink()
    writer = ShuffleWriter(sink, sort=True, target_bytes=256 * KIB, memory_bytes=8 * MIB)
    writer.partition(changing(), lambda key: 0)
    writer.close()
    shipped = Counter(key[:4] for block in sink.blocks() for key in block.keys)
    assert shipped["uniq"] == shipped["othe"] == 50_000
    assert shipped["word"] < 40_000
    assert Counter(sink.pairs()[0]) == Counter(changing())


@pytest.mark.parametrize("sort", [False, True])
def test_an_object_may_be_changed_after_it_was_yielded(sort: bool) -> None:
    def reusing() -> Iterator[tuple[Any, Any]]:
        row: list[Any] = [0]
        bag = {"n": 0}
        for number in range(500):
            row[0] = bag["n"] = number
            yield f"list-{number:03}", row
            yield f"dict-{number:03}", bag
            row.append("later")
            yield f"tuple-{number:03}", (row, 1)
            row.pop()

    sink = Sink()
    writer = ShuffleWriter(sink, sort=sort)
    writer.partition(reusing(), lambda key: 0)
    writer.close()
    records = dict(sink.pairs()[0])
    for number in range(500):
        assert records[f"list-{number:03}"] == [number]
        assert records[f"dict-{number:03}"] == {"n": number}
        assert records[f"tuple-{number:03}"] == ([number, "later"], 1)


@pytest.mark.parametrize("sort", [False, True])
def test_a_key_may_be_changed_after_it_was_yielded(sort: bool) -> None:
    def reusing() -> Iterator[tuple[list[int], int]]:
        key = [0]
        for number in range(1000, 0, -1):
            key[0] = number
            yield key, number

    sink = Sink()
    writer = ShuffleWriter(sink, sort=sort)
    writer.partition(reusing(), lambda key: key[0] % 2)
    writer.close()
    for label, pairs in sink.pairs().items():
        assert all(key == [value] and value % 2 == label for key, value in pairs)
        assert [value for _, value in pairs] == sorted(
            (value for _, value in pairs), reverse=not sort
        )


@pytest.mark.parametrize("sort", [False, True])
def test_equal_keys_of_different_types_stay_what_they_are(sort: bool) -> None:
    mixed: list[list[tuple[Any, int]]] = [
        [("pear", 0), (Fruit.PEAR, 1)] * 100,
        [(1, 0), (True, 1), (1.0, 2)] * 100,
        [(0.0, 0), (-0.0, 1)] * 100,
        [(1, 0), (1.0, 1), (1.0, 2), (True, 3), (True, 4), (1, 5)] * 100,
        [((1,), 0), ((True,), 1)] * 100,
    ]
    for pairs in mixed:
        sink = Sink()
        writer = ShuffleWriter(sink, sort=sort)
        writer.partition(pairs, lambda key: 5)
        writer.close()
        assert Counter(map(repr, sink.pairs()[5])) == Counter(map(repr, pairs))


def test_each_distinct_key_is_asked_for_its_label_once() -> None:
    asked: Counter[Any] = Counter()

    def label_of(key: Any) -> int:
        asked[key] += 1
        return len(key) % 2

    writer = ShuffleWriter(Sink(), sort=False)
    writer.partition(words(20_000, 300), label_of)
    writer.partition(words(20_000, 300), label_of)
    writer.partition(((("a", str(i % 5)), i) for i in range(100)), label_of)
    writer.close()
    assert len(asked) == 305
    assert set(asked.values()) == {1}


def test_keys_that_cannot_be_hashed_are_asked_every_time() -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=False)
    writer.partition((([i], i) for i in range(100)), lambda key: key[0] % 2)
    writer.close()
    assert sink.pairs() == {half: [([i], i) for i in range(half, 100, 2)] for half in (0, 1)}


def test_another_partition_function_gets_other_labels() -> None:
    for sort in (False, True):
        sink = Sink()
        writer = ShuffleWriter(sink, sort=sort)
        writer.partition([("a", 1), ("a", 2)], lambda key: 1)
        writer.partition([("a", 3)], lambda key: 2)
        writer.close()
        assert sink.pairs() == {1: [("a", 1), ("a", 2)], 2: [("a", 3)]}


def test_labels_are_any_integers() -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=False)
    labels: list[Any] = [0, -1, 2**63 - 1, -(2**63), Seven()]
    for label in labels:
        writer.add(label, "key", 1)
        writer.extend(label, [("key", 2)])
        writer.partition([("key", 3)], {"key": label}.__getitem__)
    writer.close()
    assert sorted(sink.frames) == [-(2**63), -1, 0, 7, 2**63 - 1]
    assert all(pairs == [("key", n) for n in (1, 2, 3)] for pairs in sink.pairs().values())


@pytest.mark.parametrize(
    "label", [None, 1.0, True, "1", 2**63, [1]], ids=["none", "float", "bool", "str", "big", "list"]
)
@pytest.mark.parametrize("sort", [False, True])
def test_a_label_that_is_no_integer_is_named_with_its_key(label: Any, sort: bool) -> None:
    writer = ShuffleWriter(Sink(), sort=sort, producer="map")
    named = rf"map gave the key '?\w+'? the label .* of type {type(label).__name__}; labels are"
    with pytest.raises(RecordError, match=named):
        writer.partition([("apple", 1)], lambda key: label)
    with pytest.raises(RecordError, match=named):
        writer.add(label, "apple", 1)
    with pytest.raises(RecordError, match=named):
        writer.extend(label, [("apple", 1)])


@pytest.mark.parametrize("pair", ["abc", "ab", b"ab", 5, None, (1, 2, 3), (1,), {"a": 1, "b": 2}])
@pytest.mark.parametrize("sort", [False, True])
def test_what_is_not_a_pair_is_shown(pair: Any, sort: bool) -> None:
    for before in (0, 2000):
        writer = ShuffleWriter(Sink(), sort=sort, producer="map")
        pairs: list[Any] = [("key", 1)] * before + [pair]
        with pytest.raises(RecordError) as raised:
            writer.partition(pairs, lambda key: 0)
        assert str(raised.value) == f"map yielded {pair!r}, which is not a (key, value) pair"


def test_a_list_of_two_is_a_pair() -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=False)
    lists: Any = [["a", 1], ("b", 2)]
    writer.partition(lists, lambda key: 0)
    writer.close()
    assert sink.pairs() == {0: [("a", 1), ("b", 2)]}


@pytest.mark.parametrize("returned", [None, 5])
def test_what_cannot_be_iterated_over_is_shown(returned: Any) -> None:
    writer = ShuffleWriter(Sink(), sort=False, producer="map")
    with pytest.raises(RecordError, match=rf"map returned {returned} of type .* expected an iter"):
        writer.partition(returned, lambda key: 0)


def test_a_record_that_cannot_be_pickled_is_shown_whole() -> None:
    for sort in (False, True):
        writer = ShuffleWriter(Sink(), sort=sort, producer="map")
        with pytest.raises(RecordError, match=r"map wrote the record \('k', <generator .*pickled"):
            writer.partition([("k", (x for x in "abc"))], lambda key: 0)
        with pytest.raises(RecordError, match=r"the record \(<memory at .*, 'v'\).*memoryview"):
            writer.add(0, memoryview(b"x"), "v")


def write_all(writer: ShuffleWriter, pairs: Iterable[tuple[Any, Any]]) -> None:
    writer.partition(pairs, lambda key: 0)
    writer.close()


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ([("a", 1), (1, 2)], "'a' of type str and 1 of type int"),
        ([((1, "a"), 1), ((1, 2), 2)], r"\(1, 'a'\) of type tuple and \(1, 2\) of type tuple"),
        ([(None, 1), (None, 2)], "None of type NoneType and None of type NoneType"),
        ([({}, 1), ({}, 2)], "{} of type dict and {} of type dict"),
    ],
)
def test_keys_that_do_not_compare_are_named(pairs: list[tuple[Any, Any]], named: str) -> None:
    writer = ShuffleWriter(Sink(), sort=True)
    with pytest.raises(RecordError, match=f"{named}: sort=True needs keys that compare"):
        write_all(writer, pairs)


@pytest.mark.parametrize("key", [float("nan"), frozenset("ab")], ids=["nan", "set"])
def test_keys_without_a_place_in_an_order_are_refused(key: Any) -> None:
    writer = ShuffleWriter(Sink(), sort=True)
    writer.add(0, key, 1)
    with pytest.raises(RecordError, match=r"cannot sort by the key (nan|frozenset)"):
        writer.close()


@pytest.mark.parametrize("sort", [False, True])
def test_errors_of_user_code_come_through(sort: bool) -> None:
    table = {"a": 1}

    def failing() -> Iterator[tuple[str, int]]:
        yield "a", 1
        raise ValueError("in the middle")

    writer = ShuffleWriter(Sink(), sort=sort)
    with pytest.raises(ValueError, match="in the middle"):
        writer.partition(failing(), table.__getitem__)
    for before in (1, 5000):
        pairs: Iterable[tuple[str, int]] = [("a", 1)] * before + [("b", 1)]
        with pytest.raises(KeyError, match="b"):
            writer.partition(pairs, table.__getitem__)
    unique = [(str(i), 1) for i in range(50_000)] + [("x", 1)]
    with pytest.raises(ValueError, match="invalid literal"):
        writer.partition(unique, int)


def test_what_the_sink_raises_comes_through() -> None:
    def refuse(label: int, records: int, data: bytes) -> None:
        raise ConnectionError("gone")

    writer = ShuffleWriter(refuse, sort=False, target_bytes=1000)
    with pytest.raises(ConnectionError, match="gone"):
        writer.extend(0, ((i, "x" * 100) for i in range(10_000)))


def test_a_generator_may_write_while_it_is_read() -> None:
    for sort in (False, True):
        sink = Sink()
        writer = ShuffleWriter(sink, sort=sort, target_bytes=2000, memory_bytes=20_000)

        def both(writer: ShuffleWriter = writer) -> Iterator[tuple[int, str]]:
            for number in range(5000):
                writer.add(1, number, "side")
                yield number % 100, "main"

        writer.partition(both(), lambda key: 0)
        writer.close()
        assert {label: len(pairs) for label, pairs in sink.pairs().items()} == {0: 5000, 1: 5000}


def test_a_generator_may_not_partition_while_it_is_partitioned() -> None:
    """Groups of both would share their keys, whatever their labels."""
    writer = ShuffleWriter(Sink(), sort=True)

    def nested() -> Iterator[tuple[str, int]]:
        writer.partition([("a", 1)], lambda key: 1)
        yield "a", 2

    with pytest.raises(RuntimeError, match="partition"):
        writer.partition(nested(), lambda key: 2)
    writer.partition([("a", 1)], lambda key: 1)


def test_a_closed_writer_takes_nothing() -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=False)
    writer.close()
    writer.close()
    assert not sink.frames
    with pytest.raises(ValueError, match="closed"):
        writer.add(0, 1, 2)
    with pytest.raises(ValueError, match="closed"):
        writer.partition([], label_of_length)


def test_frames_are_about_as_large_as_asked() -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=False, target_bytes=100_000)
    writer.partition(((i, os.urandom(90)) for i in range(50_000)), lambda key: key % 5)
    writer.close()
    for frames in sink.frames.values():
        assert all(80_000 < len(frame.data) < 250_000 for frame in frames[:-1])


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("labels", [1, 300])
@pytest.mark.parametrize("size", [8, 100, 20_000])
def test_memory_stays_within_its_bound(sort: bool, labels: int, size: int) -> None:
    def records() -> Iterator[tuple[int, bytes]]:
        for number in range(10_000_000 // (size + 200)):
            yield number, bytes(size)

    writer = ShuffleWriter(
        lambda label, records, data: None, sort=sort, target_bytes=256 * KIB, memory_bytes=2 * MIB
    )
    tracemalloc.start()
    try:
        writer.partition(records(), lambda key: key % labels)
        writer.close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB


def test_growing_records_do_not_break_the_bound() -> None:
    """A chunk of 1,024 records was taken for small because those before it were."""

    def records() -> Iterator[tuple[int, Any]]:
        for number in range(20_000):
            yield number, b"small"
        for number in range(300):
            yield number, bytes(100_000)
        for number in range(300):
            yield number, [bytes(100_000)]

    writer = ShuffleWriter(lambda label, records, data: None, sort=False, memory_bytes=4 * MIB)
    tracemalloc.start()
    try:
        writer.partition(records(), lambda key: key % 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 9 * MIB


def test_a_huge_record_passes() -> None:
    sink = Sink()
    writer = ShuffleWriter(sink, sort=True)
    huge = os.urandom(MIB) * 30
    pairs = [(b"a", 1), (b"b", huge), (b"c", [huge]), (b"d" + huge, 2)]
    write_all(writer, pairs)
    assert sorted(sink.pairs()[0]) == pairs
