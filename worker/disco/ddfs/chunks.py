"""Chunks of records in Disco's stream format, version 1, which ``chain_reader`` reads.

A chunk is a row of hunks, each a header (<BBIQ: 128 + version, compressed, CRC-32 of the pickles,
bytes that follow) and zlib data: pickled records, one after the other. A chunk ends with a
compressed hunk of no records. Chunks that follow each other in one file are one stream.
"""

import io
import pickle
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

from disco.error import DiscoError

MB = 1024 * 1024
CHUNK_SIZE = 64 * MB
MAX_RECORD_SIZE = MB
HUNK_SIZE = MB

_HEADER = struct.Struct("<BBIQ")
_VERSION = 1
_COMPRESSION_LEVEL = 2
_PICKLE_PROTOCOL = 1


class DiscoOutputStream:
    """Writes records into a file as one stream; it does not close the file.

    Args:
        stream: A binary file.
        max_record_size: Bytes of the longest record; None: any.
    """

    def __init__(self, stream: IO[bytes], max_record_size: int | None = None) -> None:
        self._stream = stream
        self._limit = max_record_size
        self._pickles: list[bytes] = []
        self._size = 0
        self.size = 0
        """Bytes that have been written."""
        self.records = 0
        """Records that have been taken."""

    def add(self, key: Any, value: Any) -> None:
        """Write a pair."""
        self.append((key, value))

    def append(self, record: Any) -> None:
        """Write a record.

        Raises:
            ValueError: It is longer than allowed.
        """
        self.write(encoded(record, self._limit))

    def write(self, pickled: bytes) -> None:
        """Write a record that is pickled already."""
        self._pickles.append(pickled)
        self._size += len(pickled)
        self.records += 1
        if self._size > HUNK_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write what is kept as a hunk; nothing if nothing is kept."""
        if self._pickles:
            self._write_hunk(b"".join(self._pickles))
            self._pickles, self._size = [], 0

    def close(self) -> None:
        """Write what is kept, and the end of the stream."""
        self.flush()
        self._write_hunk(b"")

    def _write_hunk(self, data: bytes) -> None:
        stored = zlib.compress(data, _COMPRESSION_LEVEL)
        self._stream.write(_HEADER.pack(128 + _VERSION, 1, zlib.crc32(data), len(stored)))
        self._stream.write(stored)
        self.size += _HEADER.size + len(stored)


class Chunker:
    """Cuts records into chunks.

    Args:
        chunk_size: Bytes after which a chunk ends; it is longer by no more than a hunk.
        max_record_size: Bytes of the longest record.
    """

    def __init__(
        self, chunk_size: int = CHUNK_SIZE, max_record_size: int = MAX_RECORD_SIZE
    ) -> None:
        self.chunk_size = chunk_size
        self.max_record_size = max_record_size

    def chunks(self, records: Iterable[Any]) -> Iterator[bytes]:
        """Yield the chunks; none for no records.

        Raises:
            ValueError: A record is too long.
        """
        chunk = io.BytesIO()
        stream = DiscoOutputStream(chunk, self.max_record_size)
        for record in records:
            stream.append(record)
            if stream.size > self.chunk_size:
                stream.close()
                yield chunk.getvalue()
                chunk = io.BytesIO()
                stream = DiscoOutputStream(chunk, self.max_record_size)
        if stream.records:
            stream.close()
            yield chunk.getvalue()


def encoded(record: Any, max_record_size: int | None = None) -> bytes:
    """Return the pickle of a record, as streams have it.

    Raises:
        ValueError: It is longer than *max_record_size* bytes.
        DiscoError: It cannot be pickled.
    """
    try:
        data = pickle.dumps(record, _PICKLE_PROTOCOL)
    except Exception as error:  # whatever the object's own methods raise
        raise DiscoError(f"the record {record!r:.200} cannot be pickled: {error}") from error
    if max_record_size is not None and len(data) > max_record_size:
        raise ValueError(
            f"the record {record!r:.200} has {len(data):,} bytes, more than {max_record_size:,}:"
            " allow more (max_record_size, -Z), or cut it with a reader"
        )
    return data
