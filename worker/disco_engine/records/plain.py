"""Tells whether a payload that somebody else wrote may be given to ``marshal``.

``marshal`` believes what it reads: a few bytes can make it reserve gigabytes, and its documentation
promises nothing about data of unknown origin. So such data is walked through first.
"""

import struct

_LENGTH = struct.Struct("<i")
_FIXED = {ord("N"): 0, ord("F"): 0, ord("T"): 0, ord("i"): 4, ord("g"): 8}
_SIZED = frozenset(b"stu")  # bytes, and text, interned or not
_CONTAINERS = frozenset(b"([")
_LONG = ord("l")
_DEEPEST = 3
"""The columns are lists in a tuple, and keys and values may be tuples."""


def is_plain(payload: bytes | memoryview) -> bool:
    """Return whether *payload* is one value of plain types, complete, and no larger than it is.

    Args:
        payload: What ``disco_engine.records.blocks.payload_of`` returned.

    Source:
        The format is that of CPython's ``Python/marshal.c``, of which version 2 writes no
        references and no short forms.
    """
    at, end = 0, len(payload)
    missing = [1]  # values that are still to come, at each level
    while missing:
        if not missing[-1]:
            missing.pop()
            continue
        missing[-1] -= 1
        if at >= end:
            return False
        kind = payload[at]
        at += 1
        if kind in _FIXED:
            at += _FIXED[kind]
            continue
        if end - at < _LENGTH.size:
            return False
        (length,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size
        if kind == _LONG:  # negative for negative numbers; digits of 15 bits
            at += 2 * abs(length)
        elif length < 0:
            return False
        elif kind in _SIZED:
            at += length
        elif kind in _CONTAINERS and length <= end - at and len(missing) <= _DEEPEST:
            missing.append(length)
        else:
            return False
    return at == end
