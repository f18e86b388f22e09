"""The external merge sort: frames in any order become blocks in key order, within a memory budget.

Frames are gathered until memory is full, sorted, and written to disk as a run; runs are merged a
block at a time, in several passes if there are more of them than memory can hold blocks.
"""

import sys
from bisect import bisect_right
from collections.abc import Generator, Iterable, Sequence
from itertools import accumulate
from typing import Any

from disco_engine.core.settings import KIB, MIB
from disco_engine.records.blocks import Frame, StoredBlock, decode_stored, raw_bytes_of
from disco_engine.records.sorting import merge_blocks, unsortable
from disco_engine.records.spills import Run, SpillArea

# What sorting takes for each value: its place in old and new columns.
_VALUE_BYTES = 24
# What it takes for each key: a position and a temporary pointer too, or if the block is folded, a
# list and its place in a dictionary.
_KEY_BYTES = 66
_GROUP_BYTES = 220
# What an object of the user's takes beyond its pickle.
_OBJECT_BYTES = 400
# Runs that are merged at a time, whatever the memory: each is an open file.
_MAX_RUNS = 128


def memory_of(block: StoredBlock, payload_bytes: int) -> int:
    """Return about how much memory a block takes while it is sorted, from a sample.

    Args:
        block: Decoded.
        payload_bytes: Length of its frame before compression.
    """
    values = sys.getsizeof(b"") if block.pickled else _overhead(block.values)
    keys = _overhead(block.keys) + (_KEY_BYTES if block.counts is None else _GROUP_BYTES)
    total = len(block.keys) * keys + len(block.values) * (values + _VALUE_BYTES)
    return payload_bytes + int(total)


def _overhead(column: list[Any]) -> float:
    """Return how much larger an object of *column* is in memory than in a frame, on average."""
    sample = column[:: len(column) // 16 + 1]
    return sum(map(_overhead_of, sample)) / len(sample)


def _overhead_of(item: Any) -> int:
    kind = type(item)
    if kind is str or kind is bytes:
        return sys.getsizeof(item) - len(item)
    if kind is int:
        return 0 if -5 <= item <= 256 else sys.getsizeof(item)  # small ones are shared
    if item is None or kind is bool:
        return 0
    if kind is float:
        return sys.getsizeof(item)
    if kind is tuple:
        return sys.getsizeof(item) + sum(map(_overhead_of, item))
    return _OBJECT_BYTES


def sorted_blocks(
    frames: Iterable[Frame], *, memory_bytes: int, area: SpillArea
) -> Generator[StoredBlock, None, None]:
    """Return the sorted records: one block if they fit in memory, else a merge of runs.

    Frames are read before this returns.

    Args:
        frames: Any number.
        memory_bytes: What records may take; those of one frame may take more.
        area: Where runs go.

    Raises:
        FrameCorruptError: A frame is not what was written.
        RecordError: Keys do not compare with each other.
        SpillError: The disk is full.
    """
    runs: list[Run] = []
    batch: list[StoredBlock] = []
    batch_bytes = payload = total = 0
    frame_bytes = 0
    for frame in frames:
        block = decode_stored(frame)
        size = memory_of(block, raw_bytes_of(frame))
        if batch and batch_bytes + size > memory_bytes:
            frame_bytes = frame_bytes or _frame_bytes(memory_bytes, total / payload)
            runs.append(area.write([merge_blocks(batch)], frame_bytes=frame_bytes))
            batch, batch_bytes = [], 0
        batch.append(block)
        batch_bytes += size
        total += size
        payload += raw_bytes_of(frame)
    if not runs:
        return (block for block in ([merge_blocks(batch)] if batch else []))
    runs.append(area.write([merge_blocks(batch)], frame_bytes=frame_bytes))
    del batch, block  # the merge needs the room
    return _merge(_few_enough(runs, memory_bytes, total / payload, frame_bytes, area))


def _frame_bytes(memory_bytes: int, expansion: float) -> int:
    """Return how long frames of runs are, so that about 32 can be merged at a time.

    Args:
        memory_bytes: For all of them.
        expansion: How much larger records are in memory than in a frame.
    """
    return max(4 * KIB, min(MIB, int(memory_bytes / expansion / 64)))


def _few_enough(
    runs: list[Run], memory_bytes: int, expansion: float, frame_bytes: int, area: SpillArea
) -> list[Run]:
    """Return runs that can be merged at once: the oldest are merged until there are few enough."""
    while True:
        # One block of each run is in memory, and as much again while they are sorted.
        block_bytes = 2 * expansion * max(run.largest_payload for run in runs)
        fan_in = max(2, min(_MAX_RUNS, int(memory_bytes / block_bytes)))
        if len(runs) <= fan_in:
            return runs
        some = min(fan_in, len(runs) - fan_in + 1)
        merged = area.write(_merge(runs[:some]), frame_bytes=frame_bytes)
        runs = [*runs[some:], merged]


class _Head:
    """The block at the front of a run, and how much of it was taken."""

    def __init__(self, run: Run) -> None:
        self._blocks = run.blocks()
        self._block = StoredBlock([], [])
        self._ends: list[int] | None = None
        self._taken = 0

    def advance(self) -> bool:
        """Load the next block if all of the current one was taken; return whether there is one."""
        if self._taken == len(self._block.keys):
            block = next(self._blocks, None)
            if block is None:
                return False
            self._block, self._taken = block, 0
            self._ends = None if block.counts is None else [0, *accumulate(block.counts)]
        return True

    @property
    def last_key(self) -> Any:
        """The largest key of the block."""
        return self._block.keys[-1]

    def take(self, bound: Any, *, everything: bool) -> StoredBlock:
        """Return the records that were not taken yet and whose keys are not above *bound*."""
        keys, values, counts, pickled = self._block
        start = self._taken
        stop = len(keys) if everything else bisect_right(keys, bound, start)
        self._taken = stop
        if self._ends is None or counts is None:
            return StoredBlock(keys[start:stop], values[start:stop], None, pickled)
        return StoredBlock(
            keys[start:stop],
            values[self._ends[start] : self._ends[stop]],
            counts[start:stop],
            pickled,
        )


def _merge(runs: Sequence[Run]) -> Generator[StoredBlock, None, None]:
    """Yield the records of all runs in key order.

    Everything up to the smallest of the blocks' last keys can be sorted and passed on: what comes
    later in any run is above it or equal to it. Sorting a few presorted pieces at once is much
    quicker in Python than comparing record by record.
    """
    heads = [head for head in map(_Head, runs) if head.advance()]
    while heads:
        try:
            lowest = min(heads, key=lambda head: head.last_key)
            bound = lowest.last_key
            pieces = [head.take(bound, everything=head is lowest) for head in heads]
        except TypeError as error:
            raise unsortable([head.last_key for head in heads], error) from error
        filled = [piece for piece in pieces if piece.keys]
        yield filled[0] if len(filled) == 1 else merge_blocks(filled)
        heads = [head for head in heads if head.advance()]
