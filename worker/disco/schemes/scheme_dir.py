"""``dir://FILE``: an index of inputs, a line ``LABEL URL SIZE`` each.

A job's plan expands it, so that each line becomes an input of its own; here the index can be read.
"""

from typing import IO, Any

from disco.schemes import scheme_file
from disco.urls import schemesplit


def open(url: str) -> IO[bytes]:
    """Return the index itself."""
    return scheme_file.open(schemesplit(url)[1])


def input_stream(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Return (stream, size, url) of the index itself."""
    return open(url), None, url
