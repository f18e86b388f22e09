"""Stream functions: how a task's inputs become records, and its records become output.

``disco.worker.streams`` says how they are called and chained.
"""

import gzip
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from disco import schemes
from disco.error import DataError
from disco.worker.record_streams import (
    Prefixed,
    RecordStream,
    chain_reader,
    disco_input_stream,
    old_netstr_reader,
)
from disco.worker.streams import OpenStream, fold

__all__ = [
    "DiscoPlainOut",
    "RecordStream",
    "StreamCombiner",
    "chain_reader",
    "chain_stream",
    "default_stream",
    "disco_input_stream",
    "disco_output_stream",
    "gzip_line_reader",
    "gzip_line_stream",
    "gzip_reader",
    "gzip_stream",
    "old_netstr_reader",
    "plain_output_stream",
    "re_reader",
    "string_input_stream",
    "task_input_stream",
    "task_output_stream",
]

_GZIP_MAGIC = b"\x1f\x8b"


def task_input_stream(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Open *url*: the first function of nearly every chain.

    Returns:
        (stream, size, url): a binary file, decompressed, or a ``RecordStream``; for ``raw://`` a
        text stream. The size is None.
    """
    return schemes.input_stream(stream, size, url, params)


def string_input_stream(stream: str, size: int | None, url: str, params: Any) -> Any:
    """Return a stream over a text."""
    return io.StringIO(stream), len(stream), url


def gzip_reader(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Return the decompressed stream; one that has been decompressed already is left alone."""
    source = io.BufferedReader(Prefixed(b"", stream))
    if source.peek(2)[:2] != _GZIP_MAGIC:
        return source, size, url
    return gzip.GzipFile(fileobj=source), size, url


def gzip_line_reader(stream: Any, size: int | None, url: str, params: Any) -> Iterator[bytes]:
    """Yield the lines of a stream, decompressed if it is compressed."""
    opened, _, _ = gzip_reader(stream, size, url, params)
    with opened:
        yield from opened


def re_reader(
    item_re_str: str | bytes,
    stream: IO[bytes],
    size: int | None,
    url: str,
    output_tail: bool = False,
    read_buffer_size: int = 8192,
) -> Iterator[Any]:
    """Yield the groups of each match of a pattern; matches must follow each other without gaps.

    Use it as ``functools.partial(re_reader, pattern)``.

    Args:
        item_re_str: The pattern; the groups are bytes if it is bytes, else text.
        stream: A binary file.
        size: Bytes the file must have; None or 0: any number.
        url: For messages.
        output_tail: Yield what is left at the end as ``[rest]``, instead of leaving it out.
        read_buffer_size: Bytes to read at a time.

    Raises:
        DataError: The file is shorter than *size*.
    """
    as_text = isinstance(item_re_str, str)
    pattern = re.compile(item_re_str.encode() if isinstance(item_re_str, str) else item_re_str)
    rest, total = b"", 0
    while data := stream.read(read_buffer_size):
        total += len(data)
        rest += data
        position = 0
        while (match := pattern.match(rest, position)) and match.end() > position:
            yield tuple(map(_decoded, match.groups())) if as_text else match.groups()
            position = match.end()
        rest = rest[position:]
    if size and total < size:
        raise DataError(f"truncated input: expected {size} bytes, got {total}", url)
    if rest and output_tail:
        yield [rest.decode() if as_text else rest]


def _decoded(group: bytes | None) -> str | None:
    return None if group is None else group.decode()


def task_output_stream(stream: Any, label: int | None, url: str, params: Any) -> Any:
    """Return what takes the task's records: ``add(key, value)`` writes one, with this label."""
    from disco.task import active_task  # asks for the task only when one runs
    from disco.worker.task_output import TaskOutput

    return TaskOutput(active_task().context.writer(), label or 0), label, url


def disco_output_stream(stream: Any, label: int | None, url: str, params: Any) -> Any:
    """Return *stream*: records are encoded by the engine."""
    return stream, label, url


class DiscoPlainOut:
    """Writes each pair as a line of text, ``key SP value``, into a binary stream."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def add(self, key: Any, value: Any) -> None:
        """Write one line."""
        self.stream.write(b"%s %s\n" % (_bytes_of(key), _bytes_of(value)))

    def close(self) -> None:
        """Do nothing: whoever opened the stream closes it."""


def _bytes_of(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def plain_output_stream(stream: Any, label: int | None, url: str, params: Any) -> Any:
    """Return an output that writes lines of text into *stream*."""
    return DiscoPlainOut(stream), label, url


default_stream: Sequence[Callable[..., Any]] = (task_input_stream,)
chain_stream: Sequence[Callable[..., Any]] = (task_input_stream, chain_reader)
gzip_stream: Sequence[Callable[..., Any]] = (task_input_stream, gzip_reader)
gzip_line_stream: Sequence[Callable[..., Any]] = (task_input_stream, gzip_line_reader)


class StreamCombiner:
    """The result of a chain of stream functions over *url*.

    Attributes:
        fds: What every function of the chain returned; the last is what is read or written.
        size: Of the input, if anybody knows.
        url: As the last function left it.
    """

    def __init__(
        self,
        url: str,
        streams: Iterable[Callable[..., Any]],
        params: Any,
        fd: Any = None,
        size: int | None = None,
    ) -> None:
        current = OpenStream(fd, size, url)
        self.fds: list[Any] = []
        for function in streams:
            current = fold((function,), current, params)
            self.fds.append(current.stream)
        self.size = current.size
        self.url = current.url

    @property
    def last(self) -> Any:
        """The stream to read or write."""
        return self.fds[-1]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.last)

    def read(self, *args: Any) -> Any:
        """Read from the last stream."""
        return self.last.read(*args)

    def add(self, key: Any, value: Any) -> None:
        """Write to the last stream."""
        self.last.add(key, value)

    def close(self) -> None:
        """Close the streams that can be closed, last first."""
        for stream in reversed(self.fds):
            if hasattr(stream, "close"):
                stream.close()
