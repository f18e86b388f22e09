"""What the partition service holds: every decision about it, and where its bytes are.

The decisions are the ledger's, the bytes are in the stages' lanes, the journal remembers both. The
gRPC face (``service``) translates; ``recovery`` makes a store from what is on disk; ``intake`` lets
blocks in, ``reader`` hands them out.
"""

import asyncio
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from disco.v1 import partition_pb2
from disco_engine import wire
from disco_engine.core import label_table
from disco_engine.core.ledger import AttemptState, Ledger, StaleEpochError, Verdict
from disco_engine.core.model import AttemptId, Label, Layout, SealTerms, Totals
from disco_engine.partition.budget import ByteBudget
from disco_engine.partition.journal import (
    Entry,
    Journal,
    Kind,
    dropped_entry,
    epoch_entry,
    job_entry,
    kept_entry,
    sealed_entry,
)
from disco_engine.partition.space import DiskSpace
from disco_engine.partition.stage import Stage
from disco_engine.partition.writer import Writer

_log = logging.getLogger(__name__)


class PlanConflictError(Exception):
    """Another plan is recorded; the caller must use that one."""


class DroppedError(Exception):
    """Everything was dropped: there is nothing to read and nothing is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the service may use.

    Attributes:
        memory_bytes: Blocks that wait in memory for the disk.
        storage_bytes: Its files; None: as much as the file system has.
        high_watermark: The fraction of the storage from which on pushes are refused.
    """

    memory_bytes: int = 128 * 1024 * 1024
    storage_bytes: int | None = None
    high_watermark: float = 0.95


@dataclass(slots=True, kw_only=True)
class Holdings:
    """What is on disk when the service starts, and what belongs to it in memory.

    Attributes:
        directory: Where the files are.
        plan: The plan that was recorded, serialised; None: none was.
    """

    directory: Path
    journal: Journal
    ledger: Ledger
    stages: dict[int, Stage] = field(default_factory=dict)
    plan: bytes | None = None

    def close(self) -> None:
        """Close all files."""
        for stage in self.stages.values():
            stage.close()
        self.journal.close()


class Store:
    """One job's blocks on one node, and who may see them.

    Use it from one event loop. ``writer.run()`` must run beside it, or nothing reaches the disk.

    Attributes:
        incarnation: Changes when the process starts.
    """

    def __init__(self, holdings: Holdings, limits: Limits) -> None:
        self.incarnation = os.urandom(8).hex()
        self.directory = holdings.directory
        self.journal = holdings.journal
        self.ledger = holdings.ledger
        self._coordinator = ""  # who has the epoch; nobody has said since the start
        self.stages = holdings.stages
        self.plan = holdings.plan
        self.next_seal = 1
        """The number of the next seal; who reads sees the seals before it."""
        self.budget = ByteBudget(limits.memory_bytes)
        self.space = DiskSpace(
            self.directory, self._own_bytes, limits.storage_bytes, limits.high_watermark
        )
        self.writer = Writer(
            stages=self.stages, journal=self.journal, budget=self.budget, space=self.space
        )

    def _own_bytes(self) -> int:
        logs = sum(stage.log.end for stage in self.stages.values() if stage.log)
        return logs + self.journal.size

    def stage_to_write(self, number: int, layout: Layout) -> Stage:
        """Return a stage, which may be new.

        Raises:
            ValueError: It has another layout.
        """
        stage = self.stages.get(number)
        if stage is None:
            stage = self.stages[number] = Stage(number, layout, self.directory)
        elif stage.layout is not layout:
            raise ValueError(f"stage {number} is laid out {stage.layout}, not {layout}")
        return stage

    async def attach(self, job_uid: str, epoch: int, coordinator: str = "") -> None:
        """Make *epoch* the newest, unless it is 0, and remember it and all that is sealed on disk.

        Of two coordinators that chose the same epoch, the one that attached first has it.

        Raises:
            WrongJobError, StaleEpochError: The caller has no business here.
            DiskFullError: It cannot be remembered.
        """
        self.ledger.check_caller(job_uid, epoch or None)
        if epoch == 0:
            return
        if epoch == self.ledger.epoch and self._coordinator not in ("", coordinator):
            raise StaleEpochError(epoch, self.ledger.epoch)
        self._coordinator = coordinator
        if epoch > self.ledger.epoch:
            discarded = self.ledger.attach(epoch)
            self._remember(epoch_entry(epoch))
            _log.info("epoch begins", extra={"epoch": epoch, "discarded": len(discarded)})
        await self.writer.commit()

    def inventory(self) -> Iterator[partition_pb2.SealedAttempt]:
        """Yield the sealed attempts, in the order of their sealing, from disk."""
        for message in self.journal.sealed():
            attempt = wire.attempt_from_wire(message.attempt)
            if self.ledger.state(attempt) is AttemptState.SEALED:
                yield message

    def copies(self) -> Iterator[partition_pb2.SealedAttempt]:
        """Yield the attempts that are kept as copies, in the order of their keeping, from disk."""
        for message in self.journal.copies():
            attempt = wire.attempt_from_wire(message.attempt)
            if self.ledger.state(attempt) is AttemptState.KEPT:
                yield message

    async def record_plan(self, job_uid: str, epoch: int, plan: bytes) -> None:
        """Keep *plan* on disk.

        Raises:
            WrongJobError, StaleEpochError: The caller has no business here.
            PlanConflictError: Another plan is kept.
            DiskFullError: It is not on disk yet; ask again.
        """
        self.ledger.check_caller(job_uid, epoch)
        if self.plan is None:
            self.plan = plan
            self._remember(Entry(Kind.PLAN, plan))
        elif self.plan != plan:
            raise PlanConflictError(
                f"job {job_uid!r} has another plan already, of {len(self.plan)} bytes;"
                " attach again and go on with that one"
            )
        await self.writer.commit()

    async def labels_of_copies(
        self, attempts: Iterable[AttemptId]
    ) -> dict[AttemptId, label_table.Labels]:
        """Return what those of *attempts* that are kept as copies wrote per label."""
        kept = {a for a in attempts if self.ledger.state(a) is AttemptState.KEPT}
        if not kept:
            return {}
        return await asyncio.to_thread(_labels_of, kept, self.journal.copies())

    def seal(self, terms: SealTerms, *, kept: Mapping[Label, Totals] | None = None) -> Verdict:
        """Seal an attempt, unless it is decided or not as expected; see ``Ledger.seal``."""
        verdict, sealed = self.ledger.seal(terms, kept=kept)
        if sealed is not None:
            stage = self.stages.get(sealed.id.stage)
            if stage is not None:
                stage.seal(sealed, self.next_seal)
                self.next_seal += 1
            self._remember(sealed_entry(sealed))
        return verdict

    def keep(self, terms: SealTerms) -> Verdict:
        """Keep an attempt as a copy, unless it is decided; see ``Ledger.keep``."""
        verdict, copy = self.ledger.keep(terms)
        if copy is not None:
            self._remember(kept_entry(copy))
        return verdict

    def discard(self, attempt: AttemptId) -> Verdict:
        """Discard an attempt, unless it is sealed; see ``Ledger.discard``."""
        if self.ledger.state(attempt) is AttemptState.KEPT:
            self._remember(dropped_entry(attempt))
        return self.ledger.discard(attempt)

    async def drop(self, attempts: Collection[AttemptId]) -> None:
        """Forget attempts, sealed, kept or neither; nothing of them is accepted any more.

        Their blocks stay in the logs, where nobody sees them.

        Raises:
            DiskFullError: They are forgotten, but a process that is killed now remembers them.
        """
        sealed = {a for a in attempts if self.ledger.state(a) is AttemptState.SEALED}
        entries = self.journal.sealed()
        labels = await asyncio.to_thread(_labels_of, sealed, entries) if sealed else {}
        for attempt in attempts:
            self._drop(attempt, labels.get(attempt, {}))
        await self.writer.commit()

    def _drop(self, attempt: AttemptId, labels: Mapping[Label, Totals]) -> None:
        state = self.ledger.state(attempt)
        stage = self.stages.get(attempt.stage)
        if state is AttemptState.SEALED and stage is not None:
            stage.unseal(attempt, labels)
        if state is AttemptState.SEALED or state is AttemptState.KEPT:
            self._remember(dropped_entry(attempt))
        self.ledger.drop(attempt, labels)

    async def drop_all(self) -> None:
        """Delete everything, and accept nothing any more, also after a restart."""
        async with self.writer.idle:
            self.ledger.close()
            for stage in self.stages.values():
                self.budget.give(stage.waiting_bytes)
                stage.delete()
            self.stages.clear()
            self.plan = None
            self.journal.start_over(
                [
                    job_entry(self.ledger.job_uid),
                    epoch_entry(self.ledger.epoch),
                    Entry(Kind.EMPTIED, b""),
                ]
            )
        _log.info("everything was dropped")

    def _remember(self, entry: Entry) -> None:
        self.journal.add(entry)
        self.writer.entry_added()


def _labels_of(
    attempts: Collection[AttemptId], sealed: Iterable[partition_pb2.SealedAttempt]
) -> dict[AttemptId, label_table.Labels]:
    """Return what each of *attempts* wrote per label."""
    found = {}
    for message in sealed:
        attempt = wire.attempt_from_wire(message.attempt)
        if attempt in attempts:
            found[attempt] = label_table.Labels(message.label_table)
    return found
