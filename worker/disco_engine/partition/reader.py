"""How blocks go out: a selection of lanes, read in pieces that can be resumed.

A reader sees the attempts that are sealed when it starts, or are kept as copies if it asks for
those, and checks at the end that it found all of their blocks. It holds one piece, about 1 MiB,
however slow the one who asked for it is.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from disco_engine.core import label_table
from disco_engine.core.model import NOTHING, Label, Layout, Totals
from disco_engine.partition.appendfile import AppendFile
from disco_engine.partition.lanes import Span
from disco_engine.partition.segment import BlockHeader
from disco_engine.partition.stage import Stage, sum_of
from disco_engine.partition.store import DroppedError, Store

_PIECE_BYTES = 1024 * 1024
_BLOCK_COST_BYTES = 64  # what a block costs in a reply beside its frame


_CURSOR = struct.Struct("<8sQIQ9Q")


class StaleCursorError(Exception):
    """The cursor is of another incarnation of the service: start again."""


class NotSealedError(Exception):
    """A selected task has no sealed attempt here: it is elsewhere, or must be run again."""


class IncompleteError(Exception):
    """Not all that is sealed was found; ``audit`` tells what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to read.

    Attributes:
        keys: Labels, or tasks if the stage is laid out by task, in the order of reading.
        label: Only this label's blocks of the tasks; None: all. Not with keys that are labels.
        copies: Not what is sealed of the tasks, but the newest copy of each. Not with labels.
    """

    stage: int
    keys: Sequence[int]
    by: Layout
    label: Label | None = None
    copies: bool = False

    def check(self, store: Store) -> None:
        """Refuse what cannot be read, rather than hand out nothing.

        Raises:
            ValueError: The stage is laid out otherwise, or copies are asked for by label.
            NotSealedError: A task is not sealed here.
        """
        stage = store.stages.get(self.stage)
        if stage is not None and stage.layout is not self.by:
            raise ValueError(f"stage {self.stage} is laid out {stage.layout}, not {self.by}")
        if self.copies and self.by is Layout.BY_LABEL:
            raise ValueError("copies are read by task")
        if self.copies or self.by is Layout.BY_LABEL:
            return
        lanes = stage.lanes if stage is not None else {}
        empty = {key for key in self.keys if key not in lanes or lanes[key].sealed == NOTHING}
        if empty:  # rare; such a task's attempt may have been sealed without output
            empty -= {a.task for a in store.ledger.sealed_attempts() if a.stage == self.stage}
        if empty:
            raise NotSealedError(
                f"task {min(empty)} of stage {self.stage} is not sealed here; it may be on another"
                " service, or must be run again"
            )

    def expected(self, store: Store) -> Totals:
        """Return what is sealed in the selected lanes, of all labels."""
        if self.by is Layout.BY_LABEL:
            sealed = store.ledger.sealed_totals(self.stage)
            return sum_of(sealed.get(key, NOTHING) for key in self.keys)
        stage = store.stages.get(self.stage)
        lanes = [stage.lanes[key] for key in self.keys if key in stage.lanes] if stage else []
        return sum_of(lane.sealed for lane in lanes)


Copies = Mapping[tuple[int, int, int], Totals]
"""By (task, epoch, attempt): what each of them has."""


async def copies_of(store: Store, selection: Selection) -> Copies:
    """Return the newest copy of each selected task.

    Raises:
        NotSealedError: There is none of a task.
    """
    tasks = set(selection.keys)
    kept = sorted(a for a in store.ledger.copies() if a.stage == selection.stage)
    newest = {attempt.task: attempt for attempt in kept if attempt.task in tasks}
    if missing := tasks - newest.keys():
        raise NotSealedError(
            f"of task {min(missing)} of stage {selection.stage} there is no copy here"
        )
    labels = await store.labels_of_copies(newest.values())
    return {attempt[1:]: label_table.total(one.table) for attempt, one in labels.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a reader is.

    Attributes:
        seals: It sees the seals before this number.
        expected: What there is to see in the lanes, of all labels.
        index: Of the lane it reads.
        position: In that lane.
        seen: What it has seen of ``expected``.
        found: What it has handed out: that of the wanted label.
    """

    seals: int
    expected: Totals
    index: int = 0
    position: int = 0
    seen: Totals = NOTHING
    found: Totals = NOTHING

    def pack(self, incarnation: str) -> bytes:
        """Return the bytes a client keeps."""
        return _CURSOR.pack(
            bytes.fromhex(incarnation),
            self.seals,
            self.index,
            self.position,
            *self.expected,
            *self.seen,
            *self.found,
        )

    @classmethod
    def unpack(cls, packed: bytes, incarnation: str) -> "Cursor":
        """Return what ``pack`` was called on.

        Raises:
            StaleCursorError: It was called in another incarnation.
            ValueError: It never was.
        """
        if len(packed) != _CURSOR.size:
            raise ValueError(f"a cursor has {_CURSOR.size} bytes, this one {len(packed)}")
        own, seals, index, position, *counts = _CURSOR.unpack(packed)
        if own.hex() != incarnation:
            raise StaleCursorError("the service was started again since; read from the start")
        expected, seen, found = (Totals._make(counts[at : at + 3]) for at in (0, 3, 6))
        return cls(
            seals=seals,
            index=index,
            position=position,
            expected=expected,
            seen=seen,
            found=found,
        )


class Piece(NamedTuple):
    """Some blocks, in order.

    Attributes:
        blocks: Header and frame of each.
        cursor: Where to go on.
        last: Nothing follows.
    """

    blocks: Sequence[tuple[BlockHeader, bytes]]
    cursor: Cursor
    last: bool


async def read(
    store: Store, selection: Selection, cursor: Cursor | None = None
) -> AsyncGenerator[Piece, None]:
    """Yield what is sealed of *selection*, or its copies, from *cursor* or else from its start.

    The last piece comes only if everything was found. Pieces before it are not empty.

    Raises:
        ValueError: The stage is laid out otherwise.
        NotSealedError: A task is not sealed here, or has no copy.
        DroppedError: There is nothing any more.
        IncompleteError: Something is missing.
    """
    if store.ledger.closed:
        raise DroppedError("everything this service had was dropped: the job is over")
    selection.check(store)
    copies = await copies_of(store, selection) if selection.copies else None
    if cursor is None:
        expected = selection.expected(store) if copies is None else sum_of(copies.values())
        cursor = Cursor(seals=store.next_seal, expected=expected)
    stage = store.stages.get(selection.stage)
    if stage is None:
        yield Piece((), cursor, True)
        return
    last = False
    while not last:
        if store.ledger.closed:
            raise DroppedError("everything this service had was dropped while it was read")
        walk = _Walk(stage, selection, cursor, copies)
        if stage.log is not None and walk.needs_disk:
            with stage.log.in_use():
                await asyncio.to_thread(walk.run, stage.log)
        else:
            walk.run(None)
        cursor, last = walk.cursor, walk.cursor.index == len(selection.keys)
        if last and cursor.seen != cursor.expected:
            raise IncompleteError(f"there are {cursor.seen} where {cursor.expected} were sealed")
        if walk.blocks or last:
            yield Piece(walk.blocks, cursor, last)


class _Walk:
    """One piece in the making: planned on the event loop, then read in a thread."""

    def __init__(
        self, stage: Stage, selection: Selection, cursor: Cursor, copies: Copies | None
    ) -> None:
        self.blocks: list[tuple[BlockHeader, bytes]] = []
        self.cursor = cursor
        self._stage = stage
        self._selection = selection
        self._copies = copies
        self._room = _PIECE_BYTES
        self._spans: list[tuple[int, Span]] = []  # with the lane's index
        self._reaches_end = self._plan()

    @property
    def needs_disk(self) -> bool:
        return any(span.data is None for _, span in self._spans)

    def _plan(self) -> bool:
        """Choose what to look at; return whether it is all that is left."""
        size, position, keys = 0, self.cursor.position, self._selection.keys
        for index in range(self.cursor.index, len(keys)):
            lane = self._stage.lanes.get(keys[index])
            for span in lane.spans(position) if lane is not None else ():
                self._spans.append((index, span))
                size += span.size
                if size >= _PIECE_BYTES:
                    return False
            position = 0
        return True

    def run(self, log: AppendFile | None) -> None:
        """Fill ``blocks`` and move ``cursor`` behind them; blocks if there is a *log*.

        Raises:
            IncompleteError: The log is shorter than it was.
        """
        index, position = self.cursor.index, self.cursor.position
        seen = self.cursor.seen
        for lane, span in self._spans:
            if lane != index:
                index, position = lane, 0
            passed, totals = self._take(span, log)
            position += passed
            seen = seen.plus(totals)
            if self._room <= 0:
                break
        else:
            if self._reaches_end:
                index, position = len(self._selection.keys), 0
        found = self.cursor.found.plus(sum_of(header.totals for header, _ in self.blocks))
        self.cursor = replace(self.cursor, index=index, position=position, seen=seen, found=found)

    def _shows(self, header: BlockHeader) -> bool:
        if self._copies is not None:
            return header[:3] in self._copies
        return self._stage.sealed_before(header, self.cursor.seals)

    def _take(self, span: Span, log: AppendFile | None) -> tuple[int, Totals]:
        """Take blocks of *span* until the piece is full; return what was passed, and seen."""
        # Damage is passed over here; that blocks are missing shows at the end.
        read, wanted = span.reader(log), self._selection.label
        count = records = size = 0
        for block in span.blocks(log):
            header = block.header
            if not self._shows(header):
                continue
            count += 1
            records += header.records
            size += header.length
            if wanted is None or wanted == header.label:
                frame = block.frame(read)
                if len(frame) < header.length:
                    raise IncompleteError(f"{log and log.path} ends in the block at {block.at:,}")
                self.blocks.append((header, frame))
                self._room -= header.length + _BLOCK_COST_BYTES
                if self._room <= 0:
                    return block.end - span.at, Totals(count, records, size)
        return span.size, Totals(count, records, size)
