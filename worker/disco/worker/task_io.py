"""Stream functions: how a task's inputs become records, and its records become output.

``disco.worker.streams`` says how they are called and chained.
"""

import gzip
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from disco import schemes
from disco.compat import pickle_load
from disco.error import DataError, DiscoError
from disco.worker.streams import OpenStream, fold
from disco_engine.outputs.formats import FRAMES_MAGIC
from disco_engine.outputs.reading import read_part

_GZIP_MAGIC = b"\x1f\x8b"
_HUNK = struct.Struct("<BBIQ")  # 128 + version, compressed, crc32 of the records, bytes that follow


class RecordStream:
    """An open input that has records already, such as a part of another job's result."""

    def __init__(self, records: Iterable[Any], name: str) -> None:
        self.records = records
        self.name = name

    def __iter__(self) -> Iterator[Any]:
        return iter(self.records)

    def read(self, size: int = -1) -> bytes:
        """Refuse: there are no bytes to read.

        Raises:
            DiscoError: Always.
        """
        raise DiscoError(
            f"{self.name} holds the (key, value) records of a job, not bytes:"
            " read it with chain_reader, or without a reader"
        )


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


def chain_reader(stream: Any, size: int | None, url: str) -> Iterator[tuple[Any, Any]]:
    """Yield the (key, value) records of a job's result.

    Args:
        stream: A ``RecordStream``, or a binary file of pickle frames, of Disco's own chunks, or of
            its old text format.
        size: Not needed.
        url: For messages.

    Raises:
        DataError: The file is damaged or has another format.
    """
    if isinstance(stream, RecordStream):
        return iter(stream)
    return disco_input_stream(stream, size, url)


def disco_input_stream(
    stream: Any, size: int | None, url: str, ignore_corrupt: bool = False
) -> Iterator[tuple[Any, Any]]:
    """Yield the records of a binary file of Disco's chunks; see ``chain_reader``.

    Args:
        stream: The file, or a ``RecordStream``.
        size: Not needed.
        url: For messages.
        ignore_corrupt: Leave damaged parts out instead of raising.

    Raises:
        DataError: The file is damaged or has another format.
    """
    if isinstance(stream, RecordStream):
        yield from stream
        return
    while head := stream.read(1):
        if isinstance(head, str):
            found = head + stream.read(19)
            text = f"expected the records of a job, found {found!r}: give a reader of such texts"
            raise DataError(text, url)
        if head == FRAMES_MAGIC[:1]:
            yield from read_part(url, "pickle")
            return
        if head[0] < 128:
            yield from old_netstr_reader(stream, size, url, head)
            return
        fields = head + stream.read(_HUNK.size - 1)
        if len(fields) < _HUNK.size:
            raise DataError("the file ends in the middle of a header", url)
        _, compressed, checksum, length = _HUNK.unpack(fields)
        if not length:
            return
        yield from _hunk_records(
            stream.read(length), length, compressed, checksum, url, ignore_corrupt
        )


def _hunk_records(
    data: bytes, length: int, compressed: int, checksum: int, url: str, ignore_corrupt: bool
) -> Iterator[Any]:
    problem = "the file ends in the middle of a block" if len(data) < length else ""
    if not problem and compressed:
        try:
            data = zlib.decompress(data)
        except zlib.error as error:
            problem = str(error)
    if not problem and zlib.crc32(data) != checksum:
        problem = "a block has a wrong checksum"
    if problem:
        if ignore_corrupt:
            return
        raise DataError(f"corrupt data: {problem}", url)
    records = io.BytesIO(data)
    while records.tell() < len(data):
        yield pickle_load(records)


def old_netstr_reader(
    stream: IO[bytes], size: int | None, url: str, head: bytes = b""
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs of Disco's old text format, ``length key length value`` per line.

    Raises:
        DataError: The file has another format, or ends too early.
    """
    stream = io.BufferedReader(_Prefixed(head, stream))
    while True:
        start = stream.read(1)
        if not start:
            return
        if start == b"\n":
            continue
        key = _netstring(stream, start, url)
        yield key, _netstring(stream, b"", url)


def _netstring(stream: IO[bytes], start: bytes, url: str) -> bytes:
    digits = start
    while (byte := stream.read(1)) not in (b" ", b""):
        digits += byte
        if len(digits) > 20:
            break
    if not digits.strip().isdigit():
        raise DataError(
            f"expected the records of a job, found {digits[:20]!r}: give a reader of such files",
            url,
        )
    text = stream.read(int(digits) + 1)  # and the separator
    if len(text) < int(digits):
        raise DataError("the file ends in the middle of a record", url)
    return text[: int(digits)]


class _Prefixed(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head or self._stream.read(len(buffer))
        self._head = b""
        buffer[: len(data)] = data
        return len(data)


def gzip_reader(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Return the decompressed stream; one that has been decompressed already is left alone."""
    source = io.BufferedReader(_Prefixed(b"", stream))
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
    from disco.worker.outputs import TaskOutput

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
