"""One task, and where it stands: the value that ``core.task.step`` turns into the next."""

from enum import StrEnum
from typing import NamedTuple

from disco_engine.core.model import AttemptId, TaskRef
from disco_engine.core.task_events import Output, Run


class TaskState(StrEnum):
    """Where a task stands; the value is what users see."""

    WAITING = "waiting"  # its inputs are incomplete, or it pauses before a retry
    READY = "ready"  # any worker may run it
    RUNNING = "running"  # at least one attempt is live
    KEEPING = "keeping"  # an attempt has finished and a service was asked to keep a copy
    SEALING = "sealing"  # an attempt has finished and its service was asked to seal it
    DONE = "done"  # one attempt is sealed
    FAILED = "failed"  # out of attempts: the job ends
    CANCELLED = "cancelled"  # the job was ended by something else


SETTLING = frozenset({TaskState.KEEPING, TaskState.SEALING})
"""An attempt has finished; the rest is between services."""


class Limits(NamedTuple):
    """How often a task may fail; see JobSettings."""

    max_attempts: int
    max_consecutive_losses: int


class Task(NamedTuple):
    """One unit of work and how far it has come.

    A tuple, because a task is replaced four times at least: that takes a third of the time it takes
    a data class.

    Attributes:
        ref: Which task of the job.
        limits: Shared by all tasks of the job.
        state: Where it stands.
        started: Attempts given out in this epoch; the number of the newest.
        returned: How many of those their workers gave back before they had started them.
        live: Attempts that run; not empty exactly while RUNNING, rivals of the one that has
            finished while KEEPING and SEALING.
        output: What is being kept and sealed (KEEPING, SEALING) or is sealed (DONE); None in all
            other states.
        failures: Attempts that failed for the user's code or data.
        losses: Attempts lost in a row.
        outputs_lost: How often a sealed output was lost.
    """

    ref: TaskRef
    limits: Limits
    state: TaskState = TaskState.WAITING
    started: int = 0
    returned: int = 0
    live: tuple[Run, ...] = ()
    output: Output | None = None
    failures: int = 0
    losses: int = 0
    outputs_lost: int = 0

    def run_of(self, attempt: AttemptId) -> Run | None:
        """Return the live attempt with that identity; None if it is not live."""
        for run in self.live:
            if run.id == attempt:
                return run
        return None
