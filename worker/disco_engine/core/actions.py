"""What comes of a job's events: what the coordinator must do, and what it may tell about the job.

``core.job.JobMachine`` answers events (``core.events``) with actions; the shell carries them out.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from disco_engine.core.model import (
    AttemptId,
    Failure,
    Group,
    Label,
    Layout,
    Plan,
    SealTerms,
    ServiceId,
    Source,
    TaskInput,
    Totals,
    WorkerId,
)

NO_GROUP = Group()


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
        message: One sentence: why it failed or was cancelled; empty if it succeeded, but for a job
            whose output was found complete.
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

# --- what may be read -------------------------------------------------------------------------


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
