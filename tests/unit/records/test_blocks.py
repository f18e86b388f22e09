"""Frames: what goes in comes out, with its type; what is damaged is found."""

import enum
import os
import threading
import zlib
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco_engine.core.model import AttemptId
from disco_engine.core.settings import KIB, MIB
from disco_engine.records import blocks
from disco_engine.records.blocks import (
    Block,
    Frame,
    FrameCorruptError,
    StoredBlock,
    decode,
    encode,
    encode_parts,
    raw_bytes_of,
    store,
)
from disco_engine.records.frozen import RecordError

Point = namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    pass


@dataclass(frozen=True)
class Edge:
    source: str
    target: str


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __reduce__(self) -> Any:
        raise RuntimeError("never")


def typed(value: Any) -> Any:
    """Return *value* with the types of everything in it, since 1 == True == 1.0."""
    if isinstance(value, (tuple, list)):
        return type(value), [typed(item) for item in value]
    if isinstance(value, dict):
        return type(value), [(typed(key), typed(item)) for key, item in value.items()]
    return type(value), repr(value)


flat = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())  # surrogates too
    | st.binary()
)
anything = st.recursive(
    flat | st.sampled_from([Colour.RED, Name("x"), Edge("a", "b"), Point(1, 2), date(2020, 1, 2)]),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.lists(st.tuples(anything, anything), max_size=30))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_records_come_back_as_they_were_written(pairs: list[tuple[Any, Any]]) -> None:
    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
    block = decode(Frame(encode(keys, values)))
    assert typed(block.keys) == typed(keys)
    assert typed(block.values) == typed(values)
    assert block.counts is None


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Name("name"),
        Point(1, "y"),
        bytearray(b"bytes"),
        Decimal("1.50"),
        Edge("a", "b"),
        True,
        -0.0,
        2**100,
        -(2**70),
        (1, b"x", None, 2.5),
        (1, (2, 3)),
        [1, 2],
        "\ud800",
        float("inf"),
    ],
    ids=repr,
)
def test_a_value_keeps_its_type(value: Any) -> None:
    block = decode(Frame(encode([1, 2], [value, "flat"])))
    assert typed(block.values) == typed([value, "flat"])
    assert typed(decode(Frame(encode([value], [1]))).keys) == typed([value])


def test_folded_records_come_back_folded() -> None:
    block = decode(Frame(encode(["a", "b"], [1, 2, 3], [2, 1])))
    assert block == Block(["a", "b"], [1, 2, 3], [2, 1])


def test_a_class_of_the_users_script_travels_with_its_objects() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Local:\n    def __init__(self, x): self.x = x", namespace)
    block = decode(Frame(encode([1], [namespace["Local"](7)])))
    assert block.values[0].x == 7


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (memoryview(b"abc"), "memoryview"),
        ((item for item in "abc"), "generator"),
        (threading.Lock(), "lock"),
        ([1, threading.Lock()], "list"),
        (Unprintable(), "Unprintable"),
    ],
    ids=["memoryview", "generator", "lock", "lock in a list", "object"],
)
def test_what_cannot_be_pickled_is_named_with_its_type(value: Any, named: str) -> None:
    with pytest.raises(RecordError, match=rf"of type \S*{named} cannot be pickled \("):
        encode([1], [value])


def test_the_record_in_an_error_is_cut_to_200_characters() -> None:
    with pytest.raises(RecordError) as raised:
        encode([1], [["x" * 10_000, threading.Lock()]])
    assert "x" * 150 in str(raised.value)
    assert len(str(raised.value)) < 500


def test_an_object_whose_class_is_gone_is_an_error_that_says_so() -> None:
    pickled = b"cno_such_module\nThing\n."
    frame = Frame(next(encode_parts(StoredBlock([1], [pickled], pickled=True)))[1])
    with pytest.raises(RecordError, match=r"no_such_module.*must be importable"):
        decode(frame)


def test_columns_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="2 keys for 1 values"):
        encode([1, 2], [1])
    with pytest.raises(ValueError, match="counts"):
        encode([1, 2], [1, 2, 3], [1, 1])


@pytest.mark.parametrize(
    "values",
    [[os.urandom(9) for _ in range(9)], ["the same text"] * 50, [[1], {"a": 2}]],
    ids=["raw", "compressed", "pickled"],
)
@pytest.mark.parametrize(
    "damage", [lambda byte: byte ^ 0xFF, lambda byte: byte ^ 1, lambda byte: byte ^ 0x80]
)
def test_a_change_of_any_byte_is_found(values: list[Any], damage: Callable[[int], int]) -> None:
    data = encode(list(range(len(values))), values)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] = damage(damaged[place])
        with pytest.raises(FrameCorruptError):
            decode(Frame(bytes(damaged)))


def test_a_frame_that_is_cut_or_continued_is_found() -> None:
    data = encode(["a"] * 10, ["b"] * 10)
    for length in range(len(data)):
        with pytest.raises(FrameCorruptError):
            decode(Frame(data[:length]))
    with pytest.raises(FrameCorruptError, match="its header says"):
        decode(Frame(data + b"x"))


def test_a_frame_that_says_it_is_small_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of others' results got hundreds of megabytes out of 8 KB before it looked."""

    class Closed:
        def decompress(self, data: bytes) -> bytes:
            raise AssertionError("it was decompressed")

    data = bytearray(encode(["a" * 1_000_000], [1]))
    fields = list(blocks._FIELDS.unpack_from(data))
    fields[5] = 10  # bytes before compression
    blocks._FIELDS.pack_into(data, 0, *fields)
    head = zlib.crc32(data[: blocks._FIELDS.size])
    crc = zlib.crc32(data[blocks.HEADER_BYTES :], head)
    blocks._CRC.pack_into(data, blocks._FIELDS.size, crc)
    monkeypatch.setattr(blocks._codecs, "decompressor", Closed())
    with pytest.raises(FrameCorruptError, match=r"bytes of payload, not 10"):
        decode(Frame(bytes(data)))


def test_the_error_of_a_damaged_frame_knows_who_wrote_it() -> None:
    origin = AttemptId(stage=1, task=2, epoch=3, attempt=4)
    with pytest.raises(FrameCorruptError, match="task=2") as raised:
        decode(Frame(b"nonsense", origin))
    assert raised.value.origin == origin


def test_compression_is_used_where_it_helps() -> None:
    assert len(encode(["a"] * 1000, [1] * 1000)) < 200
    noise = os.urandom(100_000)
    assert len(encode([1], [noise])) < len(noise) + 100


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    target=st.sampled_from([64, 256, 4096]),
    pickled=st.booleans(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_parts_of_a_block_have_its_records_in_order(
    counts: list[int], target: int, pickled: bool
) -> None:
    keys = [f"key-{i}" for i in range(len(counts))]
    values = [[i] if pickled else i for i in range(sum(counts))]
    whole = [key for key, count in zip(keys, counts, strict=True) for _ in range(count)]
    for block in (store(keys, values, counts), store(whole, values)):
        found_keys, found_values = [], []
        for records, data in encode_parts(block, target):
            part = decode(Frame(data))
            assert len(part.values) == records
            assert raw_bytes_of(Frame(data)) <= 2 * target or records == 1
            part_counts = part.counts or [1] * len(part.keys)
            assert all(count > 0 for count in part_counts)
            for key, count in zip(part.keys, part_counts, strict=True):
                found_keys += [key] * count
            found_values += part.values
        assert found_keys == whole
        assert found_values == values


def test_no_records_make_no_parts() -> None:
    assert list(encode_parts(StoredBlock([], []))) == []


def test_parts_are_cut_by_size_even_if_sizes_are_uneven() -> None:
    values = ["small"] * 10_000 + ["x" * MIB] * 5 + ["small"] * 10_000
    parts = list(encode_parts(store(list(range(len(values))), values), 256 * KIB))
    assert sum(records for records, _ in parts) == len(values)
    for records, data in parts:
        assert records == 1 or raw_bytes_of(Frame(data)) <= 512 * KIB
    assert len(parts) < 50


def test_one_huge_record_is_one_frame() -> None:
    huge = os.urandom(MIB) * 20
    [(records, data)] = encode_parts(store(["key"], [huge]))
    assert records == 1
    assert decode(Frame(data)) == Block(["key"], [huge])


def test_every_thread_can_encode_and_decode() -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        values = [f"{number}-{i}" for i in range(5000)]
        for _ in range(10):
            if decode(Frame(encode(values, values))).values != values:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
