"""Make a store's holdings from what a process before this one left on disk.

What the journal calls sealed, or kept as a copy, is believed only if all of its blocks are in the
logs. Blocks of other attempts stay where they are, unseen, and their attempts are never accepted
again: their writers cannot know which blocks arrived.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from disco.v1 import partition_pb2
from disco_engine import wire
from disco_engine.core import label_table
from disco_engine.core.ledger import Ledger
from disco_engine.core.model import NOTHING, AttemptId, Totals
from disco_engine.partition.journal import (
    DirectoryInUseError,
    Journal,
    Kind,
    dropped_entry,
    dropped_of,
    epoch_of,
    job_entry,
)
from disco_engine.partition.segment import blocks_in
from disco_engine.partition.stage import Stage, logs_in
from disco_engine.partition.store import Holdings
from disco_engine.partition.tally import Tally

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Remembered:
    """What the journal says, without what it says per label."""

    epoch: int = 0
    plan: bytes | None = None
    sealed: dict[AttemptId, Totals] = field(default_factory=dict)
    copies: dict[AttemptId, Totals] = field(default_factory=dict)
    dropped: set[AttemptId] = field(default_factory=set)
    emptied: bool = False


def recover(directory: Path, job_uid: str) -> Holdings:
    """Return what is in *directory*, which is made if it does not exist; blocks.

    Raises:
        DirectoryInUseError: It belongs to another job or to another process.
        OSError: It cannot be read or made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    journal = Journal(directory / "journal")
    try:
        return _recover(directory, job_uid, journal)
    except BaseException:
        journal.close()
        raise


def _recover(directory: Path, job_uid: str, journal: Journal) -> Holdings:
    cut = journal.cut_damage()
    if cut:
        _log.warning("the end of the journal was damaged", extra={"cut_bytes": cut})
    if journal.size == 0:
        journal.start_over([job_entry(job_uid)])
    remembered = _replay(directory, job_uid, journal)
    holdings = Holdings(
        directory=directory,
        journal=journal,
        ledger=Ledger(job_uid, remembered.epoch),
        plan=remembered.plan,
    )
    if remembered.emptied:
        holdings.ledger.close()
        return holdings
    found: dict[AttemptId, Totals] = {}
    for number, layout in logs_in(directory):
        stage = holdings.stages[number] = Stage(number, layout, directory)
        _index(stage, found)
    lasting = remembered.sealed | remembered.copies
    whole = {a for a, totals in lasting.items() if found.get(a, NOTHING) == totals}
    for message in journal.sealed():
        sealed = wire.sealed_from_wire(message)
        if sealed.id in whole and sealed.id in remembered.sealed:
            holdings.ledger.restore(sealed)
            if sealed.labels:
                holdings.stages[sealed.id.stage].seal(sealed, 0)
    for attempt in remembered.copies:
        if attempt in whole:
            holdings.ledger.restore_copy(attempt)
    lost = lasting.keys() - whole
    for attempt in lost:
        journal.add(dropped_entry(attempt))
    if lost:
        _log.warning(
            "attempts that were sealed or kept are not all on disk",
            extra={"attempts": len(lost), "first": str(min(lost))},
        )
    unsealed = (found.keys() | lost | remembered.dropped) - whole
    for attempt in unsealed:
        holdings.ledger.discard(attempt)
    _log.info(
        "recovered",
        extra={"whole": len(whole), "unsealed": len(unsealed), "epoch": remembered.epoch},
    )
    return holdings


def _replay(directory: Path, job_uid: str, journal: Journal) -> _Remembered:
    remembered = _Remembered()
    for entry in journal.entries():
        match entry.kind:
            case Kind.JOB:
                if entry.payload.decode() != job_uid:
                    raise DirectoryInUseError(
                        f"{directory} has the data of job {entry.payload.decode()!r}, not of"
                        f" {job_uid!r}; choose another --data-dir"
                    )
            case Kind.EPOCH:
                remembered.epoch = epoch_of(entry.payload)
            case Kind.PLAN:
                remembered.plan = entry.payload
            case Kind.SEALED:
                attempt, totals = _told_of(entry.payload)
                remembered.sealed[attempt] = totals
                remembered.copies.pop(attempt, None)
            case Kind.KEPT:
                attempt, totals = _told_of(entry.payload)
                remembered.copies[attempt] = totals
            case Kind.DROPPED:
                attempt = dropped_of(entry.payload)
                remembered.sealed.pop(attempt, None)
                remembered.copies.pop(attempt, None)
                remembered.dropped.add(attempt)
            case Kind.EMPTIED:
                remembered.emptied = True
    return remembered


def _told_of(payload: bytes) -> tuple[AttemptId, Totals]:
    """Return which attempt an entry is about, and how much it wrote."""
    message = partition_pb2.SealedAttempt.FromString(payload)
    return wire.attempt_from_wire(message.attempt), label_table.total(message.label_table)


def _index(stage: Stage, found: dict[AttemptId, Totals]) -> None:
    """Fill the lanes from the log's headers, and count in *found* what each attempt wrote.

    What follows the last whole block is cut off: a write that was not finished.
    """
    log = stage.open_log()
    key_of, tally = stage.key_of, Tally()
    lane, begin, end = 0, 0, 0  # of consecutive blocks of one lane: there are millions of blocks
    for at, behind, header, _, _ in blocks_in(log.read, 0, log.end):
        key = key_of(header.task, header.label)
        if key != lane or at != end:
            if begin < end:
                stage.lane(lane).add_extent(begin, end - begin)
            lane, begin = key, at
        end = behind
        tally.add(header)
    if begin < end:
        stage.lane(lane).add_extent(begin, end - begin)
    found.update(tally.of(stage.number))
    if end < log.end:
        _log.warning(
            "the end of a log was damaged",
            extra={"path": str(log.path), "cut_bytes": log.end - end},
        )
        log.truncate(end)
