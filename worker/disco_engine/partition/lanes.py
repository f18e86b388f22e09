"""Where the blocks of one label, or of one task, are: extents on disk, then bytes in memory.

A lane is one sequence of bytes. What moves from memory to disk keeps its place in the sequence, so
a reader's position stays good while the lane grows and is written. No I/O happens here.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from disco_engine.core.model import NOTHING, Totals
from disco_engine.partition.appendfile import AppendFile, Part
from disco_engine.partition.segment import FoundBlock, Read, blocks_in

_PACK_BELOW = 16 * 1024
_PACK_SIZE = 64 * 1024


class Span(NamedTuple):
    """Consecutive whole blocks of a lane.

    Attributes:
        size: How many bytes.
        at: Where they are in the stage's log; 0 if ``data`` has them.
        data: The bytes, if they are in memory.
    """

    size: int
    at: int = 0
    data: Part | None = None

    def reader(self, log: AppendFile | None) -> Read:
        """Return how to read it; what is in memory is read from position 0."""
        if self.data is None:
            assert log is not None
            return log.read
        data = self.data
        return lambda at, size: data[at : at + size]

    def blocks(self, log: AppendFile | None) -> Iterator[FoundBlock]:
        """Yield the blocks in it, passing over what is damaged; see ``segment.blocks_in``."""
        return blocks_in(self.reader(log), self.at, self.at + self.size)


class Tail:
    """Blocks that are not on disk yet.

    Small blocks are packed together, so that many of them are few objects; a large frame is
    copied once.
    """

    __slots__ = ("parts", "size")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.size = 0

    def append(self, header: bytes, frame: bytes) -> None:
        """Add one block."""
        self.size += len(header) + len(frame)
        if len(frame) >= _PACK_BELOW:
            self.parts.append(header + frame)
            return
        last = self.parts[-1] if self.parts else None
        if not isinstance(last, bytearray) or len(last) >= _PACK_SIZE:
            last = bytearray()
            self.parts.append(last)
        last += header
        last += frame


class Lane:
    """The blocks of one label, or of one task, in the order of their arrival.

    Attributes:
        waiting: What has to be written; None: nothing.
        sealed: Totals of the sealed attempts' blocks, if the lane is a task's. A label's are in
            the ledger.
    """

    __slots__ = ("_ends", "_flying", "_starts", "sealed", "waiting")

    def __init__(self) -> None:
        self.sealed: Totals = NOTHING
        self.waiting: Tail | None = None
        self._flying: Tail | None = None  # being written, and read from memory until it is
        self._starts = array("Q")  # of the extents, in the log
        self._ends = array("Q")  # of the extents, in the lane

    def append(self, header: bytes, frame: bytes) -> None:
        """Add one block."""
        if self.waiting is None:
            self.waiting = Tail()
        self.waiting.append(header, frame)

    def add_extent(self, at: int, size: int) -> None:
        """Note that *size* more bytes of the lane are in the log, at *at*."""
        begin = self._ends[-1] if self._ends else 0
        if self._starts and self._starts[-1] + self._extent_size(len(self._ends) - 1) == at:
            self._ends[-1] += size
        else:
            self._starts.append(at)
            self._ends.append(begin + size)

    def _extent_size(self, index: int) -> int:
        return self._ends[index] - (self._ends[index - 1] if index else 0)

    def begin_write(self) -> Tail:
        """Return what waits, to be written; it stays readable meanwhile."""
        assert self.waiting is not None
        assert self._flying is None
        self._flying, self.waiting = self.waiting, None
        return self._flying

    def end_write(self, at: int) -> None:
        """Note that it has been written to the log, at *at*."""
        assert self._flying is not None
        self.add_extent(at, self._flying.size)
        self._flying = None

    def fail_write(self) -> None:
        """Note that it has not been written: it waits again, before what came meanwhile."""
        assert self._flying is not None
        if self.waiting is not None:
            self._flying.parts += self.waiting.parts
            self._flying.size += self.waiting.size
        self._flying, self.waiting = None, self._flying

    def spans(self, position: int) -> Iterator[Span]:
        """Yield what the lane holds from *position* (where a block starts) to its end.

        Use it up before the next ``await``: afterwards the lane may have changed.
        """
        for index in range(bisect_right(self._ends, position), len(self._ends)):
            size = self._extent_size(index)
            skip = max(0, position - (self._ends[index] - size))
            yield Span(size - skip, at=self._starts[index] + skip)
        begin = self._ends[-1] if self._ends else 0
        for tail in (self._flying, self.waiting):
            for part in tail.parts if tail else ():
                if begin + len(part) > position:
                    skip = max(0, position - begin)
                    yield Span(len(part) - skip, data=part[skip:] if skip else part)
                begin += len(part)
