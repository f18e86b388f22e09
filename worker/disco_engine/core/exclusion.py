"""Which workers are kept from tasks for a while because tasks keep failing on them.

A worker with a broken disk or library fails whatever it is given, and, failing fast, asks for more
than its share. Several failures of *different* tasks point at the worker; failures of the same task
point at the task.

Exclusion only steers. It never takes the last usable worker from the stage that failed there, and
is lifted early if ready tasks have nobody else: so a job whose own code is wrong ends when a task
is out of attempts, with the user's error, and never with "nobody is left to run it".
"""

from collections.abc import Iterable

from disco_engine.core.model import TaskRef, WorkerId

EXCLUDED_S = 60.0
"""How long an exclusion lasts."""

MEMORY_S = 600.0
"""How long a failure is held against a worker."""


class Exclusions:
    """The failures that are held against workers, and who is excluded until when.

    Args:
        after: Failures of different tasks that exclude a worker; 0: never.
    """

    def __init__(self, after: int) -> None:
        self._after = after
        self._failures: dict[WorkerId, dict[TaskRef, float]] = {}
        self._until: dict[WorkerId, float] = {}

    def __contains__(self, worker: object) -> bool:
        return worker in self._until

    @property
    def workers(self) -> list[WorkerId]:
        """Who is excluded, by name."""
        return sorted(self._until)

    def note(self, worker: WorkerId, task: TaskRef, now: float, *, spare: bool) -> bool:
        """Hold a failure of the user's code or data against *worker*.

        Args:
            worker: Where it happened.
            task: What failed.
            now: When.
            spare: Whether the job can do without the worker: another one is usable.

        Returns:
            Whether this excluded it.
        """
        if not self._after or worker in self._until:
            return False
        recent = {
            ref: time
            for ref, time in self._failures.get(worker, {}).items()
            if now - time < MEMORY_S
        }
        recent[task] = now
        self._failures[worker] = recent
        if len(recent) < self._after or not spare:
            return False
        del self._failures[worker]
        self._until[worker] = now + EXCLUDED_S
        return True

    def expired(self, now: float) -> list[WorkerId]:
        """End the exclusions whose time is over, and return whose they were."""
        over = [worker for worker, until in self._until.items() if until <= now]
        for worker in over:
            del self._until[worker]
        return over

    def lift(self, worker: WorkerId) -> None:
        """End the exclusion of *worker* at once."""
        self._until.pop(worker, None)

    def ends_first(self, workers: Iterable[WorkerId]) -> WorkerId | None:
        """Return whose exclusion ends first among *workers*; None: none of them is excluded."""
        excluded = sorted(worker for worker in workers if worker in self._until)
        return min(excluded, key=lambda worker: self._until[worker], default=None)

    def forget(self, worker: WorkerId) -> None:
        """Forget a worker that is gone."""
        self._failures.pop(worker, None)
        self._until.pop(worker, None)
