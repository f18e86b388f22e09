"""Which partition owns a key: a hash that is the same in every process and Python version."""

import zlib
from collections.abc import Iterable
from numbers import Number
from types import BuiltinFunctionType, FunctionType
from typing import Any

# Spreads a CRC over 64 bits: a CRC alone is linear, and keys such as "user17@example.com" would
# fill some of 1,024 partitions 2.5 times over. 2**64 divided by the golden ratio: Knuth, The Art
# of Computer Programming, vol. 3, section 6.4.
_MULTIPLIER = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1

_crc = zlib.crc32


def partition_of(key: Any, partitions: int) -> int:
    """Return the partition that owns *key*.

    Args:
        key: Anything ``stable_hash`` takes.
        partitions: How many partitions the stage has, at least 1.

    Returns:
        An index in ``range(partitions)``.

    Raises:
        ValueError: *partitions* is less than 1.
        TypeError: *key* cannot be hashed.
    """
    if partitions < 1:
        raise ValueError(f"partitions must be at least 1, not {partitions}")
    return stable_hash(key) % partitions


def stable_hash(key: Any) -> int:
    """Return a number in ``range(2**32)`` that depends on nothing but *key*.

    Equal keys have equal hashes, as ``dict`` and ``groupby`` see them: ``1``, ``1.0``, ``True`` and
    ``Decimal(1)`` agree, so do a named tuple and the plain tuple it equals, a ``StrEnum`` and its
    string, and two sets or dictionaries with the same content. All NaNs agree too. Lists, sets and
    dictionaries are hashed by content although Python does not hash them.

    Objects of other classes are hashed by what pickle would keep of them: the class's name and the
    state. So the hash of such an object may change when its class does, and with it the Python
    version for classes of the standard library. If a class finds objects equal whose states differ
    (time-zone-aware datetimes in different zones), give the job a partition function of its own.

    Cost: 0.15 to 0.3 microseconds for a short string, bytes or int; objects cost several.

    Raises:
        TypeError: *key* cannot be pickled.
        RecursionError: *key* contains itself.

    Source:
        CRC-32 (ISO 3309, as in zlib) of the text or bytes, then Fibonacci hashing. Numbers go
        through Python's own numeric hash, which is defined by value and not randomised ("Hashing
        of numeric types" in the library reference, 64-bit builds).
    """
    if isinstance(key, str):
        crc = _crc(key.encode("utf-8", "surrogatepass"))
    elif isinstance(key, bytes):
        crc = _crc(key)
    elif isinstance(key, (int, float)):
        # A NaN hashes by its address.
        crc = _crc(b"%d" % hash(key)) if key == key else 1
    else:
        crc = _hash_other(key)
    return (crc * _MULTIPLIER & _MASK) >> 32


def _hash_other(key: Any) -> int:
    """Return the hash of a key that is neither text nor a built-in number."""
    if key is None:
        return 2
    if isinstance(key, (tuple, list)):
        # A list never equals a tuple, and may share its hash.
        return _in_order(key)
    if isinstance(key, (bytearray, memoryview)):
        return _crc(bytes(key))
    if isinstance(key, (set, frozenset)):
        return _in_any_order(key)
    if isinstance(key, dict):
        return _in_any_order(key.items())
    if isinstance(key, Number):  # Decimal, Fraction, complex, numpy's scalars
        return _crc(b"%d" % hash(key)) if key == key else 1
    if isinstance(key, (type, FunctionType, BuiltinFunctionType)):
        return _crc(f"{key.__module__}.{key.__qualname__}".encode())
    return _hash_object(key)


def _in_order(items: Iterable[Any]) -> int:
    return _crc(b"".join([stable_hash(item).to_bytes(4, "little") for item in items]))


def _in_any_order(items: Iterable[Any]) -> int:
    # The bytes of a pickled set follow the randomised order of its strings; a sum does not.
    return _crc((sum(map(stable_hash, items)) & _MASK).to_bytes(8, "little"))


def _hash_object(key: Any) -> int:
    """Return the hash of what pickle would keep of an object.

    Not of the pickle itself: its bytes also tell which parts of the object are one and the same
    object, which differs between equal keys.
    """
    try:
        reduced = key.__reduce_ex__(2)
    except Exception as error:
        raise TypeError(
            f"cannot tell the partition of the key {key!r:.200} of type {type(key).__qualname__}:"
            f" {error}; use keys of plain types, or give the job a partition function"
        ) from error
    if isinstance(reduced, str):  # the name of a global of its module
        return _crc(reduced.encode())
    make, arguments, *rest = reduced
    state, items, pairs = (*rest, None, None, None)[:3]
    return _in_order([make, arguments, state, *(items or ()), *(pairs or ())])
