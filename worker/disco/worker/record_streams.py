"""Files and streams that hold records of jobs: what reads them, whoever opened them."""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

from disco.compat import pickle_load
from disco.error import DataError, DiscoError
from disco_engine.outputs.formats import FRAMES_MAGIC
from disco_engine.outputs.reading import read_part

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
    stream = io.BufferedReader(Prefixed(head, stream))
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


class Prefixed(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into *buffer*, and return how many bytes."""
        data = self._head or self._stream.read(len(buffer))
        self._head = b""
        buffer[: len(data)] = data
        return len(data)
