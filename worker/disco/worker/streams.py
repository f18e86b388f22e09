"""Chains of stream functions, as Disco's programs compose their inputs and outputs.

A stream function is called with (stream, size, url) or, if it takes a fourth argument, also with
the task's params. It returns a new stream, or (stream, url), or (stream, size, url).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from disco.functions import argcount, name_of
from disco_engine.records.frozen import RecordError

StreamFunction = Callable[..., Any]


class OpenStream(NamedTuple):
    """What the next stream function is told.

    Attributes:
        stream: What the one before returned; None for the first.
        size: Bytes of the input; for outputs the label. None if nobody knows.
        url: Of the input or output.
    """

    stream: Any
    size: Any
    url: str


def fold(functions: Iterable[StreamFunction], start: OpenStream, params: Any) -> OpenStream:
    """Return what the chain of *functions* makes of *start*.

    Raises:
        RecordError: One of them has returned nothing.
    """
    current = start
    for function in functions:
        more = (params,) if argcount(function) >= 4 else ()
        result = function(*current, *more)
        if result is None:
            raise RecordError(
                f"{name_of(function)} returned None: a stream function must yield entries, or"
                " return a stream, (stream, url) or (stream, size, url)"
            )
        if isinstance(result, tuple) and len(result) == 3:
            current = OpenStream(*result)
        elif isinstance(result, tuple) and len(result) == 2:
            current = OpenStream(result[0], current.size, result[1])
        else:
            current = OpenStream(result, current.size, current.url)
    return current
