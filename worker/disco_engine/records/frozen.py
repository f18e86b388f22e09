"""What makes a key or value safe to keep: plain immutable data as it is, all else pickled at once.

A user's generator may change an object after it has yielded it, so whatever could change is turned
into bytes before the generator goes on.
"""

import pickle
from typing import Any, TypeAlias

NoneType = type(None)

FLAT_TYPES: frozenset[type[Any]] = frozenset({str, bytes, int, float, bool, NoneType})
"""Immutable types that marshal writes and reads back exactly. Subclasses are something else."""

FOLDABLE_TYPES: frozenset[type[Any]] = frozenset({str, bytes, int})
"""Key types whose equal values cannot be told apart, so that one may stand for all.

Not float (0.0 equals -0.0), and only columns of one type (1 equals True, a StrEnum its string).
"""


class RecordError(TypeError):
    """User code wrote something that cannot be a record, or that cannot be sorted.

    The message names the record and the remedy; trying again does not help.
    """


class EarlierRecordError(RecordError):
    """It shows up late, when records are sorted or written together.

    So the record that is being processed then says nothing about it.
    """


class Pickled(bytes):
    """A key or value that is kept as its pickle."""

    __slots__ = ()


Frozen: TypeAlias = Any
"""A value of a flat type, a tuple of such, or Pickled."""


def is_flat(value: object) -> bool:
    """Return whether *value* can be kept, and marshalled, as it is."""
    kind = type(value)
    return kind in FLAT_TYPES or (
        kind is tuple and FLAT_TYPES.issuperset(map(type, value))  # type: ignore[call-overload]
    )


def freeze(value: Any) -> Frozen:
    """Return *value* in a form that nobody can change.

    Raises:
        RecordError: *value* cannot be pickled.
    """
    return value if is_flat(value) else Pickled(pickle_of(value))


def thaw(value: Frozen) -> Any:
    """Return the value that was frozen."""
    return unpickled(value) if type(value) is Pickled else value


def pickle_of(value: Any) -> bytes:
    """Return the pickle of one key or value.

    Raises:
        RecordError: *value* cannot be pickled.
    """
    try:
        return pickle.dumps(value, protocol=5)
    except MemoryError:
        raise
    except (pickle.PicklingError, AttributeError) as error:
        return _pickle_by_value(value, error)
    except Exception as error:
        raise _unpicklable(value, error) from error


def _pickle_by_value(value: Any, refused: Exception) -> bytes:
    """Return a pickle that brings its class along: it may be defined in the user's script.

    Raises:
        RecordError: That fails too.
    """
    import cloudpickle  # only few programs get here, and importing it takes time

    try:
        return bytes(cloudpickle.dumps(value, protocol=5))
    except MemoryError:
        raise
    except Exception:
        raise _unpicklable(value, refused) from refused


def _unpicklable(value: Any, error: Exception) -> RecordError:
    return RecordError(
        f"{shown(value)} of type {type_name(value)} cannot be pickled ({error});"
        " keys and values must be plain data or picklable objects"
    )


def unpickled(data: bytes) -> Any:
    """Return the key or value of a pickle.

    Raises:
        RecordError: Its class cannot be found or refuses.
    """
    try:
        return pickle.loads(data)
    except MemoryError:
        raise
    except Exception as error:
        raise RecordError(
            f"a record's pickle cannot be read ({type(error).__name__}: {error});"
            " its class must be importable in the stage that reads it"
        ) from error


def kept_bytes(value: Any) -> int:
    """Return about how much memory a frozen key or value takes."""
    if type(value) is tuple:
        return 56 + sum(map(kept_bytes, value))
    return 48 + len(value) if isinstance(value, str | bytes) else 32


def shown(value: object) -> str:
    """Return the ``repr`` of *value* for an error message, at most 200 characters."""
    try:
        # Much of a long text would be formatted in vain.
        text = repr(value[:200] if type(value) in (str, bytes) else value)  # type: ignore[index]
    except Exception as error:
        text = f"<{type_name(value)} whose repr() raises {type(error).__name__}>"
    return text if len(text) <= 200 else text[:197] + "..."


def type_name(value: object) -> str:
    """Return the name of a value's type, with its module unless that is ``builtins``."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
