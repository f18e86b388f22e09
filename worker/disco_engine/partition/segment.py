"""What a stage's log looks like on disk: blocks, each behind a header that checks itself.

The header's checksum covers the header only. A frame carries its own checksum, which whoever
decodes the frame verifies: a second one here would cost time both ways and find nothing more.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from disco_engine.core.model import AttemptId, Label, Totals

_MAGIC = b"DBlk"
_FIELDS = struct.Struct("<4sIQIqQI")  # magic, task, epoch, attempt, label, records, frame's length
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size

_READ_BYTES = 64 * 1024

Bytes = bytes | bytearray
Read = Callable[[int, int], Bytes]


class BlockHeader(NamedTuple):
    """What stands before a frame. The stage is that of the log.

    Attributes:
        length: Bytes of the frame, which follows at once.
    """

    task: int
    epoch: int
    attempt: int
    label: Label
    records: int
    length: int

    @property
    def totals(self) -> Totals:
        """How much this one block is."""
        return Totals(1, self.records, self.length)

    def of(self, stage: int) -> AttemptId:
        """Return the attempt that wrote the block."""
        return AttemptId(stage, self.task, self.epoch, self.attempt)


def pack_header(attempt: AttemptId, label: Label, records: int, length: int) -> bytes:
    """Return the bytes that stand before a frame of *length* bytes."""
    _, task, epoch, number = attempt
    fields = _FIELDS.pack(_MAGIC, task, epoch, number, label, records, length)
    return fields + _CHECKSUM.pack(zlib.crc32(fields))


def unpack_header(data: Bytes, at: int) -> BlockHeader | None:
    """Return the header that starts at *at*, or None if there is none, a damaged or a cut one."""
    end = at + _FIELDS.size
    if end + _CHECKSUM.size > len(data):
        return None
    if zlib.crc32(data[at:end]) != _CHECKSUM.unpack_from(data, end)[0]:
        return None
    magic, *fields = _FIELDS.unpack_from(data, at)
    return BlockHeader._make(fields) if magic == _MAGIC else None


class FoundBlock(NamedTuple):
    """A block in a log, or in memory.

    Attributes:
        at: Where its header starts.
        end: Where the next block starts.
        near: Bytes that were read on the way, from ``near_at`` on; perhaps the frame is in them.
    """

    at: int
    end: int
    header: BlockHeader
    near: Bytes
    near_at: int

    def frame(self, read: Read) -> bytes:
        """Return the frame, shorter than it should be if the log ends in it."""
        start = self.at + HEADER_BYTES
        if self.end <= self.near_at + len(self.near):
            return bytes(self.near[start - self.near_at : self.end - self.near_at])
        return bytes(read(start, self.header.length))


def blocks_in(read: Read, start: int, end: int) -> Iterator[FoundBlock]:
    """Yield the whole blocks of a range, reading little more than their headers.

    Behind a damaged header it goes on at the next thing that is a header, so that damage costs the
    blocks it hit and no others. So a block that does not start where the one before ended means
    that something between is damaged.

    Args:
        read: Returns bytes of the log: from where, and at most how many.
        start: Where a block starts.
        end: Where the last block ends; a block that reaches beyond is not whole.
    """
    at = start
    while at < end:
        near_at, near = at, read(at, min(_READ_BYTES, end - at))
        while (header := unpack_header(near, at - near_at)) is not None:
            behind = at + HEADER_BYTES + header.length
            if behind > end:
                return
            yield FoundBlock(at, behind, header, near, near_at)
            at = behind
        if at == near_at:
            further = near.find(_MAGIC, 1)
            if further == -1 and (not near or near_at + len(near) >= end):
                return
            # The magic may be cut in two by the end of what was read.
            at += further if further != -1 else max(1, len(near) - len(_MAGIC) + 1)
