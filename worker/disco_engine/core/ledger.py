"""What a partition service knows of each attempt that writes to it, and what it decides.

The service (``disco_engine.partition``) keeps bytes, files and sockets; this keeps the decisions::

    (unknown) --push--> OPEN --complete, counts agree--> COMPLETE ---seal---> SEALED
        |                |                                  |  |                |
        |                +-- complete, counts differ --+    |  +-keep-> KEPT    |
        |                                              |    |           | |     |
        |                                              v    v    discard  +seal-+
        +------------------- discard, attach -----> DISCARDED <---------+ drop -+

An attempt without output is sealed, or kept, straight from unknown. Seal and discard exclude each
other: the first decides, the other is told. Only attempts of the newest epoch may change otherwise.
Those that are kept are copies of what is sealed elsewhere: no reader sees them, but they survive a
restart and a new epoch as sealed ones do, and a seal makes them readable when they are needed.

What lives here is small: a few bytes per sealed attempt and one sum per (stage, label). What one
sealed attempt wrote per label is handed out by ``seal`` and ``keep`` for the service to keep on
disk, and forgotten. Nothing here survives a restart: the service calls ``restore`` for each sealed
attempt it finds on disk, ``restore_copy`` for each kept one, and everything else is gone, which is
right, because so are its blocks.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from disco_engine.core.model import (
    NOTHING,
    AttemptId,
    Label,
    SealedAttempt,
    SealTerms,
    Totals,
)


class AttemptState(StrEnum):
    """Where an attempt stands at this service."""

    OPEN = "open"  # blocks arrive
    COMPLETE = "complete"  # all blocks have arrived; only a decision is missing
    KEPT = "kept"  # a copy: all of it is here, and readers do not see it
    SEALED = "sealed"  # readers see it
    DISCARDED = "discarded"  # gone, and nothing of it is accepted any more


class Completion(StrEnum):
    """What became of a push; ``PushStatus`` on the wire."""

    COMPLETE = "complete"  # the attempt may be sealed
    REFUSED = "refused"  # it is discarded, sealed already, or of another epoch
    INCOMPLETE = "incomplete"  # blocks are missing: it is discarded now


class Verdict(StrEnum):
    """How an attempt was decided, now or before; ``DecisionResult`` on the wire."""

    SEALED = "sealed"
    KEPT = "kept"
    DISCARDED = "discarded"
    UNKNOWN = "unknown"  # it cannot be sealed: it is not here, or not all of it


_LASTING = frozenset({AttemptState.SEALED, AttemptState.KEPT})
_DECIDED = _LASTING | {AttemptState.DISCARDED}


class StaleEpochError(Exception):
    """A coordinator called that has been replaced; it must stop."""

    def __init__(self, epoch: int, newest: int) -> None:
        super().__init__(
            f"epoch {epoch} is over: a coordinator with epoch {newest} has taken this job;"
            " the caller must stop"
        )
        self.epoch = epoch
        self.newest = newest


class WrongJobError(Exception):
    """A call for another job reached this service."""

    def __init__(self, asked: str, own: str) -> None:
        super().__init__(
            f"this service belongs to job {own!r}, not to {asked!r}: check the address"
        )


class Ledger:
    """The attempts of one partition service.

    Args:
        job_uid: The only job served.
        epoch: The newest epoch that attached before a restart; 0: none ever did.
    """

    def __init__(self, job_uid: str, epoch: int = 0) -> None:
        self.job_uid = job_uid
        self._epoch = epoch
        self._closed = False
        self._states: dict[AttemptId, AttemptState] = {}
        # Per label, of attempts that are open or complete; these are as few as tasks run at once.
        self._unsealed: dict[AttemptId, dict[Label, Totals]] = {}
        self._sealed: dict[int, dict[Label, Totals]] = {}

    @property
    def epoch(self) -> int:
        """The newest epoch that attached; 0: none did."""
        return self._epoch

    @property
    def closed(self) -> bool:
        """Everything was dropped, and nothing is accepted any more."""
        return self._closed

    def check_caller(self, job_uid: str, epoch: int | None = None) -> None:
        """Refuse callers that have no business here.

        Args:
            job_uid: The job the caller means.
            epoch: The caller's epoch; None if the call carries none (worker calls).

        Raises:
            WrongJobError: It is another job.
            StaleEpochError: A newer coordinator has attached.
        """
        if job_uid != self.job_uid:
            raise WrongJobError(job_uid, self.job_uid)
        if epoch is not None and epoch < self._epoch:
            raise StaleEpochError(epoch, self._epoch)

    def restore(self, sealed: SealedAttempt) -> None:
        """Take over a sealed attempt that was found on disk after a restart."""
        self._states[sealed.id] = AttemptState.SEALED
        self._add(sealed.id.stage, sealed.labels)

    def restore_copy(self, attempt: AttemptId) -> None:
        """Take over an attempt that was kept as a copy, and found on disk after a restart."""
        self._states[attempt] = AttemptState.KEPT

    def attach(self, epoch: int) -> list[AttemptId]:
        """Make *epoch* the newest and discard what older epochs left unsealed.

        Attaching again with the same epoch changes nothing.

        Returns:
            The attempts that were discarded by this call, whose blocks can be deleted.

        Raises:
            StaleEpochError: A newer coordinator has attached before.
        """
        if epoch < self._epoch:
            raise StaleEpochError(epoch, self._epoch)
        self._epoch = epoch
        gone = [attempt for attempt in self._unsealed if attempt.epoch < epoch]
        for attempt in gone:
            del self._unsealed[attempt]
        # Older epochs are refused by their number from here on: what is known of them is what is
        # sealed or kept, and nothing else needs to be remembered.
        self._states = {
            attempt: state
            for attempt, state in self._states.items()
            if state in _LASTING or attempt.epoch >= epoch
        }
        return gone

    def state(self, attempt: AttemptId) -> AttemptState | None:
        """Return where *attempt* stands; None: it is unknown, and may be pushed or sealed empty."""
        known = self._states.get(attempt)
        if known is None and (self._closed or attempt.epoch != self._epoch):
            return AttemptState.DISCARDED
        return known

    def sealed_attempts(self) -> Iterator[AttemptId]:
        """Yield the sealed attempts, in the order in which they were sealed or restored."""
        return (a for a, state in self._states.items() if state is AttemptState.SEALED)

    def copies(self) -> Iterator[AttemptId]:
        """Yield the attempts that are kept and not sealed, in the order of their keeping."""
        return (a for a, state in self._states.items() if state is AttemptState.KEPT)

    def unsealed_attempts(self) -> list[AttemptId]:
        """Return the attempts that are open or complete."""
        return list(self._unsealed)

    def sealed_totals(self, stage: int) -> Mapping[Label, Totals]:
        """Return what is sealed of *stage*, per label; labels that were all dropped are absent.

        The mapping is a live view: copy it to keep it.
        """
        return self._sealed.get(stage, {})

    def push(self, attempt: AttemptId, blocks: Iterable[tuple[Label, int, int]]) -> bool:
        """Count blocks that arrived for *attempt*.

        Args:
            attempt: Who wrote them.
            blocks: (label, records, bytes of the frame) of each.

        Returns:
            Whether they may be stored. False: the attempt is discarded, sealed, complete, or of an
            epoch that is not the newest; the writer should stop.
        """
        if self.state(attempt) not in (None, AttemptState.OPEN):
            return False
        self._states[attempt] = AttemptState.OPEN
        labels = self._unsealed.setdefault(attempt, {})
        for label, records, size in blocks:
            blocks_before, records_before, bytes_before = labels.get(label, NOTHING)
            labels[label] = Totals(blocks_before + 1, records_before + records, bytes_before + size)
        return True

    def complete(self, attempt: AttemptId, totals: Totals) -> Completion:
        """Note that *attempt* has sent everything, and compare with what arrived.

        Args:
            attempt: Who wrote it; it may have written nothing.
            totals: What the writer counted, over all labels.

        Returns:
            COMPLETE also if it was complete before with the same totals. After INCOMPLETE the
            attempt is discarded and its blocks can be deleted.
        """
        state = self.state(attempt)
        if state in _DECIDED:
            return Completion.REFUSED
        if _sum(self._unsealed.setdefault(attempt, {})) != totals:
            self._discard(attempt)
            return Completion.INCOMPLETE
        self._states[attempt] = AttemptState.COMPLETE
        return Completion.COMPLETE

    def seal(
        self, terms: SealTerms, *, kept: Mapping[Label, Totals] | None = None
    ) -> tuple[Verdict, SealedAttempt | None]:
        """Seal an attempt, unless it is decided already.

        Args:
            terms: Which, of the newest epoch or kept, and what must be here of it.
            kept: If it is kept as a copy: what ``keep`` handed out for it, per label.

        Returns:
            The verdict; and, exactly if this call sealed it, what the service must keep on disk.
            UNKNOWN changes nothing.
        """
        attempt = terms.id
        if self.state(attempt) is AttemptState.SEALED:
            return Verdict.SEALED, None
        labels = self._whole(terms, kept)
        if isinstance(labels, Verdict):
            return labels, None
        self._unsealed.pop(attempt, None)
        self._states[attempt] = AttemptState.SEALED
        self._add(attempt.stage, labels)
        return Verdict.SEALED, terms.fulfilled(labels)

    def keep(self, terms: SealTerms) -> tuple[Verdict, SealedAttempt | None]:
        """Keep an attempt as a copy, unless it is decided already; else as ``seal``.

        Returns:
            The verdict; and, exactly if this call kept it, what the service must keep on disk.
        """
        attempt = terms.id
        state = self.state(attempt)
        if state is AttemptState.SEALED or state is AttemptState.KEPT:
            return (Verdict.SEALED if state is AttemptState.SEALED else Verdict.KEPT), None
        labels = self._whole(terms, None)
        if isinstance(labels, Verdict):
            return labels, None
        self._unsealed.pop(attempt, None)
        self._states[attempt] = AttemptState.KEPT
        return Verdict.KEPT, terms.fulfilled(labels)

    def _whole(
        self, terms: SealTerms, kept: Mapping[Label, Totals] | None
    ) -> Mapping[Label, Totals] | Verdict:
        """Return what is here of an attempt, if it is all of it; else why it cannot be sealed."""
        attempt = terms.id
        state = self.state(attempt)
        if state is AttemptState.DISCARDED:
            # An epoch that has not attached (here, since a restart) will; nothing is decided yet.
            newer = attempt.epoch > self._epoch and not self._closed
            return Verdict.UNKNOWN if newer else Verdict.DISCARDED
        labels = kept if state is AttemptState.KEPT else self._unsealed.get(attempt, {})
        if labels is None or state is AttemptState.OPEN or _sum(labels) != terms.expected:
            return Verdict.UNKNOWN
        return labels

    def discard(self, attempt: AttemptId) -> Verdict:
        """Discard *attempt*, unless it is sealed already; a copy goes, too.

        An attempt that is unknown is remembered as discarded, so that it cannot come later.

        Returns:
            DISCARDED (its blocks can be deleted) or SEALED.
        """
        if self._states.get(attempt) is AttemptState.SEALED:
            return Verdict.SEALED
        self._discard(attempt)
        return Verdict.DISCARDED

    def drop(self, attempt: AttemptId, labels: Mapping[Label, Totals]) -> None:
        """Forget *attempt*, sealed or not, and accept nothing of it any more.

        Args:
            attempt: Which.
            labels: If it is sealed: what ``seal`` or ``restore`` had for it. Else ignored.
        """
        if self._states.get(attempt) is AttemptState.SEALED:
            sums = self._sealed[attempt.stage]
            for label, totals in labels.items():
                left = sums[label].minus(totals)
                if left == NOTHING:
                    del sums[label]
                else:
                    sums[label] = left
        self._discard(attempt)

    def close(self) -> None:
        """Forget everything, and accept nothing any more."""
        self._closed = True
        self._states.clear()
        self._unsealed.clear()
        self._sealed.clear()

    def _discard(self, attempt: AttemptId) -> None:
        self._unsealed.pop(attempt, None)
        self._states.pop(attempt, None)
        if attempt.epoch >= self._epoch and not self._closed:  # else its epoch says enough
            self._states[attempt] = AttemptState.DISCARDED

    def _add(self, stage: int, labels: Mapping[Label, Totals]) -> None:
        sums = self._sealed.setdefault(stage, {})
        for label, totals in labels.items():
            sums[label] = sums.get(label, NOTHING).plus(totals)


def _sum(labels: Mapping[Label, Totals]) -> Totals:
    total = NOTHING
    for totals in labels.values():
        total = total.plus(totals)
    return total
