"""Opening inputs by the scheme of their URL, for stream functions and for programs that ask."""

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from disco.util import schemesplit
from disco.worker.streams import OpenStream, fold

_MODULES = ("ddfs", "dir", "disco", "http", "raw", "tag", "url")


def import_scheme(url: str) -> ModuleType:
    """Return the module that opens *url*: ``disco.schemes.scheme_SCHEME``.

    Whatever has no module of its own is opened by ``scheme_file``, which knows all that fsspec
    does.
    """
    scheme = schemesplit(url)[0].lower().replace("https", "http")
    return importlib.import_module(
        f"disco.schemes.scheme_{scheme if scheme in _MODULES else 'file'}"
    )


def input_stream(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Return (stream, size, url) for *url*, opened: a stream function for all schemes."""
    return import_scheme(url).input_stream(stream, size, url, params)


def open(url: str) -> Any:
    """Return an open binary file, or what its scheme has instead."""
    return import_scheme(url).open(url)


def open_chain(url: str) -> Any:
    """Return *url* as the whole of its scheme's default chain opens it."""
    chain: Iterable[Any] = (input_stream,)
    return fold(chain, OpenStream(None, None, url), None).stream
