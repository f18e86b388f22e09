"""What happens to a job, and what the coordinator must do about it.

The coordinator's shell turns the world into events, gives each to ``core.job.JobMachine.handle``
and carries out the actions that come back, in their order. Events may come late, twice, or from
somebody who has been replaced: those are decided like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Failure,
    Group,
    Label,
    Layout,
    NodeName,
    Plan,
    SealedAttempt,
    SealTerms,
    ServiceId,
    Source,
    TaskInput,
    Totals,
    WorkerId,
)

NO_GROUP = Group()

# --- events -----------------------------------------------------------------------------------


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

# --- actions ----------------------------------------------------------------------------------


class Work(StrEnum):
    """What kind of task an attempt is at."""

    PLAN = "plan"
    RUN = "run"
    COMMIT = "commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Send an attempt to a worker.

    Attributes:
        work: What kind of task it is; the fields below are for RUN unless said otherwise.
        stage_name: For people; "plan" and "commit" for those two.
        group: What the task is about.
        inputs: Set in the first stage of the plan, ascending by label, then in the plan's order;
            one if the stage's grouping is SPLIT.
        sources: Set in all later stages, ascending by label, then service.
        push_to: Where its output goes; None: to the job's output, or nowhere.
        copy_to: Where it goes a second time, if that can be done; None: nowhere.
        layout: How that output will be read.
        sort_output: The next stage wants sorted blocks.
        write_output: The records go to the job's output.
        output_files: COMMIT only: the winners' files, in part order.
    """

    worker: WorkerId
    id: AttemptId
    work: Work
    stage_name: str
    group: Group = NO_GROUP
    inputs: tuple[TaskInput, ...] = ()
    sources: tuple[Source, ...] = ()
    push_to: ServiceId | None = None
    copy_to: ServiceId | None = None
    layout: Layout = Layout.BY_TASK
    sort_output: bool = False
    write_output: bool = False
    output_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAttempt:
    """Tell a worker to stop an attempt; its report, if one comes, is ignored."""

    worker: WorkerId
    id: AttemptId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandBack:
    """Ask a worker for attempts that it has not started; it answers with AttemptReturned for each.

    Best effort: no answer comes for those that it has started, or if the question is lost.

    Attributes:
        tasks: How many at most; at least 1.
        stages: Numbers of the stages they may belong to, ascending.
    """

    worker: WorkerId
    tasks: int
    stages: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal(SealTerms):
    """Have a service seal an attempt; repeat until it answers or is lost.

    Attributes:
        copy: Only keep it; another service seals it. A seal without this makes it readable.
    """

    service: ServiceId
    copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Have a service discard an attempt or a copy; best effort, the answer is not awaited."""

    service: ServiceId
    id: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Have a service delete a sealed output that is damaged; best effort."""

    service: ServiceId
    id: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPlan:
    """Have every attached service keep the plan; answer with PlanRecorded when all do."""

    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Have a service write down all it holds and tell it; answer with ServiceAttached.

    A seal is answered before its data is on disk. Before a job may say that it succeeded, the
    services must have its result where a kill does not reach it.
    """

    service: ServiceId


class Outcome(StrEnum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Something a user would want to read; has no other effect.

    Attributes:
        kind: One of the kinds of ``JobEvent`` in coordinator.proto.
    """

    kind: str
    text: str
    stage_name: str = ""
    id: AttemptId | None = None
    worker: WorkerId | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishJob:
    """The job is over; no further action follows.

    Attributes:
        outcome: How it ended.
        message: One sentence: why it failed or was cancelled; empty if it succeeded.
        failure: The failure that ended it, if one did.
        remove_output: Temporary output must be removed (by one of the workers).
    """

    outcome: Outcome
    message: str = ""
    failure: Failure | None = None
    remove_output: bool = False


Action: TypeAlias = (
    Assign
    | Audit
    | CancelAttempt
    | HandBack
    | Seal
    | Discard
    | Drop
    | RecordPlan
    | Announce
    | FinishJob
)

# --- what the shell may read ------------------------------------------------------------------


class JobPhase(StrEnum):
    """How far a job is; the value is what users see."""

    PLANNING = "planning"  # waiting for the services and for the plan
    RUNNING = "running"
    COMMITTING = "committing"  # the winners' files are being moved to their final names
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCounts:
    """A stage in numbers; ``total = waiting + running + done``.

    Attributes:
        workers: How many may be given its tasks now.
        retries: How many attempts were started because one before was in vain.
        rivals: How many were started beside one that took long.
        started_s: Time of the first assignment, on the coordinator's clock; None: not yet.
        finished_s: Time of the last seal; None: not yet.
        largest_labels: At most 5 (label, totals), most bytes first.
    """

    name: str
    total: int = 0
    waiting: int = 0
    running: int = 0
    done: int = 0
    workers: int = 0
    retries: int = 0
    rivals: int = 0
    records_in: int = 0
    bytes_in: int = 0
    records_out: int = 0
    bytes_out: int = 0
    started_s: float | None = None
    finished_s: float | None = None
    largest_labels: tuple[tuple[Label, Totals], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPart:
    """One part of a successful job's result."""

    service: ServiceId
    stage: int
    task: int
    totals: Totals
