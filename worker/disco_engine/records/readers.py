"""From frames back to records: as they come, or in key order whatever their number."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from itertools import accumulate, chain, compress, count, islice
from operator import ne
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from disco_engine.records.blocks import Block, Frame, StoredBlock, decode
from disco_engine.records.merging import sorted_blocks
from disco_engine.records.sorting import expanded_keys
from disco_engine.records.spills import SpillArea


def pairs_of(frames: Iterable[Frame]) -> Iterator[tuple[Any, Any]]:
    """Return an iterator over the records of *frames*, in their order.

    Raises:
        FrameCorruptError: While iterating: a frame is not what was written.
        RecordError: While iterating: a pickle cannot be read.
    """
    return chain.from_iterable(_pairs(decode(frame)) for frame in frames)


def sort_frames(frames: Iterable[Frame], *, memory_bytes: int, scratch: Path) -> "SortedRecords":
    """Return the records of *frames* in key order; the frames need not be in any order.

    Frames are read at once, the result is read from them as needed. Use it as a context manager:
    it may own files.

    Args:
        frames: Any number.
        memory_bytes: What records may take in memory; those of one frame may take more.
        scratch: A directory on local disk for what has no room in memory.

    Raises:
        FrameCorruptError: A frame is not what was written.
        RecordError: Keys do not compare with each other.
        SpillError: The scratch directory is full.
    """
    area = SpillArea(scratch)
    try:
        return SortedRecords(sorted_blocks(frames, memory_bytes=memory_bytes, area=area), area)
    except BaseException:
        area.remove()
        raise


class SortedRecords:
    """Records in key order, all values of a key together. Can be read once."""

    def __init__(self, blocks: Generator[StoredBlock, None, None], area: SpillArea) -> None:
        self._blocks = blocks
        self._area = area
        self._read = False

    @property
    def spilled_bytes(self) -> int:
        """How much was written to disk in order to sort; 0: everything fitted in memory."""
        return self._area.written_bytes

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Return an iterator over (key, value)."""
        return chain.from_iterable(map(_pairs, self._thawed()))

    def groups(self) -> Iterator[tuple[Any, Iterator[Any]]]:
        """Yield (key, iterator over its values), for each key once.

        Values come from disk as they are read, so a key may have more of them than memory holds.
        Going on to the next key skips values that were not read.
        """
        return _groups(self._thawed())

    def close(self) -> None:
        """Delete spilled files; nothing can be read afterwards."""
        self._read = True
        self._blocks.close()
        self._area.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _thawed(self) -> Iterator[Block]:
        if self._read:
            raise ValueError("sorted records can be read once, and not after they were closed")
        self._read = True
        return (block.thawed() for block in self._blocks)


def _pairs(block: Block) -> Iterator[tuple[Any, Any]]:
    if block.counts is None:
        return zip(block.keys, block.values, strict=True)
    return zip(expanded_keys(StoredBlock(*block)), block.values, strict=True)


def _groups(blocks: Iterator[Block]) -> Iterator[tuple[Any, Iterator[Any]]]:
    tail = _Tail(blocks)
    while tail.block is not None:
        keys, values, counts = tail.block
        if counts is None:
            # Where a key differs from the next one.
            stops = [*compress(count(1), map(ne, keys, islice(keys, 1, None))), len(keys)]
            keys = [keys[stop - 1] for stop in stops]
        else:
            stops = list(accumulate(counts))
        start = 0
        for key, stop in zip(islice(keys, len(keys) - 1), stops, strict=False):
            yield key, iter(values[start:stop])
            start = stop
        # The next blocks may have more values of the last key.
        rest = tail.values(keys[-1], values[start:])
        yield keys[-1], rest
        deque(rest, maxlen=0)


class _Tail:
    """Follows one key's values from the end of a block into the next blocks.

    Attributes:
        block: What comes next, without records of keys that were passed; None: nothing.
    """

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self.block = next(blocks, None)

    def values(self, key: Any, first: list[Any]) -> Iterator[Any]:
        """Yield *first* and the values of *key* in the blocks that follow the current one."""
        yield from first
        self.block = next(self._blocks, None)
        while self.block is not None and self.block.keys[0] == key:
            keys, values, counts = self.block
            same = next((i for i, other in enumerate(keys) if other != key), len(keys))
            stop = same if counts is None else sum(counts[:same])
            yield from islice(values, stop)
            if same < len(keys):
                rest = None if counts is None else counts[same:]
                self.block = Block(keys[same:], values[stop:], rest)
                return
            self.block = next(self._blocks, None)
