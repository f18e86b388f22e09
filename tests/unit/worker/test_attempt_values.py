"""What one attempt may put, and what it is told of others."""

import pytest

from disco_engine.worker.slot.values import AttemptValues

MIB = 1024 * 1024


def nobody(key: str) -> bytes | None:
    return None


def test_an_attempt_sees_its_own_values_at_once_and_the_newest_of_them() -> None:
    values = AttemptValues(nobody)
    values.put("k", b"1")
    values.put("k", b"2")
    assert values.get("k") == b"2"
    assert values.left() == (("k", b"2"),)


def test_what_it_was_told_once_stays_the_same_for_it() -> None:
    answers = iter([None, b"first", b"second"])
    values = AttemptValues(lambda key: next(answers))
    assert values.get("k") is None
    assert values.get("k") == b"first"
    assert values.get("k") == b"first"
    values.put("k", b"own")
    assert values.get("k") == b"own"


def test_what_is_too_large_is_refused_and_changes_nothing() -> None:
    values = AttemptValues(nobody)
    with pytest.raises(ValueError, match="'k' has 1,048,577 bytes, and 1,048,576 are the most"):
        values.put("k", b"x" * (MIB + 1))
    for number in range(3):
        values.put(f"k{number}", b"x" * MIB)
    with pytest.raises(ValueError, match="and 4,194,304 are the most: emit"):
        values.put("k4", b"x" * MIB)
    values.put("k2", b"")
    values.put("k4", b"x" * (MIB - 1000))
    assert len(values.left()) == 4


@pytest.mark.parametrize("key", ["", "a b", "ä"])
def test_a_key_that_cannot_be_one_is_refused(key: str) -> None:
    values = AttemptValues(nobody)
    with pytest.raises(ValueError, match="cannot be put: it must consist of letters"):
        values.put(key, b"")
    with pytest.raises(ValueError, match="there is no value"):
        values.get(key)
