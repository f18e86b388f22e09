"""Local files, and everything that fsspec can open."""

from typing import IO, Any

from disco_engine.inputs.opening import open_stream


def open(url: str) -> IO[bytes]:
    """Return a binary file, decompressed if it is compressed."""
    return open_stream(url)


def input_stream(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Return (stream, size, url); the size is None, for it is not known before the end."""
    return open(url), None, url
