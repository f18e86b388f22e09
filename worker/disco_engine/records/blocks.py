"""One frame: how records become compressed, checksummed bytes, and records again.

A frame is a header of 32 bytes and a payload. All integers are little-endian:

    offset  size  what
    0       4     b"DSCF"
    4       1     version of this format, 1
    5       1     codec of the payload: 0 as it is, 1 zstd
    6       2     flags: 1 keys are pickled, 2 values are pickled
    8       4     number of records
    12      8     length of the payload before compression
    20      8     length of the payload as stored
    28      4     CRC-32 of the 28 bytes before it and the stored payload

The payload is the tuple (keys, values, counts) as marshal version 2 writes it: that version has no
references, so the bytes depend on nothing but the values, and every Python since 2.5 reads it.
A pickled column is a list of pickles, one for each key or value.
"""

import marshal
import struct
import threading
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import zstandard

from disco_engine.core.model import AttemptId
from disco_engine.core.settings import MIB
from disco_engine.records.frozen import FLAT_TYPES, Pickled, RecordError, pickle_of, unpickled

_MAGIC = b"DSCF"
_VERSION = 1
_RAW, _ZSTD = 0, 1
_KEYS_PICKLED, _VALUES_PICKLED = 1, 2
_FIELDS = struct.Struct("<4sBBHIQQ")
_CRC = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CRC.size
_MARSHAL_VERSION = 2


class Frame(NamedTuple):
    """Encoded records as they travel.

    Attributes:
        data: What ``encode`` returned.
        origin: The attempt that wrote it; None if nobody knows.
        on_corrupt: Hears of it if the frame is found to be damaged, whoever catches the error.
    """

    data: bytes
    origin: AttemptId | None = None
    on_corrupt: "Callable[[FrameCorruptError], None] | None" = None


class FrameCorruptError(Exception):
    """A frame is not what was written: its length or checksum is wrong.

    The coordinator answers by making the output again; users see it in the job's events.
    """

    def __init__(self, frame: Frame, reason: str) -> None:
        author = "" if frame.origin is None else f" written by {frame.origin}"
        super().__init__(f"frame of {len(frame.data)} bytes{author}: {reason}")
        self.origin = frame.origin


class Block(NamedTuple):
    """Decoded records, in columns.

    Attributes:
        keys: One per record, or one per run of records if ``counts`` is set.
        values: One per record.
        counts: How many consecutive values belong to each key; None: one each.
    """

    keys: list[Any]
    values: list[Any]
    counts: list[int] | None = None


class StoredBlock(NamedTuple):
    """Records in columns whose values may still be pickles, which sorting need not open.

    Attributes:
        keys: As in Block; may contain Pickled while they are being written.
        values: As in Block, or their pickles.
        counts: As in Block.
        pickled: ``values`` are pickles, every one.
    """

    keys: list[Any]
    values: list[Any]
    counts: list[int] | None = None
    pickled: bool = False

    def thawed(self) -> Block:
        """Return the records with their values.

        Raises:
            RecordError: A pickle cannot be read.
        """
        values = list(map(unpickled, self.values)) if self.pickled else self.values
        return Block(self.keys, values, self.counts)


class _Codecs(threading.local):
    """The thread's compressor and decompressor: making one costs more than using it once."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs = _Codecs()


def encode(
    keys: Sequence[Any], values: Sequence[Any], counts: Sequence[int] | None = None
) -> bytes:
    """Return the frame of some records, whatever its size.

    Args:
        keys: One per record, or one per run of records if *counts* is set.
        values: One per record.
        counts: How many consecutive values belong to each key, at least 1 each; None: one each.

    Raises:
        RecordError: A key or value cannot be pickled.
        ValueError: The columns do not fit together.
    """
    if counts is None:
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys for {len(values)} values")
    elif len(keys) != len(counts) or sum(counts) != len(values):
        raise ValueError(
            f"{len(keys)} keys and {len(counts)} counts for {sum(counts)} values, not {len(values)}"
        )
    stored = store(list(keys), list(values), None if counts is None else list(counts))
    frozen, flags = _frozen(stored)
    return _framed(_payload(frozen), len(values), flags)


def encode_parts(stored: StoredBlock, target_bytes: int = MIB) -> Iterator[tuple[int, bytes]]:
    """Yield (number of records, frame) for consecutive parts of a block.

    Args:
        stored: What to encode; nothing is yielded for no records.
        target_bytes: Length of a part before compression. A part is at most twice as long unless
            it is a single record.

    Raises:
        RecordError: A key cannot be pickled, or a record is larger than 2 GiB.
    """
    frozen, flags = _frozen(stored)
    records = len(frozen.values)
    if not records:
        return
    parts = max(1, round(_estimated_bytes(frozen) / target_bytes))
    step = -(-records // parts)
    ends = None if frozen.counts is None else list(accumulate(frozen.counts))
    for start in range(0, records, step):
        yield from _encode_range(
            frozen, ends, flags, start, min(start + step, records), target_bytes
        )


def decode(frame: Frame) -> Block:
    """Return the records of *frame*.

    Raises:
        FrameCorruptError: It is not what was written.
        RecordError: A pickle in it cannot be read.
    """
    return decode_stored(frame).thawed()


def decode_stored(frame: Frame) -> StoredBlock:
    """Return the records of *frame*, values still pickled if they were.

    Raises:
        FrameCorruptError: It is not what was written.
        RecordError: The pickle of a key cannot be read.
    """
    keys, values, counts = marshal.loads(payload_of(frame))
    _, _, _, flags, records, _, _ = _FIELDS.unpack_from(frame.data)
    if len(values) != records:
        raise _corrupt(frame, f"{len(values)} records, not {records}")
    if flags & _KEYS_PICKLED:
        keys = list(map(unpickled, keys))
    return StoredBlock(keys, values, counts, bool(flags & _VALUES_PICKLED))


def payload_of(frame: Frame) -> bytes | memoryview:
    """Return the payload of *frame*, before compression; nothing in it was looked at.

    Raises:
        FrameCorruptError: It is not what was written.
    """
    data = frame.data
    if len(data) < HEADER_BYTES:
        raise _corrupt(frame, f"shorter than a header of {HEADER_BYTES} bytes")
    magic, version, codec, _, _, raw_bytes, stored_bytes = _FIELDS.unpack_from(data)
    if magic != _MAGIC:
        raise _corrupt(frame, f"it begins with {magic!r}, not {_MAGIC!r}")
    if len(data) != HEADER_BYTES + stored_bytes:
        raise _corrupt(frame, f"its header says {HEADER_BYTES + stored_bytes} bytes")
    stored = memoryview(data)[HEADER_BYTES:]
    (crc,) = _CRC.unpack_from(data, _FIELDS.size)
    found = zlib.crc32(stored, zlib.crc32(data[: _FIELDS.size]))
    if crc != found:
        raise _corrupt(frame, f"its checksum is {found:08x}, not {crc:08x}")
    if version != _VERSION or codec not in (_RAW, _ZSTD):
        raise _corrupt(frame, f"version {version}, codec {codec} is unknown here")
    payload: bytes | memoryview = stored
    if codec == _ZSTD:
        try:
            told = zstandard.frame_content_size(stored)
            if told != raw_bytes:  # before it is decompressed: 8 KB may hold hundreds of megabytes
                raise _corrupt(frame, f"{told} bytes of payload, not {raw_bytes}")
            payload = _codecs.decompressor.decompress(stored)
        except zstandard.ZstdError as error:
            raise _corrupt(frame, f"it cannot be decompressed: {error}") from error
    if len(payload) != raw_bytes:
        raise _corrupt(frame, f"{len(payload)} bytes of payload, not {raw_bytes}")
    return payload


def _corrupt(frame: Frame, reason: str) -> FrameCorruptError:
    error = FrameCorruptError(frame, reason)
    if frame.on_corrupt is not None:
        frame.on_corrupt(error)
    return error


def records_of(frame: Frame) -> int:
    """Return the number of records in a frame, as its header says; 0 if it has no header."""
    if len(frame.data) < HEADER_BYTES:
        return 0
    number: int = _FIELDS.unpack_from(frame.data)[4]
    return number


def has_pickles(frame: Frame) -> bool:
    """Return whether decoding a frame would unpickle something, as its header says."""
    if len(frame.data) < HEADER_BYTES:
        return False
    flags: int = _FIELDS.unpack_from(frame.data)[3]
    return bool(flags & (_KEYS_PICKLED | _VALUES_PICKLED))


def raw_bytes_of(frame: Frame) -> int:
    """Return the length of a frame's payload before compression, as its header says."""
    length: int = _FIELDS.unpack_from(frame.data)[5]
    return length


def stored_bytes_of(header: bytes) -> int:
    """Return the length of the payload that follows a header of ``HEADER_BYTES``."""
    length: int = _FIELDS.unpack_from(header)[6]
    return length


def store(keys: list[Any], values: list[Any], counts: list[int] | None = None) -> StoredBlock:
    """Return a block whose values are all as they are, or all pickles.

    Args:
        keys: As in Block.
        values: Any values, or Pickled.
        counts: As in Block.

    Raises:
        RecordError: A value cannot be pickled.
    """
    if _is_flat_column(values):
        return StoredBlock(keys, values, counts)
    return StoredBlock(keys, _pickles(values), counts, pickled=True)


def _is_flat_column(column: list[Any]) -> bool:
    kinds = set(map(type, column))
    if tuple in kinds:
        if not kinds <= FLAT_TYPES | {tuple}:
            return False
        return all(FLAT_TYPES.issuperset(map(type, item)) for item in column if type(item) is tuple)
    return kinds <= FLAT_TYPES


def _pickles(column: list[Any]) -> list[bytes]:
    return [item if type(item) is Pickled else pickle_of(item) for item in column]


def _frozen(stored: StoredBlock) -> tuple[StoredBlock, int]:
    """Return the block with keys that marshal takes, and the frame's flags."""
    flags = _VALUES_PICKLED if stored.pickled else 0
    if _is_flat_column(stored.keys):
        return stored, flags
    return stored._replace(keys=_pickles(stored.keys)), flags | _KEYS_PICKLED


def _estimated_bytes(stored: StoredBlock) -> int:
    """Return about how long the payload will be, from 64 keys and values spread over the block."""
    total = 5 * len(stored.counts or ())
    for column in (stored.keys, stored.values):
        sample = column[:: len(column) // 64 + 1]
        total += len(_dumped(sample)) * len(column) // len(sample)
    return total


def _encode_range(
    stored: StoredBlock, ends: list[int] | None, flags: int, start: int, stop: int, target: int
) -> Iterator[tuple[int, bytes]]:
    """Yield frames of the records from *start* to *stop*, halving what turns out too long."""
    payload = _payload(_cut(stored, ends, start, stop))
    if len(payload) > 2 * target and stop - start > 1:
        middle = (start + stop) // 2
        yield from _encode_range(stored, ends, flags, start, middle, target)
        yield from _encode_range(stored, ends, flags, middle, stop, target)
    else:
        yield stop - start, _framed(payload, stop - start, flags)


def _cut(stored: StoredBlock, ends: list[int] | None, start: int, stop: int) -> StoredBlock:
    """Return the records from *start* to *stop*; *ends* says where each key's values end."""
    if start == 0 and stop == len(stored.values):
        return stored
    values = stored.values[start:stop]
    if stored.counts is None or ends is None:
        return stored._replace(keys=stored.keys[start:stop], values=values)
    first, last = bisect_right(ends, start), bisect_left(ends, stop)
    counts = stored.counts[first : last + 1]
    counts[0] = ends[first] - start
    counts[-1] -= ends[last] - stop
    return stored._replace(keys=stored.keys[first : last + 1], values=values, counts=counts)


def _payload(stored: StoredBlock) -> bytes:
    return _dumped((stored.keys, stored.values, stored.counts))


def _dumped(columns: Any) -> bytes:
    try:
        return marshal.dumps(columns, _MARSHAL_VERSION)
    except ValueError as error:  # marshal's lengths are 32 bits wide
        raise RecordError("a key or value is larger than 2 GiB; cut it into records") from error


def _framed(payload: bytes, records: int, flags: int) -> bytes:
    """Return the frame of a payload, compressed if that saves an eighth."""
    codec, stored = _RAW, payload
    compressed = _codecs.compressor.compress(payload)
    if len(compressed) <= len(payload) * 7 // 8:
        codec, stored = _ZSTD, compressed
    fields = _FIELDS.pack(_MAGIC, _VERSION, codec, flags, records, len(payload), len(stored))
    crc = zlib.crc32(stored, zlib.crc32(fields))
    return b"".join((fields, _CRC.pack(crc), stored))
