"""Names that programs for Disco import to run on several versions of Python."""

import io
import pickle
from collections.abc import Iterable, Mapping
from io import BytesIO, StringIO
from itertools import zip_longest
from pickle import UnpicklingError
from typing import Any, BinaryIO

basestring = str
integer_types = (int,)
unicode = str
long = int
file = io.BufferedReader
"""The class of what a local input is opened as."""

# Modules under the names they have in both versions, imported when they are asked for: slots import
# this module.
_MODULES = {
    "httplib": "http.client",
    "http_server": "http.server",
    "socket_server": "socketserver",
}

__all__ = [
    "BytesIO",
    "StringIO",
    "UnpicklingError",
    "basestring",
    "bytes_of_int",
    "bytes_to_str",
    "file",
    "force_ascii",
    "force_utf8",
    "int_of_byte",
    "integer_types",
    "iteritems",
    "iterkeys",
    "itervalues",
    "long",
    "pickle_dump",
    "pickle_dumps",
    "pickle_load",
    "pickle_loads",
    "sort_cmd",
    "str_to_bytes",
    "unicode",
    "urlencode",
    "zip_longest",
]


def __getattr__(name: str) -> Any:
    """Return ``httplib``, ``http_server`` or ``socket_server``."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(_MODULES[name])


def bytes_of_int(number: int) -> bytes:
    """Return the byte that has this value."""
    return bytes((number,))


def int_of_byte(byte: int | bytes) -> int:
    """Return the value of a byte, which is one already if it was taken out of bytes."""
    return byte if isinstance(byte, int) else byte[0]


def urlencode(query: Any) -> str:
    """Return names and values as the query of a URL."""
    from urllib.parse import urlencode as encoded

    return encoded(query)


def sort_cmd(filename: str, sort_buffer_size: str) -> tuple[list[str], bool]:
    """Return (the command that sorts a file by its keys, whether a shell must run it)."""
    from disco.sorting import sort_command

    return sort_command(filename, sort_buffer_size), False


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
