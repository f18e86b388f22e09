"""The workers of a job: who is there, what each runs, and who may be given more."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from disco_engine.core.exclusion import Exclusions
from disco_engine.core.model import AttemptId, NodeName, TaskRef, WorkerId
from disco_engine.core.scheduling import Asker


class StageFilter(NamedTuple):
    """Which stages a worker takes tasks of, by name.

    Attributes:
        only: These and no others; empty: all.
        other_than: Not these.
    """

    only: frozenset[str] = frozenset()
    other_than: frozenset[str] = frozenset()

    def takes(self, stage: str | None) -> bool:
        """Return whether it is one of them; None is what every worker takes."""
        if stage is None:
            return True
        return (not self.only or stage in self.only) and stage not in self.other_than


ALL_STAGES = StageFilter()


class Takers(NamedTuple):
    """The usable workers that take a stage.

    Attributes:
        workers: How many there are.
        slots: How many slots they have.
        nodes: On how many nodes they are.
    """

    workers: int
    slots: int
    nodes: int


@dataclass(slots=True, kw_only=True)
class Worker:
    """One worker, as the coordinator knows it.

    Attributes:
        slots: How many attempts it runs at once.
        stages: Which stages it takes.
        heard: When it last said anything, on the coordinator's clock.
        credit: How many more tasks it can take.
        draining: It takes no more, whatever its credit.
        live: The attempts it runs or has queued, oldest first (a dictionary for its order).
        running: When those of them began that occupy a slot, as far as can be told from here: a
            worker starts the oldest first, as many as it has slots.
        records: How many records running attempts had read when it last told.
        told_s: When that was, on the coordinator's clock.
        asked_s: When it was last asked for attempts back; minus infinity: never.
    """

    id: WorkerId
    node: NodeName
    slots: int
    stages: StageFilter
    heard: float
    credit: int = 0
    draining: bool = False
    live: dict[AttemptId, None] = field(default_factory=dict)
    running: dict[AttemptId, float] = field(default_factory=dict)
    records: Mapping[AttemptId, int] = field(default_factory=dict)
    told_s: float = -math.inf
    asked_s: float = -math.inf

    @property
    def free_slots(self) -> int:
        """How many slots have nothing to run; negative: how many attempts wait for one."""
        return self.slots - len(self.live)

    @property
    def place(self) -> str:
        """Who and where it is, for people."""
        return f"worker {self.id} on {self.node}"

    def start_oldest(self, now: float) -> None:
        """Note that attempts have begun for which there are slots now; takes time for each slot."""
        if len(self.running) < min(self.slots, len(self.live)):
            for attempt in islice(self.live, self.slots):
                self.running.setdefault(attempt, now)


class WorkerPool:
    """All workers that have not been lost.

    Usable are those that neither drain nor are excluded.

    Args:
        lease_s: Silence after which a worker counts as lost.
        exclude_after: Failures of different tasks that exclude a worker; 0: never.
    """

    def __init__(self, lease_s: float, exclude_after: int) -> None:
        self._lease_s = lease_s
        self._workers: dict[WorkerId, Worker] = {}
        self._usable: dict[WorkerId, Worker] = {}
        self._takers: dict[str | None, Takers] = {}  # as far as anybody has asked
        self._exclusions = Exclusions(exclude_after)
        self.live = 0
        """Attempts that run anywhere."""

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    @property
    def slots(self) -> int:
        """Slots of all workers, usable or not."""
        return sum(worker.slots for worker in self)

    @property
    def excluded(self) -> list[WorkerId]:
        """Who is excluded, by name."""
        return self._exclusions.workers

    def get(self, name: WorkerId) -> Worker | None:
        """Return a worker; None: it never joined, or was lost."""
        return self._workers.get(name)

    def usable(self, name: WorkerId) -> Worker | None:
        """Return a worker if it may be given tasks; None: it may not."""
        return self._usable.get(name)

    def all_usable(self) -> list[Worker]:
        """Return the workers that may be given tasks, in the order in which they joined."""
        return list(self._usable.values())

    def takers(self, stage: str | None) -> Takers:
        """Return how many usable workers take a stage; None is what every worker takes."""
        takers = self._takers.get(stage)
        if takers is None:
            workers = [worker for worker in self._usable.values() if worker.stages.takes(stage)]
            takers = self._takers[stage] = Takers(
                len(workers),
                sum(worker.slots for worker in workers),
                len({worker.node for worker in workers}),
            )
        return takers

    def join(
        self,
        name: WorkerId,
        node: NodeName,
        slots: int,
        now: float,
        stages: StageFilter = ALL_STAGES,
    ) -> Worker:
        """Add a worker, or take back one that is there already, with what it runs."""
        slots = max(slots, 1)
        worker = self._workers.get(name)
        if worker is None:
            worker = Worker(id=name, node=node, slots=slots, stages=stages, heard=now)
            self._workers[name] = worker
        worker.node, worker.slots, worker.stages, worker.heard = node, slots, stages, now
        worker.credit, worker.draining = 0, False
        self._recount()
        return worker

    def lose(self, name: WorkerId) -> Worker | None:
        """Remove a worker and return it; None: it was not there."""
        worker = self._workers.pop(name, None)
        if worker is not None:
            self.live -= len(worker.live)
            self._exclusions.forget(name)
            self._recount()
        return worker

    def drain(self, name: WorkerId) -> None:
        """Give a worker no more tasks."""
        if name in self._workers:
            self._workers[name].draining = True
            self._recount()

    def heard(self, name: WorkerId, now: float) -> None:
        """Renew a worker's lease."""
        worker = self._workers.get(name)
        if worker is not None:
            worker.heard = now

    def silent(self, now: float) -> list[WorkerId]:
        """Return the workers whose lease is over."""
        return [worker.id for worker in self if now - worker.heard > self._lease_s]

    def progressed(self, name: WorkerId, records: Mapping[AttemptId, int], now: float) -> None:
        """Note how many records a worker's attempts have read."""
        worker = self._workers.get(name)
        if worker is not None:
            worker.records, worker.told_s = records, now

    def started(self, worker: Worker, attempt: AttemptId, now: float) -> None:
        """Note that a worker was given an attempt, for one of its credits."""
        worker.credit -= 1
        worker.live[attempt] = None
        worker.start_oldest(now)
        self.live += 1

    def ended(self, name: WorkerId, attempt: AttemptId, now: float) -> float:
        """Note that an attempt no longer occupies its worker; return for how long it ran."""
        worker = self._workers.get(name)
        if worker is None or attempt not in worker.live:
            return 0.0
        del worker.live[attempt]
        self.live -= 1
        began = worker.running.pop(attempt, now)
        worker.start_oldest(now)
        return now - began

    def asker(self, worker: Worker, stage: str | None) -> Asker:
        """Return *worker*, which is usable and takes *stage*, as one that asks for a task of it."""
        takers = self.takers(stage)
        return Asker(worker.id, worker.node, takers.workers > 1, takers.nodes > 1)

    def note_failure(
        self, name: WorkerId, task: TaskRef, now: float, stage: str | None = None
    ) -> bool:
        """Hold a failure in *stage* against a worker, and return whether it is excluded for it."""
        spare = self.takers(stage).workers > 1 and name in self._usable
        excluded = self._exclusions.note(name, task, now, spare=spare)
        if excluded:
            self._recount()
        return excluded

    def end_exclusions(self, now: float) -> bool:
        """End the exclusions whose time is over, and return whether there were any."""
        ended = bool(self._exclusions.expired(now))
        if ended:
            self._recount()
        return ended

    def find_taker(self, stage: str | None) -> bool:
        """End an exclusion if nobody else is left who takes *stage*, which has ready tasks.

        Returns:
            Whether a worker has thereby become usable.
        """
        if self.takers(stage).workers:
            return False
        first = self._exclusions.ends_first(
            worker.id for worker in self if not worker.draining and worker.stages.takes(stage)
        )
        if first is None:
            return False
        self._exclusions.lift(first)
        self._recount()
        return True

    def _recount(self) -> None:
        self._usable = {
            name: worker
            for name, worker in self._workers.items()
            if not worker.draining and name not in self._exclusions
        }
        self._takers.clear()
