"""The hash that decides which partition owns a key."""

import enum
import json
import os
import random
import string
import subprocess
import sys
from collections import Counter, namedtuple
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco_engine.core.partitioning import partition_of, stable_hash

Point = namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 1


class Fruit(enum.StrEnum):
    PEAR = "pear"


class Plain(enum.Enum):
    A = "a"


@dataclass(frozen=True)
class Edge:
    source: str
    target: frozenset[str]


def test_the_hash_of_plain_keys_never_changes() -> None:
    """Pinned: a job may be resumed by another version of Python or of this program."""
    assert [stable_hash(key) for key in ("word", b"word", "", "żółw", "\ud800")] == [
        3219615265,
        3219615265,
        0,
        2253673516,
        2945480988,
    ]
    assert [stable_hash(key) for key in (0, 1, -1, 2**80, 1.5, None)] == [
        2805082567,
        1809363697,
        4248152105,
        477736655,
        3767812288,
        1013904242,
    ]
    assert [stable_hash(key) for key in ((), (1, "a"), ("a", (None, 2.5)))] == [
        0,
        2834141315,
        2680278113,
    ]


_KEYS = """
import datetime, decimal, enum, json, pathlib, uuid
from disco_engine.core.partitioning import stable_hash
print(json.dumps([stable_hash(key) for key in [
    "word", b"word", 1, 1.5, float("nan"), None, ("a", 1, ("b",)), frozenset("some letters"),
    {"k": {"x", "y", "z"}, "l": 2}, ["a"], datetime.date(2020, 1, 2), uuid.UUID(int=7),
    decimal.Decimal("1.25"), pathlib.PurePosixPath("a/b"), complex(1, 2), range(3), int, json.dumps,
]]))
"""


def test_all_processes_agree() -> None:
    answers = {
        subprocess.run(
            [sys.executable, "-c", _KEYS],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(answers) == 1
    assert len(json.loads(answers.pop())) == 18


@pytest.mark.parametrize(
    "equal",
    [
        (1, 1.0, True, Decimal(1), Fraction(1), complex(1), Colour.RED),
        (0, -0.0, False),
        (0.5, Decimal("0.5"), Fraction(1, 2)),
        (2**70, float(2**70)),
        ("pear", Fruit.PEAR),
        ((1, 2), Point(1, 2), (True, 2.0)),
        (b"x", bytearray(b"x"), memoryview(b"x")),
        (frozenset("abc"), set("cba")),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": True}),
        (Edge("a", frozenset("xyz")), Edge("a", frozenset("zyx"))),
        (date(2020, 1, 2), date.fromisoformat("2020-01-02")),
        (UUID(int=5), UUID("00000000-0000-0000-0000-000000000005")),
        (Plain.A, Plain("a")),
    ],
    ids=lambda equal: type(equal[0]).__name__,  # a name that is the same in every process
)
def test_equal_keys_have_equal_hashes(equal: tuple[Any, ...]) -> None:
    assert all(key == equal[0] for key in equal)
    assert len({stable_hash(key) for key in equal}) == 1


def test_equal_objects_agree_whether_or_not_they_share_their_parts() -> None:
    """Pickles of the two differ: one says that both fields are the same object."""
    text = "".join(["some", "text"])
    shared, separate = Edge(text, frozenset([text])), Edge("sometext", frozenset([text[:]]))
    assert stable_hash((shared, shared)) == stable_hash((shared, separate))


def test_all_nans_agree_so_that_a_second_attempt_does_what_the_first_did() -> None:
    assert len({stable_hash(float("nan")) for _ in range(5)} | {stable_hash(Decimal("nan"))}) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.tuples(inner, inner) | st.frozensets(inner),
        max_leaves=5,
    ),
    st.integers(1, 5000),
)
def test_every_key_has_a_partition(key: Any, partitions: int) -> None:
    assert 0 <= stable_hash(key) < 2**32
    assert 0 <= partition_of(key, partitions) < partitions


_RANDOM = random.Random(5)
_KEY_SETS: dict[str, Iterable[Any]] = {
    "sequential ints": range(20_000),
    "every 8th int": range(0, 160_000, 8),
    "multiples of 2**20": [i << 20 for i in range(20_000)],
    "multiples of 2**40": [i << 40 for i in range(20_000)],
    "negative ints": range(-20_000, 0),
    "integral floats": [float(i) for i in range(20_000)],
    "halves": [i + 0.5 for i in range(20_000)],
    "decimal strings": [str(i) for i in range(20_000)],
    "numbered users": [f"user{i}@example.com" for i in range(20_000)],
    "two letters": [a + b for a in string.ascii_letters for b in string.ascii_letters],
    "hexadecimal": [f"{i * 16:08x}" for i in range(20_000)],
    "random bytes": [_RANDOM.randbytes(10) for _ in range(20_000)],
    "pairs": [(i % 100, f"x{i // 100}") for i in range(20_000)],
    "dates": [date.fromordinal(730_000 + i) for i in range(5_000)],
}


@pytest.mark.parametrize("name", _KEY_SETS)
def test_keys_spread_evenly(name: str) -> None:
    keys = list(_KEY_SETS[name])
    for partitions in (2, 3, 7, 8, 10, 16, 31, 64, 100, 128, 256):
        mean = len(keys) / partitions
        if mean < 10:
            continue
        loads = Counter(partition_of(key, partitions) for key in keys)
        assert len(loads) == partitions
        # Six standard deviations of what independent draws would give, and a little.
        assert max(loads.values()) <= mean + 6 * mean**0.5 + 2, (partitions, loads)


def test_a_key_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(TypeError, match=r"of type generator: .*partition function"):
        stable_hash(item for item in "abc")


def test_there_must_be_a_partition() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        partition_of("key", 0)
