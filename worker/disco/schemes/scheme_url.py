"""``url://…``: the record is the whole URL, for jobs that fetch what it means in their own way."""

import io
from typing import Any


def open(url: str) -> io.StringIO:
    """Return a text stream over the URL itself."""
    return io.StringIO(url)


def input_stream(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Return (stream, size, url); the size is the number of characters."""
    return open(url), len(url), url
