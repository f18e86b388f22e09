"""The blocks of one stage: one log file, and a lane for every label (or task)."""

import functools
import heapq
from collections.abc import Iterable, Mapping
from pathlib import Path

from disco_engine.core.model import NOTHING, AttemptId, Label, Layout, SealedAttempt, Totals
from disco_engine.partition.appendfile import AppendFile
from disco_engine.partition.lanes import Lane
from disco_engine.partition.segment import BlockHeader, pack_header

_SUFFIXES = {Layout.BY_LABEL: ".by-label.log", Layout.BY_TASK: ".by-task.log"}


def log_path(directory: Path, stage: int, layout: Layout) -> Path:
    """Return where the log of a stage is; the name says all that recovery must know of it."""
    return directory / f"stage-{stage}{_SUFFIXES[layout]}"


def logs_in(directory: Path) -> Iterable[tuple[int, Layout]]:
    """Yield stage and layout of every log in *directory*, ascending."""
    for layout, suffix in _SUFFIXES.items():
        for path in sorted(directory.glob(f"stage-*{suffix}")):
            number = path.name.removeprefix("stage-").removesuffix(suffix)
            if number.isdecimal():
                yield int(number), layout


def sum_of(totals: Iterable[Totals]) -> Totals:
    """Return the sum of all *totals*."""
    return functools.reduce(Totals.plus, totals, NOTHING)


class Stage:
    """What the attempts of one stage wrote, sealed or not.

    Attributes:
        number: Of the stage in the job.
        layout: What a lane is: a label's blocks, or a task's.
        lanes: By label, or by task.
        dirty: The lanes, by the same keys, in which something waits to be written.
        seals: When each attempt was sealed, as a number that grows with each seal of the service;
            by (task, epoch, attempt). Who is not in it, is not sealed.
        waiting_bytes: How much waits in all of them.
        log: The file; None until something has been written.
    """

    def __init__(self, number: int, layout: Layout, directory: Path) -> None:
        self.number = number
        self.layout = layout
        self.lanes: dict[int, Lane] = {}
        self.dirty: dict[int, Lane] = {}
        self.seals: dict[tuple[int, int, int], int] = {}
        self.waiting_bytes = 0
        self.log: AppendFile | None = None
        self._path = log_path(directory, number, layout)

    def key_of(self, task: int, label: Label) -> int:
        """Return which lane a block belongs to."""
        return label if self.layout is Layout.BY_LABEL else task

    def lane(self, key: int) -> Lane:
        """Return a lane, which may be new."""
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane()
        return lane

    def append(self, attempt: AttemptId, label: Label, records: int, frame: bytes) -> None:
        """Keep one block, in memory."""
        key = self.key_of(attempt.task, label)
        lane = self.lane(key)
        header = pack_header(attempt, label, records, len(frame))
        lane.append(header, frame)
        self.dirty[key] = lane
        self.waiting_bytes += len(header) + len(frame)

    def seal(self, sealed: SealedAttempt, number: int) -> None:
        """Show an attempt to readers that come from now on."""
        self.seals[sealed.id[1:]] = number
        if self.layout is Layout.BY_TASK and sealed.labels:
            lane = self.lane(sealed.id.task)
            lane.sealed = lane.sealed.plus(sum_of(sealed.labels.values()))

    def unseal(self, attempt: AttemptId, labels: Mapping[Label, Totals]) -> None:
        """Hide a sealed attempt, of which *labels* was sealed, from readers."""
        self.seals.pop(attempt[1:], None)  # one without blocks may be older than this object
        if self.layout is Layout.BY_TASK and labels:
            lane = self.lanes[attempt.task]
            lane.sealed = lane.sealed.minus(sum_of(labels.values()))

    def sealed_before(self, header: BlockHeader, number: int) -> bool:
        """Return whether a block's attempt was sealed before the seal of that number."""
        sealed = self.seals.get(header[:3])
        return sealed is not None and sealed < number

    def fullest(self, size_bytes: int) -> list[int]:
        """Return the keys of the lanes with most to write, until they have *size_bytes*."""
        heap = [(-lane.waiting.size, key) for key, lane in self.dirty.items() if lane.waiting]
        heapq.heapify(heap)
        chosen = []
        while heap and size_bytes > 0:
            size, key = heapq.heappop(heap)
            chosen.append(key)
            size_bytes += size
        return chosen

    def begin_write(self, keys: Iterable[int]) -> "Batch":
        """Take what waits in these dirty lanes, to be written."""
        batch = Batch({key: self.dirty.pop(key) for key in keys})
        self.waiting_bytes -= batch.size
        return batch

    def open_log(self) -> AppendFile:
        """Return the log, opened or created if it has not been."""
        if self.log is None:
            self.log = AppendFile(self._path)
        return self.log

    def write(self, batch: "Batch") -> int:
        """Append to the log and return where; blocks.

        Raises:
            OSError: Nothing has been written.
        """
        return self.open_log().append([part for tail in batch.tails for part in tail.parts])

    def fail_write(self, batch: "Batch") -> None:
        """Have everything wait again."""
        for key, lane in batch.lanes.items():
            lane.fail_write()
            self.dirty[key] = lane
        self.waiting_bytes += batch.size

    def close(self) -> None:
        """Close the log; who still reads it can go on."""
        if self.log is not None:
            self.log.close()
            self.log = None

    def delete(self) -> None:
        """Close the log and remove the file."""
        self.close()
        self._path.unlink(missing_ok=True)


class Batch:
    """What waits in some lanes, on its way to the disk in one large write.

    Attributes:
        lanes: By key.
        tails: What each of them gave, in the same order.
        size: Bytes of all.
    """

    def __init__(self, lanes: dict[int, Lane]) -> None:
        self.lanes = lanes
        self.tails = [lane.begin_write() for lane in lanes.values()]
        self.size = sum(tail.size for tail in self.tails)

    def end_write(self, at: int) -> None:
        """Note in each lane where it has been written, the first of them at *at*."""
        for lane, tail in zip(self.lanes.values(), self.tails, strict=True):
            lane.end_write(at)
            at += tail.size
