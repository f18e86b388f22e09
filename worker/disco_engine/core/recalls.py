"""Getting attempts back that wait in one worker while another has free slots.

Workers get tasks ahead of time, as many as those that they ran before suggest. That guess is wrong
if one task takes far longer than the others, so that a queue waits behind it, and for workers that
come when everything is given out already. So whoever holds more than its slots can run is asked to
hand back what it has not started, as much as free slots elsewhere could start at once.

Only the worker knows what it has started, so it is asked for a number of attempts, not for certain
ones, and need not answer: what it hands back becomes ready again, what it started goes on.
"""

import math
from collections.abc import Iterator, Sequence

from disco_engine.core.actions import HandBack
from disco_engine.core.services import ServicePool
from disco_engine.core.stages import StageRun
from disco_engine.core.workers import Worker, WorkerPool

PATIENCE_S = 1.0
"""How long attempts that were asked for are expected; then others are asked for their like."""


class Recalls:
    """Who is asked for attempts, and how many of those are still expected.

    Args:
        stages: Of the job, in order; the list grows when the plan is known.
        workers: Who has attempts, and who has free slots.
        services: A task that nobody could push is better left where it is.
    """

    def __init__(
        self, stages: Sequence[StageRun], workers: WorkerPool, services: ServicePool
    ) -> None:
        self._stages = stages
        self._workers = workers
        self._services = services
        self._expected = 0
        self._asked_at = -math.inf

    @property
    def expected(self) -> int:
        """How many attempts were asked for and may still come back."""
        return self._expected

    def returned(self) -> None:
        """Note that an attempt came back."""
        self._expected = max(0, self._expected - 1)

    def ask(self, now: float) -> Iterator[HandBack]:
        """Yield what workers must be asked for; takes time for each worker, not for each task."""
        if now - self._asked_at >= PATIENCE_S:
            self._expected = 0
        loaded = [w for w in self._workers if w.free_slots < 0 and not w.draining]
        if not loaded:
            return
        stages: set[int] = set()
        wanted = -self._expected
        for worker in self._workers.all_usable():
            room = min(worker.free_slots, worker.credit)
            if room > 0 and (useful := self._useful_to(worker)):
                wanted += room
                stages.update(useful)
        # Who was not asked for longest comes first: the one with most may have nothing to give,
        # because it has only attempts of other stages, or because they only wait to be pushed.
        for worker in sorted(loaded, key=lambda w: (w.asked_s, w.free_slots)):
            if wanted <= 0:
                return
            tasks = min(wanted, -worker.free_slots)
            wanted -= tasks
            self._expected += tasks
            self._asked_at = worker.asked_s = now
            yield HandBack(worker=worker.id, tasks=tasks, stages=tuple(sorted(stages)))

    def _useful_to(self, worker: Worker) -> list[int]:
        """Return the stages whose attempts *worker*, which has free slots, could start."""
        taken = [stage for stage in self._stages if worker.stages.takes(stage.chosen_as)]
        if any(stage.queue for stage in taken):
            return []  # it gets one of those, or must not now, as it must not get others
        can_push = self._services.to_push(worker.node) is not None
        return [
            stage.number
            for stage in taken
            if stage.open and stage.any_running and (can_push or not stage.pushes)
        ]
