"""Which slow attempts get a rival, and where it runs.

Near a stage's end one slow machine can hold up the whole job. So when most tasks of a stage are
done, none waits for a worker, and an attempt takes far longer than those before it, another one is
started beside it, on a slot that has nothing else to do. The first of the two that is sealed wins;
``core.task`` sees to that, as it does for attempts that were given up and come back.

Not meant are tasks that take long because they have more to do: an attempt that reads its records
about as fast as others have goes on alone. docs/design.md says why the numbers are what they are.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from disco_engine.core.actions import Work
from disco_engine.core.model import AttemptId
from disco_engine.core.recalls import Recalls
from disco_engine.core.scheduling import minds
from disco_engine.core.services import ServicePool
from disco_engine.core.settings import JobSettings
from disco_engine.core.stages import StageRun
from disco_engine.core.task_state import Task, TaskState
from disco_engine.core.workers import Worker, WorkerPool

MIN_RUN_S = 1.0
"""How long an attempt runs at least before it gets a rival."""

NORMAL_RATE = 0.75
"""An attempt that reads at this share of the usual rate, or faster, is not slow."""

FEW = 10
SHARE = 0.1
"""So many rivals run at most: this many, or this share of all that runs, whichever is more."""


class Slow(NamedTuple):
    """An attempt that should have a rival.

    Attributes:
        stage: Its stage.
        attempt: Which it is.
        worker: Who runs it.
        seconds: For how long it has run.
        usual_s: The median of those before it.
    """

    stage: StageRun
    attempt: AttemptId
    worker: Worker
    seconds: float
    usual_s: float

    @property
    def reason(self) -> str:
        """What is wrong with it: the end of a sentence that begins with the task's name."""
        return (
            f"has run for {self.seconds:.1f} s on {self.worker.place}, where others took about"
            f" {self.usual_s:.1f} s"
        )


class Speculation:
    """Decides about rivals; whoever starts them changes the tasks.

    Args:
        settings: When an attempt is slow.
        stages: Of the job, in order; the list grows when the plan is known.
        workers: Who runs attempts, and who has free slots.
        services: Where rivals push.
        recalls: What was asked back goes first.
    """

    def __init__(
        self,
        settings: JobSettings,
        stages: Sequence[StageRun],
        workers: WorkerPool,
        services: ServicePool,
        recalls: Recalls,
    ) -> None:
        self._multiplier = settings.speculation_multiplier
        self._quantile = settings.speculation_quantile
        self._stages = stages
        self._workers = workers
        self._services = services
        self._recalls = recalls

    def rivals(self, now: float) -> Iterator[tuple[Slow, Worker]]:
        """Yield the attempts that must have a rival now, and who runs it, slowest first.

        The caller starts each before it asks for the next. Takes time for each slot, and that only
        while a stage is near its end, but not for each task.
        """
        if not self._multiplier:
            return
        slow, left = self._slow(now)
        if not slow:
            return
        idle = [worker for worker in self._workers.all_usable() if self._is_idle(worker)]
        left = min(left, sum(map(_room, idle)) - self._recalls.expected)
        slow.sort(key=lambda found: (-found.seconds, found.attempt))
        suspect = {found.worker.id for found in slow}
        for found in slow:
            if left <= 0:
                return
            places = [worker for worker in idle if self._suits(worker, found, now)]
            if places:
                left -= 1
                # Whoever is slow at one thing may be slow at the next.
                yield found, min(places, key=lambda w: (w.id in suspect, -_room(w)))

    # --- who is slow --------------------------------------------------------------------------

    def _slow(self, now: float) -> tuple[list[Slow], int]:
        """Return the slow attempts without a rival, and how many rivals may be started."""
        usual = {stage.number: s for stage in self._stages if (s := self._usual_s(stage))}
        slow: list[Slow] = []
        if not usual:
            return slow, 0
        running, contested = 0, set()
        for worker in self._workers:
            for attempt, began in worker.running.items():
                usual_s = usual.get(attempt.stage)
                if usual_s is None:
                    continue
                running += 1
                stage = self._stages[attempt.stage]
                task = stage.tasks[attempt.task]
                if len(task.live) > 1:
                    contested.add(attempt.ref)
                elif now - began > max(MIN_RUN_S, self._multiplier * usual_s) and (
                    _may_have_rival(task) and not _is_only_large(stage, worker, attempt, began)
                ):
                    slow.append(Slow(stage, attempt, worker, now - began, usual_s))
        return slow, max(FEW, int(SHARE * running)) - len(contested)

    def _usual_s(self, stage: StageRun) -> float | None:
        """Return what attempts of a stage usually take; None: none of its tasks gets a rival."""
        if stage.work is not Work.RUN or not stage.open or stage.queue:
            return None
        return stage.yardstick.median_s() if stage.mostly_done(self._quantile) else None

    # --- who has room for a rival -------------------------------------------------------------

    def _is_idle(self, worker: Worker) -> bool:
        """Return whether a worker has a free slot, and no task waits that it could take."""
        taken = (stage for stage in self._stages if worker.stages.takes(stage.chosen_as))
        return _room(worker) > 0 and not any(stage.queue for stage in taken)

    def _suits(self, worker: Worker, found: Slow, now: float) -> bool:
        stage = found.stage
        if _room(worker) <= 0 or worker is found.worker:
            return False
        if not worker.stages.takes(stage.chosen_as):
            return False
        asker = self._workers.asker(worker, stage.chosen_as)
        if asker.other_node and worker.node == found.worker.node:
            return False  # what is slow is more often the machine than the process
        avoid = stage.avoid.get(found.attempt.task)
        if avoid is not None and minds(avoid, asker, now):
            return False
        return not stage.pushes or self._services.to_push(worker.node) is not None


def _room(worker: Worker) -> int:
    return min(worker.free_slots, worker.credit)


def _may_have_rival(task: Task) -> bool:
    """Return whether a task runs, and does so still if its rival fails."""
    return task.state is TaskState.RUNNING and task.failures + 1 < task.limits.max_attempts


def _is_only_large(stage: StageRun, worker: Worker, attempt: AttemptId, began: float) -> bool:
    """Return whether an attempt was seen to read as fast as others, and more than they had to."""
    records, seconds = worker.records.get(attempt, 0), worker.told_s - began
    usual = stage.yardstick
    if seconds <= 0.0 or records <= usual.records_each:  # it may have read all, and hang
        return False
    return records / seconds >= NORMAL_RATE * usual.records_per_s > 0.0
