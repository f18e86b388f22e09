"""Pickles that hold functions by value: a name that programs for Disco import.

Unlike Disco's, they keep closures, defaults and the functions' globals: that is cloudpickle's work.
"""

import pickle
from typing import IO, Any

import cloudpickle

__all__ = ["dump", "dumps", "load", "loads"]


def dumps(value: object, protocol: int | None = None) -> bytes:
    """Return the pickle of *value*, its functions by value if they are not importable."""
    data: bytes = cloudpickle.dumps(value, protocol)
    return data


def dump(value: object, stream: IO[bytes], protocol: int | None = None) -> None:
    """Append the pickle of *value* to a stream."""
    stream.write(dumps(value, protocol))


def loads(data: bytes) -> Any:
    """Return what *data* pickles. Whoever wrote it can run any code here."""
    return pickle.loads(data)


def load(stream: IO[bytes]) -> Any:
    """Return the next object of a stream of pickles; see ``loads``."""
    return pickle.load(stream)
