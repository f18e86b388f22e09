"""What can happen to one task, and what must be done about it: the words of ``core.task.step``."""

from dataclasses import dataclass
from typing import TypeAlias

from disco_engine.core import label_table
from disco_engine.core.model import AttemptId, Failure, ServiceId, Values, WorkerId


@dataclass(frozen=True, slots=True)
class Run:
    """A live attempt.

    Attributes:
        id: Which; its number is one more than that of the attempt started before it.
        worker: Who runs it.
        service: Where it pushes; None: nowhere.
        inputs: The version of the stage's inputs that it was given.
        copy: Where it pushes the same a second time; None: nowhere.
    """

    id: AttemptId
    worker: WorkerId
    service: ServiceId | None
    inputs: int = 0
    copy: ServiceId | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What a finished attempt left.

    Attributes:
        id: The attempt; possibly of an older epoch.
        service: Who has it, and keeps its seal.
        table: What it wrote per label (``core.label_table``); empty: nothing that could be lost.
        records_in: Records it read.
        bytes_in: Bytes it read.
        file: The file it wrote to the job's output; empty: none.
        file_records: Records in that file.
        values: What it left beside its records.
        copy: Who keeps all of it, too, unread, or is asked to; None: nobody.
    """

    id: AttemptId
    service: ServiceId
    table: bytes = label_table.EMPTY
    records_in: int = 0
    bytes_in: int = 0
    file: str = ""
    file_records: int = 0
    values: Values = ()
    copy: ServiceId | None = None

    def is_at(self, attempt: AttemptId, service: ServiceId) -> bool:
        """Return whether this is what *attempt* left at *service*."""
        return self.id == attempt and self.service == service

    def has_copy_at(self, attempt: AttemptId, service: ServiceId) -> bool:
        """Return whether *service* keeps a copy of this, and it is what *attempt* left."""
        return self.id == attempt and self.copy == service


# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The inputs are complete and the pause is over.

    Attributes:
        renewed: The inputs were incomplete before, so losses in a row were theirs.
    """

    renewed: bool = False


@dataclass(frozen=True, slots=True)
class Unready:
    """The inputs are no longer complete."""


@dataclass(frozen=True, slots=True)
class Started:
    """A worker was given an attempt."""

    run: Run


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker reports success; *output* can be sealed."""

    output: Output


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker reports failure.

    Attributes:
        blameless: The attempt's inputs changed while it ran: an infrastructure failure is no
            surprise, and does not count as a loss.
    """

    id: AttemptId
    failure: Failure
    blameless: bool = False


@dataclass(frozen=True, slots=True)
class Returned:
    """A worker gave an attempt back that it had not started."""

    id: AttemptId


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt that ran or was being sealed is gone, with its worker or its service."""

    id: AttemptId
    failure: Failure


@dataclass(frozen=True, slots=True)
class Sealed:
    """A service sealed an attempt."""

    id: AttemptId
    service: ServiceId


@dataclass(frozen=True, slots=True)
class Kept:
    """A service keeps a copy of what an attempt left."""

    id: AttemptId
    service: ServiceId


@dataclass(frozen=True, slots=True)
class CopyLost:
    """A service does not keep a copy: it never could, or it is gone."""

    id: AttemptId
    service: ServiceId


@dataclass(frozen=True, slots=True)
class CopyFound:
    """A service was found to have a copy of what an attempt at this task left.

    Attributes:
        output: Where it is, among the rest.
    """

    output: Output


@dataclass(frozen=True, slots=True)
class OutputLost:
    """A sealed output is gone, and somebody needs it."""

    id: AttemptId
    reason: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """A service was found to have a sealed attempt at this task."""

    output: Output


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job ends."""

    reason: str


Event: TypeAlias = (
    Ready
    | Unready
    | Started
    | Finished
    | Failed
    | Returned
    | Lost
    | Sealed
    | Kept
    | CopyLost
    | CopyFound
    | OutputLost
    | Adopted
    | Cancelled
)

# --- actions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealOutput:
    """Have the output's service seal it."""

    output: Output


@dataclass(frozen=True, slots=True)
class KeepOutput:
    """Have the service that is named for it keep a copy; before its seal."""

    output: Output


@dataclass(frozen=True, slots=True)
class StopRun:
    """Have the worker stop an attempt that is still running."""

    run: Run
    reason: str


@dataclass(frozen=True, slots=True)
class DiscardRun:
    """Have a service discard what an attempt wrote there so far."""

    id: AttemptId
    service: ServiceId


@dataclass(frozen=True, slots=True)
class DropOutput:
    """Have a service delete a sealed attempt that is not the winner, or a copy of one."""

    id: AttemptId
    service: ServiceId


@dataclass(frozen=True, slots=True)
class Retry:
    """Make the task ready again after a pause (once its inputs are complete)."""

    after_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the job: this task can no longer succeed.

    Attributes:
        reason: Completes a sentence that starts with the task's name.
    """

    reason: str
    failure: Failure


Action: TypeAlias = SealOutput | KeepOutput | StopRun | DiscardRun | DropOutput | Retry | GiveUp
