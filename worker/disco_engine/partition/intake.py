"""How blocks come in: one intake per push stream, which waits for memory and refuses if full."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from disco_engine.core.ledger import AttemptState, Completion
from disco_engine.core.model import AttemptId, Label, Layout, Totals
from disco_engine.partition.segment import HEADER_BYTES
from disco_engine.partition.store import Store


class Outcome(StrEnum):
    """How an attempt's push ended; ``PushStatus`` on the wire."""

    COMPLETE = "complete"  # all blocks arrived: it may be sealed
    REFUSED = "refused"  # it is decided already, or its epoch is not the newest
    DISK_FULL = "disk full"  # it is discarded; another may work later
    INCOMPLETE = "incomplete"  # blocks are missing: it is discarded


class Output(NamedTuple):
    """Some of what an attempt wrote.

    Attributes:
        blocks: (label, records, frame) of each.
        layout: How they will be read; None only if there are none.
        complete: What the writer counted over all it ever sent, if this is the last of it.
    """

    attempt: AttemptId
    blocks: Sequence[tuple[Label, int, bytes]]
    layout: Layout | None
    complete: Totals | None


class PushResult(NamedTuple):
    """How an attempt's push ended, and why, if not well."""

    outcome: Outcome
    message: str = ""


class Intake:
    """One push stream's way into the store.

    What is still under way when the stream breaks stays as it is: the coordinator decides.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # Told that they are refused; more of them may be on its way, and is dropped silently.
        self._told: set[AttemptId] = set()

    async def accept(self, outputs: Sequence[Output]) -> list[PushResult | None]:
        """Keep blocks, as soon as there is memory for all of them.

        Returns:
            For each of *outputs* how its push ended; None: it goes on, or has been told before.

        Raises:
            ValueError: Blocks have no layout, or another one than the stage.
        """
        size = sum(map(_size_of, outputs))
        refusal = await self._take(size) if size else None
        unused = 0 if refusal else size
        results = []
        try:
            for output in outputs:
                stored, result = self._accept(output, refusal)
                unused -= stored
                results.append(result)
        finally:
            self._store.budget.give(unused)
        self._store.writer.block_added()
        return results

    async def _take(self, size: int) -> str | None:
        """Take memory for *size* bytes, or return why there is no room for them on the disk."""
        budget = self._store.budget
        while True:
            taken = await budget.take(size, give_up=lambda: self._refusal() is not None)
            refusal = self._refusal()
            if taken and refusal is not None:
                budget.give(size)
            if refusal is not None:
                self._store.space.note_refusal(size)
            if taken or refusal is not None:
                return refusal

    def _refusal(self) -> str | None:
        return self._store.space.refusal(self._store.budget.used)

    def _accept(self, output: Output, refusal: str | None) -> tuple[int, PushResult | None]:
        """Return how many bytes were kept, and what to tell."""
        if output.attempt in self._told:
            if output.complete is not None:
                self._told.discard(output.attempt)
            return 0, None
        stored = 0
        if output.blocks:
            refused = self._keep(output, refusal)
            if refused is not None:
                if output.complete is None:
                    self._told.add(output.attempt)
                return 0, refused
            stored = _size_of(output)
        if output.complete is None:
            return stored, None
        return stored, self._complete(output.attempt, output.complete)

    def _keep(self, output: Output, refusal: str | None) -> PushResult | None:
        """Keep the blocks, or return why not."""
        ledger, attempt = self._store.ledger, output.attempt
        if output.layout is None:
            raise ValueError(f"the blocks of {attempt} have no layout")
        if refusal is not None and ledger.state(attempt) in (None, AttemptState.OPEN):
            ledger.discard(attempt)
            return PushResult(Outcome.DISK_FULL, refusal)
        stage = self._store.stage_to_write(attempt.stage, output.layout)
        if not ledger.push(attempt, ((label, n, len(frame)) for label, n, frame in output.blocks)):
            return self._refused(attempt)
        for label, records, frame in output.blocks:
            stage.append(attempt, label, records, frame)
        return None

    def _complete(self, attempt: AttemptId, counted: Totals) -> PushResult:
        match self._store.ledger.complete(attempt, counted):
            case Completion.COMPLETE:
                return PushResult(Outcome.COMPLETE)
            case Completion.REFUSED:
                return self._refused(attempt)
            case Completion.INCOMPLETE:
                return PushResult(
                    Outcome.INCOMPLETE,
                    f"what arrived of {attempt} is not the {counted} that its writer counted;"
                    " it is discarded and must be made again",
                )

    def _refused(self, attempt: AttemptId) -> PushResult:
        state = self._store.ledger.state(attempt)
        return PushResult(Outcome.REFUSED, f"{attempt} is {state}; nothing more of it is accepted")


def _size_of(output: Output) -> int:
    return sum(HEADER_BYTES + len(frame) for _, _, frame in output.blocks)
