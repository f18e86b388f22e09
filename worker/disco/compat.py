"""Names that programs for Disco import to run on several versions of Python."""

import io
import pickle
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

basestring = str
integer_types = (int,)
unicode = str
long = int
file = io.BufferedReader
"""The class of what a local input is opened as."""


def bytes_to_str(data: bytes | str) -> str:
    """Return *data* as text, decoded from UTF-8; text is returned as it is."""
    return data.decode("utf-8") if isinstance(data, bytes) else data


def str_to_bytes(data: bytes | str) -> bytes:
    """Return *data* as bytes, encoded in UTF-8; bytes are returned as they are."""
    return data.encode("utf-8") if isinstance(data, str) else data


force_utf8 = str_to_bytes


def force_ascii(data: bytes | str) -> bytes:
    """Return *data* as ASCII bytes.

    Raises:
        UnicodeEncodeError: The text is not ASCII.
    """
    return data.encode("ascii") if isinstance(data, str) else data


def pickle_loads(data: bytes | str) -> Any:
    """Return the object that *data* pickles; text is taken as Latin-1, as old programs need."""
    return pickle.loads(data.encode("latin-1") if isinstance(data, str) else data)


def pickle_dumps(value: object, protocol: int = 2) -> bytes:
    """Return the pickle of *value*."""
    return pickle.dumps(value, protocol)


def pickle_load(stream: BinaryIO) -> Any:
    """Return the next object of a stream of pickles."""
    return pickle.load(stream)


def pickle_dump(value: object, stream: BinaryIO, protocol: int = 2) -> None:
    """Append the pickle of *value* to a stream."""
    pickle.dump(value, stream, protocol)


def iteritems(mapping: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """Return an iterator over the pairs of *mapping*."""
    return iter(mapping.items())


def iterkeys(mapping: Mapping[Any, Any]) -> Iterable[Any]:
    """Return an iterator over the keys of *mapping*."""
    return iter(mapping)


def itervalues(mapping: Mapping[Any, Any]) -> Iterable[Any]:
    """Return an iterator over the values of *mapping*."""
    return iter(mapping.values())
