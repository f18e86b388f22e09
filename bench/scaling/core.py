"""The task core alone, up to a million tasks: time per event of each kind, and memory per task.

No event may take longer because the job has more tasks. What an event must do for each of the
attempts it is about (a worker's, a service's) is told per attempt. Times are processor time, which
a busy machine disturbs less. Each size runs in a process of its own, for its memory.
"""

import argparse
import gc
import multiprocessing
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, TypeVar

from disco_engine import memory
from disco_engine.core.actions import Action, Assign, Seal
from disco_engine.core.events import (
    AttemptFailed,
    AttemptFinished,
    AttemptReturned,
    AttemptsProgressed,
    CancelRequested,
    CreditGranted,
    Event,
    OutputLost,
    PlanRecorded,
    Sealed,
    ServiceAttached,
    ServiceLost,
    Tick,
    WorkerJoined,
    WorkerLost,
)
from disco_engine.core.job import JobMachine
from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Failure,
    FailureKind,
    Grouping,
    NodeName,
    Plan,
    SealedAttempt,
    ServiceId,
    Stage,
    TaskInput,
    Totals,
    WorkerId,
)
from disco_engine.core.settings import JobSettings
from scaling.table import Row, at_most

GROWTH = 2.0
"""What a hundred times the tasks may cost an event: caches and the collector take their share."""

ONCE = frozenset({"seal, the last of a stage", "lose the first output"})
"""Events that plan the next stage, whose tasks may be as many, or index them."""

Result = TypeVar("Result")

_BAD = Failure(kind=FailureKind.USER, message="it raised")
_GONE = "it went away"
# It must not fail for what is broken here on purpose.
_PATIENT = JobSettings(
    max_attempts=1000,
    max_consecutive_losses=1000,
    exclude_after_failures=0,
    speculation_multiplier=2.0,
    worker_lease_s=1e9,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What surrounds a job, and how much befalls it.

    Attributes:
        workers: How many there are, at least 2.
        services: Partition services, at least 2.
        labels: Different ones that tasks write.
        grant: Tasks that a worker asks for at a time.
        samples: Of events that are rarer than tasks.
        damaged: Outputs that are lost one by one.
    """

    workers: int = 100
    services: int = 10
    labels: int = 1_000
    grant: int = 50
    samples: int = 200
    damaged: int = 20


class Cost(NamedTuple):
    """What one kind of event took.

    Attributes:
        seconds: In all; or what else the clock counts.
        about: How many events, or attempts that they were about.
        longest_s: The longest single event.
    """

    seconds: float
    about: int
    longest_s: float

    @property
    def each_us(self) -> float:
        """Microseconds per event, or attempt."""
        return 1e6 * self.seconds / self.about


class Measured(NamedTuple):
    """One size.

    Attributes:
        costs: By kind, in the order of the table.
        bytes_each: Resident memory per task, with all of them done.
    """

    costs: dict[str, Cost]
    bytes_each: float


class Job:
    """A job of two stages, whose workers and services answer at once.

    Args:
        tasks: Of its first stage.
        grouping: Of its second stage.
        scene: What surrounds it.
        remember: Services know what they have; else nothing can be done to them.
        clock: What the costs are differences of.
    """

    def __init__(
        self,
        tasks: int,
        grouping: Grouping,
        *,
        scene: Scene,
        remember: bool,
        clock: Callable[[], float] = time.process_time,
    ) -> None:
        self.tasks = tasks
        self.scene = scene
        self.clock = clock
        self.done = 0
        self.now = 0.0
        self.held: dict[WorkerId, deque[AttemptId]] = defaultdict(deque)
        self.sealed: dict[ServiceId, list[SealedAttempt]] = defaultdict(list)
        self.services = [ServiceId(f"ps-{number}") for number in range(scene.services)]
        self.workers = [WorkerId(f"w-{number}") for number in range(scene.workers)]
        self._remember = remember
        self._seconds: dict[str, float] = defaultdict(float)
        self._longest_s: dict[str, float] = defaultdict(float)
        self._about: dict[str, int] = defaultdict(int)
        plan = Plan(
            stages=(
                Stage(name="map", grouping=Grouping.SPLIT),
                Stage(name="reduce", grouping=grouping),
            ),
            inputs=tuple(TaskInput(urls=(f"raw://{number}",)) for number in range(tasks)),
        )
        self.machine = JobMachine(
            _PATIENT, epoch=1, has_output=False, services=self.services, now=0.0
        )
        for service in self.services:
            self.attach(service)
        for worker in self.workers:
            self.join(worker)
        planner = self.workers[0]
        self.grant(planner, 1)
        result = AttemptResult(plan=plan)
        planned = AttemptFinished(
            id=self.held[planner].popleft(), worker=planner, result=result, now=0.0
        )
        self.tell("plan", planned)
        self.tell("begin, per task", PlanRecorded(), about=tasks)

    def tell(self, kind: str, event: Event, about: int = 1) -> list[Action]:
        """Have the machine decide, and note how long it took."""
        began = self.clock()
        actions = self.machine.handle(event)
        self.note(kind, self.clock() - began, about)
        for action in actions:
            if isinstance(action, Assign):
                self.held[action.worker].append(action.id)
        return actions

    def note(self, kind: str, seconds: float, about: int = 1) -> None:
        """Note how long something took that was about so many events, or attempts."""
        self._seconds[kind] += seconds
        self._longest_s[kind] = max(self._longest_s[kind], seconds)
        self._about[kind] += about

    def costs(self) -> dict[str, Cost]:
        """Return what each kind of event took."""
        return {
            kind: Cost(self._seconds[kind], about, self._longest_s[kind])
            for kind, about in self._about.items()
        }

    # --- who is there -------------------------------------------------------------------------

    def attach(self, service: ServiceId) -> None:
        """Let a service tell what it has."""
        sealed = tuple(self.sealed[service])
        node = NodeName(f"n-{service}")
        event = ServiceAttached(service=service, node=node, sealed=sealed, now=self.now)
        kind = "attach a service again, per output" if sealed else "attach a service"
        self.tell(kind, event, max(1, len(sealed)))

    def join(self, worker: WorkerId) -> None:
        """Let a worker say hello."""
        node = NodeName(f"n-ps-{self.workers.index(worker) % self.scene.services}")
        self.tell("join", WorkerJoined(worker=worker, node=node, slots=1, now=self.now))

    def grant(self, worker: WorkerId, tasks: int) -> None:
        """Let a worker ask for tasks, which it gets at once."""
        event = CreditGranted(worker=worker, tasks=tasks, now=self.now)
        began = self.clock()
        actions = self.machine.handle(event)
        seconds = self.clock() - began
        given = [action.id for action in actions if isinstance(action, Assign)]
        self.held[worker] += given
        self.note("assign, per attempt" if given else "ask in vain", seconds, max(1, len(given)))

    def tick(self, seconds: float = 0.1) -> None:
        """Let time pass."""
        self.now += seconds
        self.tell("tick", Tick(now=self.now))

    # --- what happens to attempts -------------------------------------------------------------

    def end(self, worker: WorkerId, attempt: AttemptId) -> None:
        """Let an attempt finish, and its service seal it."""
        first = attempt.task % self.scene.labels
        labels = dict.fromkeys((first, (first + 1) % self.scene.labels), Totals(1, 10, 100))
        result = AttemptResult(labels=labels, records_in=10, bytes_in=100)
        event = AttemptFinished(id=attempt, worker=worker, result=result, now=self.now)
        for action in self.tell("finish", event):
            if isinstance(action, Seal):
                self.done += action.id.stage == 1
                if self._remember:
                    sealed = SealedAttempt(id=action.id, group=action.group, labels=labels)
                    self.sealed[action.service].append(sealed)
                # The last one plans the next stage, which is told apart.
                kind = "seal" if self.done < self.tasks else "seal, the last of a stage"
                self.tell(kind, Sealed(id=action.id, service=action.service))

    def work(self, until: int) -> None:
        """Have tasks of the first stage done until so many are."""
        while self.done < until:
            for worker in self.workers:
                self.grant(worker, min(self.scene.grant, until - self.done))
                held = self.held[worker]
                while held and self.done < until:
                    self.end(worker, held.popleft())
            self.tick()

    def redo(self) -> None:
        """Have everything done again that is missing of the first stage."""
        for worker in cycle(self.workers):
            if self.done == self.tasks:
                return
            self.tick(20.0)  # whatever pauses is over
            self.grant(worker, 1)
            held = self.held[worker]
            while held:
                attempt = held.popleft()
                if attempt.stage == 1:
                    self.end(worker, attempt)
                else:
                    event = AttemptReturned(id=attempt, worker=worker, now=self.now)
                    self.tell("hand back", event)


def undisturbed(tasks: int) -> Measured:
    """Let all tasks of a stage be done, and nothing else happen; in a process of its own."""
    gc.set_threshold(*memory.SELDOM)  # as in a coordinator
    before = _resident_bytes()
    job = Job(tasks, Grouping.GROUP_LABEL, scene=Scene(), remember=False)
    job.work(tasks)
    gc.collect()
    return Measured(job.costs(), (_resident_bytes() - before) / tasks)


def disturbed(
    tasks: int,
    grouping: Grouping,
    scene: Scene = Scene(),
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Cost]:
    """Let everything happen that is rarer, and return what each kind of event took."""
    job = Job(tasks, grouping, scene=scene, remember=True, clock=clock)
    job.work(tasks // 2)
    _trouble_workers(job)
    job.work(tasks)
    for number in range(scene.damaged):
        service = job.services[number % scene.services]
        lost = job.sealed[service].pop(0)
        job.done -= 1
        # Who reads what is found out once.
        kind = "lose an output" if number else "lose the first output"
        job.tell(kind, OutputLost(id=lost.id, service=service, reason=_GONE))
        job.redo()
    job.attach(job.services[1])
    lost_service = job.services[0]
    held = len(job.sealed.pop(lost_service))
    job.done -= held
    event = ServiceLost(service=lost_service, reason=_GONE)
    job.tell("lose a service, per output", event, held)
    job.tell("cancel", CancelRequested(reason="enough"))
    return job.costs()


def _trouble_workers(job: Job) -> None:
    for number in range(job.scene.samples):
        job.tick()
        worker = job.workers[number % job.scene.workers]
        job.grant(worker, 1)
        attempt = job.held[worker].popleft()
        job.tell("heartbeat", AttemptsProgressed(worker=worker, records={attempt: 5}, now=job.now))
        if number % 2:
            job.tell("fail", AttemptFailed(id=attempt, worker=worker, failure=_BAD, now=job.now))
        else:
            job.tell("hand back", AttemptReturned(id=attempt, worker=worker, now=job.now))
        began = job.clock()
        job.machine.stage_counts()
        job.machine.untaken_stages()
        job.note("look at the progress", job.clock() - began)
    for worker in job.workers[: job.scene.workers // 2]:
        job.grant(worker, job.scene.grant)
        held = len(job.held.pop(worker))
        job.tell("lose a worker, per attempt", WorkerLost(worker=worker, reason=_GONE), held)
        job.join(worker)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--most", type=int, default=1_000_000, help="tasks (default 1,000,000)")


def run(options: argparse.Namespace) -> Iterator[Row]:
    """Measure three sizes, a factor of ten apart, and yield how they compare."""
    most = options.most // 10 if options.quick else options.most
    sizes = (most // 100, most // 10, most)
    found = {size: _apart(undisturbed, size) for size in sizes}
    for size in sizes:
        yield at_most(f"memory per task, {size:,} tasks", found[size].bytes_each, 2_000, "bytes")
    yield from _compare("", [found[size].costs for size in sizes])
    for grouping in (Grouping.GROUP_LABEL, Grouping.SPLIT):
        costs = [_apart(disturbed, size, grouping) for size in sizes]
        yield from _compare(f"{grouping}: ", [_without(cost, found[most].costs) for cost in costs])


def _without(costs: dict[str, Cost], known: dict[str, Cost]) -> dict[str, Cost]:
    return {kind: cost for kind, cost in costs.items() if kind not in known}


def _compare(prefix: str, costs: list[dict[str, Cost]]) -> Iterator[Row]:
    """Yield a row per kind: what it takes in each size, and how that grows."""
    for kind in costs[-1]:
        each = [cost[kind].each_us for cost in costs]
        longest_ms = 1e3 * costs[-1][kind].longest_s
        growth = each[-1] / each[0]
        once = kind in ONCE
        yield Row(
            f"{prefix}{kind}",
            f"{' / '.join(f'{us:,.1f}' for us in each)} µs; longest {longest_ms:,.0f} ms",
            "once per stage" if once else f"{growth:.1f} times; at most {GROWTH}",
            None if once else growth <= GROWTH,
        )


def _apart(call: Callable[..., Result], *arguments: object) -> Result:
    """Return what *call* returns, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(call, *arguments).result()
