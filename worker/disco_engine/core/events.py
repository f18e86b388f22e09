"""What happens to a job.

The coordinator's shell turns the world into events, gives each to ``core.job.JobMachine.handle``
and carries out the actions that come back (``core.actions``), in their order. Events may come late,
twice, or from somebody who has been replaced: those are decided like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Failure,
    NodeName,
    Plan,
    SealedAttempt,
    ServiceId,
    WorkerId,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJoined:
    """A worker said hello, for the first time or again after its connection broke.

    Its credit starts from 0 each time.

    Attributes:
        attempts: What it still has (queued, running, finished but unreported), with their own
            epochs. Whatever else this coordinator gave it is lost.
        only_stages: Names of the stages whose tasks it takes; empty: all.
        except_stages: Names of stages whose tasks it does not take.
        now: Seconds on the coordinator's monotonic clock, as in every event that has it.
    """

    worker: WorkerId
    node: NodeName
    slots: int
    attempts: frozenset[AttemptId] = frozenset()
    only_stages: frozenset[str] = frozenset()
    except_stages: frozenset[str] = frozenset()
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditGranted:
    """A worker can take *tasks* more than it was given so far."""

    worker: WorkerId
    tasks: int
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHeard:
    """A heartbeat, or any other word from a worker."""

    worker: WorkerId
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptsProgressed:
    """A worker told how far the attempts are that it runs.

    Attributes:
        records: How many records each has read so far.
    """

    worker: WorkerId
    records: Mapping[AttemptId, int]
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDraining:
    """A worker will finish what it has and take nothing more."""

    worker: WorkerId


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A worker is gone for good (its stream ended and it did not come back in time)."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished:
    """A worker reports that an attempt has pushed (or written) all of its output."""

    id: AttemptId
    worker: WorkerId
    result: AttemptResult
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed:
    """A worker reports that an attempt ended otherwise."""

    id: AttemptId
    worker: WorkerId
    failure: Failure
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReturned:
    """A worker gives an attempt back that it has not started, and now never will."""

    id: AttemptId
    worker: WorkerId
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAttached:
    """A partition service accepted this epoch and told what it has; also after a restart.

    Attributes:
        incarnation: Changes when the service's process starts. If it is the same as before (and
            not empty), attempts that are being pushed or sealed there go on; else they are lost.
        sealed: Every sealed attempt it has. Whatever else the machine believed to be sealed there
            is lost.
        copies: Every attempt that it keeps as a copy. Whatever else the machine believed to be kept
            there is not.
        plan: The plan it keeps, if any.
    """

    service: ServiceId
    node: NodeName
    incarnation: str = ""
    sealed: tuple[SealedAttempt, ...] = ()
    copies: tuple[SealedAttempt, ...] = ()
    plan: Plan | None = None
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLost:
    """A partition service is gone for good, with all it had."""

    service: ServiceId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFull:
    """A partition service's disk crossed its high watermark (``full``), or is usable again.

    Attributes:
        reason: Which disk, and how full it is.
    """

    service: ServiceId
    full: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecorded:
    """Every attached service keeps the plan: the first stage may start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A service sealed an attempt: its output is what readers see."""

    id: AttemptId
    service: ServiceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A service keeps an attempt as a copy."""

    id: AttemptId
    service: ServiceId


@dataclass(frozen=True, slots=True, kw_only=True)
class SealRefused:
    """A service cannot seal or keep an attempt: it does not know it, or has discarded it."""

    id: AttemptId
    service: ServiceId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLost:
    """A reader found a sealed output damaged or incomplete.

    Attributes:
        id: The attempt that wrote it.
        service: Who had it.
    """

    id: AttemptId
    service: ServiceId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody wants the job to stop."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed. Comes about ten times a second; leases, deadlines and pauses hang on it."""

    now: float


Event: TypeAlias = (
    WorkerJoined
    | CreditGranted
    | WorkerHeard
    | AttemptsProgressed
    | WorkerDraining
    | WorkerLost
    | AttemptFinished
    | AttemptFailed
    | AttemptReturned
    | ServiceAttached
    | ServiceLost
    | ServiceFull
    | PlanRecorded
    | Sealed
    | Kept
    | SealRefused
    | OutputLost
    | CancelRequested
    | Tick
)
