"""Data of unknown origin is walked through before it is unmarshalled."""

import marshal
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco_engine.records.blocks import Frame, encode, payload_of
from disco_engine.records.plain import is_plain

FLAT = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(max_size=50)
)
VALUES = st.one_of(FLAT, st.lists(FLAT, max_size=4).map(tuple))


@given(st.lists(st.tuples(VALUES, VALUES)))
def test_what_the_engine_writes_is_plain(pairs: list[tuple[Any, Any]]) -> None:
    frame = Frame(encode([key for key, _ in pairs], [value for _, value in pairs]))
    assert is_plain(payload_of(frame))


@given(st.binary(max_size=60))
def test_what_is_plain_can_be_unmarshalled(data: bytes) -> None:
    if is_plain(data):
        with suppress(ValueError):  # text that is no UTF-8 is an error like any other
            marshal.loads(data)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1), st.data())
def test_what_is_cut_off_or_goes_on_is_not_plain(
    pairs: list[tuple[Any, Any]], data: st.DataObject
) -> None:
    payload = bytes(payload_of(Frame(encode(*map(list, zip(*pairs, strict=True))))))
    cut = data.draw(st.integers(0, len(payload) - 1))
    assert not is_plain(payload[:cut])
    assert not is_plain(payload + b"N")


@pytest.mark.parametrize(
    "value",
    [{}, {"a": 1}, {1}, frozenset(), compile("1", "", "eval"), [[[[1]]]], 1j, ...],
)
def test_other_types_are_not_plain(value: Any) -> None:
    assert not is_plain(marshal.dumps(value, 2))


def test_references_and_short_forms_are_not_plain() -> None:
    assert not is_plain(marshal.dumps((["text"] * 2, [1], None), 4))


@pytest.mark.parametrize("kind", [b"(", b"[", b"s", b"u", b"l"])
def test_nothing_is_larger_than_it_is(kind: bytes) -> None:
    assert not is_plain(kind + struct.pack("<i", 2**31 - 1) + b"N" * 20)


@pytest.mark.parametrize("kind", [b"(", b"[", b"s", b"u"])
def test_no_length_is_negative(kind: bytes) -> None:
    assert not is_plain(kind + struct.pack("<i", -1))
