"""``raw://TEXT``: the input is the URL's own text."""

import io
from typing import Any

from disco.urls import schemesplit


def open(url: str) -> io.StringIO:
    """Return a text stream over what follows ``raw://``."""
    return io.StringIO(schemesplit(url)[1])


def input_stream(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Return (stream, size, url); the size is the number of characters."""
    return open(url), len(schemesplit(url)[1]), url
