"""A small world for a whole job, in which everything can die, restart, and say things twice.

The world has workers that run attempts, partition services (with the real ledger) and the queues
between them and the machine. Records are followed from the inputs to the results: whatever happens,
each must be there exactly once in the end.
"""

import zlib
from collections import Counter, deque
from dataclasses import dataclass, field, replace

import pytest
from simulator.invariants import check_tasks

from disco_engine.core.actions import (
    Action,
    Announce,
    Assign,
    Audit,
    CancelAttempt,
    Discard,
    Drop,
    FinishJob,
    HandBack,
    Outcome,
    RecordPlan,
    Seal,
    Work,
)
from disco_engine.core.events import (
    AttemptFailed,
    AttemptFinished,
    AttemptReturned,
    CreditGranted,
    Event,
    OutputLost,
    PlanRecorded,
    Sealed,
    SealRefused,
    ServiceAttached,
    ServiceLost,
    Tick,
    WorkerHeard,
    WorkerJoined,
    WorkerLost,
)
from disco_engine.core.job import JobMachine
from disco_engine.core.ledger import Ledger, Verdict
from disco_engine.core.model import (
    NOTHING,
    AttemptId,
    AttemptResult,
    Failure,
    FailureKind,
    Grouping,
    Label,
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

Records = dict[Label, list[str]]
UID = "job-1"
LIMITS = JobSettings(max_attempts=1000, max_consecutive_losses=1000, exclude_after_failures=2)
RIVALS = replace(LIMITS, speculation_multiplier=1.0, speculation_quantile=0.0)


def totals_of(records: list[str]) -> Totals:
    return Totals(1, len(records), 10 * len(records)) if records else NOTHING


def emitted(stage: int, read: list[str]) -> Records:
    """Return what a task of the model emits: all it reads, with labels that follow from each."""
    records: Records = {}
    for record in sorted(read):
        label = zlib.crc32(f"{stage} {record}".encode()) % 3
        records.setdefault(label, []).append(record)
    return records


class FakeService:
    def __init__(self, name: ServiceId, node: NodeName) -> None:
        self.name = name
        self.node = node
        self.starts = 0
        self.epoch = 0
        self.plan: Plan | None = None
        self.sealed: dict[AttemptId, SealedAttempt] = {}
        self.data: dict[AttemptId, Records] = {}
        self.written: set[AttemptId] = set()  # seals that have reached the disk
        self.start()

    def start(self, *, forget: int = 0) -> None:
        """Start the process again; the newest *forget* seals that it may lose are lost."""
        self.starts += 1
        self.alive = True
        self.attached = False
        unwritten = [attempt for attempt in self.sealed if attempt not in self.written]
        for attempt in unwritten[max(0, len(unwritten) - forget) :]:
            del self.sealed[attempt]
        self.data = {a: records for a, records in self.data.items() if a in self.sealed}
        self.ledger = Ledger(UID, self.epoch)
        for sealed in self.sealed.values():
            self.ledger.restore(sealed)

    def wipe(self) -> None:
        self.plan = None
        self.epoch = 0
        self.sealed.clear()
        self.start()

    def attach(self, epoch: int, now: float) -> ServiceAttached:
        for attempt in self.ledger.attach(epoch):
            del self.data[attempt]
        self.epoch = epoch
        self.attached = True
        self.written = set(self.sealed)
        return ServiceAttached(
            service=self.name,
            node=self.node,
            incarnation=str(self.starts),
            sealed=tuple(self.sealed.values()),
            plan=self.plan,
            now=now,
        )

    def push(self, attempt: AttemptId, records: Records) -> bool:
        blocks = [(label, len(found), 10 * len(found)) for label, found in records.items()]
        if not self.ledger.push(attempt, blocks):
            return False
        self.data[attempt] = records
        total = NOTHING
        for found in records.values():
            total = total.plus(totals_of(found))
        return self.ledger.complete(attempt, total) == "complete"

    def decide(self, action: Seal | Discard | Drop) -> Event | None:
        match action:
            case Seal():
                verdict, sealed = self.ledger.seal(action)
                if sealed is not None:
                    self.sealed[action.id] = sealed
                    self.data.setdefault(action.id, {})
                if verdict is Verdict.SEALED:
                    return Sealed(id=action.id, service=self.name)
                return SealRefused(id=action.id, service=self.name, reason=verdict)
            case Discard():
                if self.ledger.discard(action.id) is Verdict.DISCARDED:
                    self.data.pop(action.id, None)
            case Drop():
                found = self.sealed.pop(action.id, None)
                self.ledger.drop(action.id, found.labels if found else {})
                self.data.pop(action.id, None)
        return None

    def read(self, stage: int, label: Label, task: int | None) -> list[str]:
        return [
            record
            for attempt in self.sealed
            if attempt.stage == stage and task in (None, attempt.task)
            for record in self.data[attempt].get(label, [])
        ]


@dataclass
class FakeWorker:
    name: WorkerId
    node: NodeName
    alive: bool = True
    refuses: frozenset[str] = frozenset()  # names of stages that it does not take
    assigned: deque[Assign] = field(default_factory=deque)
    # The attempt in the slot, and what it has read.
    slot: tuple[Assign, list[str]] | None = None
    unconfirmed: dict[AttemptId, Event] = field(default_factory=dict)

    def forget(self) -> None:
        self.assigned.clear()
        self.slot = None
        self.unconfirmed.clear()

    def attempts(self) -> frozenset[AttemptId]:
        running = [self.slot[0].id] if self.slot else []
        return frozenset([*running, *(a.id for a in self.assigned), *self.unconfirmed])


class World:
    """All of a job but the machine's decisions.

    Queues are first in, first out between any two; who comes next is the test's choice.
    """

    def __init__(
        self,
        groupings: tuple[Grouping, ...],
        *,
        inputs: int = 3,
        has_output: bool = False,
        services: int = 2,
        workers: int = 2,
        credit: int = 2,
        rivals: bool = False,
    ) -> None:
        self.settings = RIVALS if rivals else LIMITS
        self.plan = Plan(
            stages=tuple(Stage(name=f"s{i}", grouping=g) for i, g in enumerate(groupings)),
            inputs=tuple(TaskInput(urls=(f"in-{i}",), label=i % 2) for i in range(inputs)),
        )
        self.has_output = has_output
        self.credit_at_first = credit  # of a worker that says hello
        self.expected = Counter(f"in-{i}-{j}" for i in range(inputs) for j in range(2))
        self.now = 0.0
        self.epoch = 0
        self.files: dict[str, list[str]] = {}
        self.committed: tuple[str, ...] | None = None
        self.services = {
            name: FakeService(name, NodeName(f"n{i}"))
            for i, name in enumerate(ServiceId(f"ps-{i}") for i in range(services))
        }
        self.workers = {
            name: FakeWorker(name, NodeName(f"n{i}"))
            for i, name in enumerate(WorkerId(f"w{i}") for i in range(workers))
        }
        self.start_coordinator()

    # --- the coordinator and its shell --------------------------------------------------------

    def start_coordinator(self) -> None:
        self.epoch += 1
        self.machine = JobMachine(
            self.settings,
            epoch=self.epoch,
            has_output=self.has_output,
            services=list(self.services),
            now=self.now,
        )
        self.finished: FinishJob | None = None
        self.credit: Counter[WorkerId] = Counter()
        self.to_service: dict[ServiceId, deque[Seal | Discard | Drop | Audit]] = {
            name: deque() for name in self.services
        }
        self.to_worker: dict[WorkerId, deque[Assign | CancelAttempt | HandBack]] = {
            name: deque() for name in self.workers
        }
        self.from_service: dict[ServiceId, deque[Event]] = {n: deque() for n in self.services}
        self.from_worker: dict[WorkerId, deque[Event]] = {n: deque() for n in self.workers}
        self.recording: Plan | None = None
        for service in self.services.values():
            service.attached = False
        for worker in self.workers.values():
            worker.forget()

    def tell(self, event: Event) -> None:
        for action in self.machine.handle(event):
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        assert self.finished is None, f"{action} after the end"
        match action:
            case Assign():
                self.credit[action.worker] -= 1
                assert self.credit[action.worker] >= 0, "more tasks than credit"
                refused = self.workers[action.worker].refuses if action.work is Work.RUN else ()
                assert action.stage_name not in refused, "a task of a stage it does not take"
                if action.push_to is not None:
                    assert action.work is Work.RUN
                self.to_worker[action.worker].append(action)
            case CancelAttempt() | HandBack():
                self.to_worker[action.worker].append(action)
            case Seal() | Discard() | Drop() | Audit():
                self.to_service[action.service].append(action)
            case RecordPlan():
                self.recording = action.plan
            case Announce():
                pass
            case FinishJob():
                self.finished = action

    def record_plan(self) -> None:
        plan, self.recording = self.recording, None
        if plan is not None:
            for service in self.services.values():
                if service.alive and service.attached:
                    service.plan = service.plan or plan
            self.tell(PlanRecorded())

    # --- messages -----------------------------------------------------------------------------

    def attach(self, service: FakeService) -> None:
        """Ask a service what it has (again); the answer takes its place behind other answers."""
        if service.alive:
            self.from_service[service.name].append(service.attach(self.epoch, self.now))

    def deliver_to_service(self, name: ServiceId) -> None:
        queue, service = self.to_service[name], self.services[name]
        if queue and service.alive:
            order = queue.popleft()
            if isinstance(order, Audit):
                self.attach(service)
                return
            answer = service.decide(order)
            if answer is not None:
                self.from_service[name].append(answer)

    def deliver_from_service(self, name: ServiceId) -> None:
        if self.from_service[name]:
            self.tell(self.from_service[name].popleft())

    def deliver_to_worker(self, name: WorkerId) -> None:
        worker = self.workers[name]
        if not self.to_worker[name]:
            return
        match self.to_worker[name].popleft():
            case Assign() as assign:
                worker.assigned.append(assign)
            case CancelAttempt(id=attempt):
                kept = deque(a for a in worker.assigned if a.id != attempt)
                if len(kept) < len(worker.assigned):
                    worker.assigned = kept
                    self.grant(worker)
                if worker.slot and worker.slot[0].id == attempt:
                    worker.slot = None
                    self.grant(worker)
            case HandBack(tasks=most, stages=stages):
                waiting = [a.id for a in reversed(worker.assigned) if a.id.stage in stages]
                for attempt in waiting[:most]:
                    self.hand_back(worker, attempt)

    def deliver_from_worker(self, name: WorkerId, *, confirmed: bool = True) -> None:
        if self.from_worker[name]:
            event = self.from_worker[name].popleft()
            if isinstance(event, CreditGranted):
                self.credit[name] += event.tasks
            if isinstance(event, WorkerJoined):
                self.credit[name] = 0
            self.tell(event)
            if confirmed and isinstance(event, AttemptFinished | AttemptFailed | AttemptReturned):
                self.workers[name].unconfirmed.pop(event.id, None)

    # --- workers ------------------------------------------------------------------------------

    def connect(self, worker: FakeWorker) -> None:
        """Say hello (again): what was on its way either side is lost, but reports come again."""
        self.to_worker[worker.name].clear()
        queue = self.from_worker[worker.name]
        queue.clear()
        queue.append(
            WorkerJoined(
                worker=worker.name,
                node=worker.node,
                slots=1,
                attempts=worker.attempts(),
                except_stages=worker.refuses,
                now=self.now,
            )
        )
        queue.extend(worker.unconfirmed.values())
        self.grant(worker, self.credit_at_first)

    def grant(self, worker: FakeWorker, tasks: int = 1) -> None:
        credit = CreditGranted(worker=worker.name, tasks=tasks, now=self.now)
        self.from_worker[worker.name].append(credit)

    def hand_back(self, worker: FakeWorker, attempt: AttemptId) -> None:
        """Let a worker give back an attempt that waits in it."""
        worker.assigned = deque(a for a in worker.assigned if a.id != attempt)
        event = AttemptReturned(id=attempt, worker=worker.name, now=self.now)
        worker.unconfirmed[attempt] = event
        self.from_worker[worker.name].append(event)
        self.grant(worker)

    def report(self, worker: FakeWorker, event: AttemptFinished | AttemptFailed) -> None:
        worker.slot = None
        worker.unconfirmed[event.id] = event
        self.from_worker[worker.name].append(event)
        self.grant(worker)

    def fail(self, worker: FakeWorker, assign: Assign, kind: FailureKind, text: str) -> None:
        failure = Failure(kind=kind, message=text)
        self.report(
            worker,
            AttemptFailed(id=assign.id, worker=worker.name, failure=failure, now=self.now),
        )

    def begin_attempt(self, worker: FakeWorker) -> None:
        """Let a worker start its next attempt: read all there is to read."""
        if not worker.alive or worker.slot or not worker.assigned:
            return
        assign = worker.assigned.popleft()
        read = [f"{item.urls[0]}-{j}" for item in assign.inputs for j in range(2)]
        for source in assign.sources:
            service = self.services[source.service]
            found = service.read(source.stage, source.label, source.task) if service.alive else []
            if len(found) != source.expected.records:
                text = f"label {source.label} from {service.name}: {len(found)} records"
                self.fail(worker, assign, FailureKind.INFRASTRUCTURE, text)
                return
            read += found
        worker.slot = assign, read

    def end_attempt(self, worker: FakeWorker) -> None:
        """Let a worker's running attempt write its output and report."""
        if not worker.alive or worker.slot is None:
            return
        assign, read = worker.slot
        if assign.work is Work.PLAN:
            self.finish(worker, assign, AttemptResult(plan=self.plan))
        elif assign.work is Work.COMMIT:
            self.committed = assign.output_files
            self.finish(worker, assign, AttemptResult())
        elif assign.write_output:
            name = "-".join(str(part) for part in assign.id)
            self.files[name] = read
            result = AttemptResult(records_in=len(read), output_file=name, output_records=len(read))
            self.finish(worker, assign, result)
        else:
            self.push(worker, assign, read)

    def push(self, worker: FakeWorker, assign: Assign, read: list[str]) -> None:
        assert assign.push_to is not None
        service, records = self.services[assign.push_to], emitted(assign.id.stage, read)
        if records and not (service.alive and service.push(assign.id, records)):
            self.fail(worker, assign, FailureKind.INFRASTRUCTURE, "the push was refused")
            return
        labels = {label: totals_of(found) for label, found in records.items()}
        self.finish(worker, assign, AttemptResult(labels=labels, records_in=len(read)))

    def finish(self, worker: FakeWorker, assign: Assign, result: AttemptResult) -> None:
        # A value beside its records, of another size than that of the attempt before.
        result = replace(result, values=(("value", bytes(assign.id.attempt % 3)),))
        self.report(
            worker,
            AttemptFinished(id=assign.id, worker=worker.name, result=result, now=self.now),
        )

    # --- faults -------------------------------------------------------------------------------

    def kill_worker(self, worker: FakeWorker) -> None:
        worker.alive = False
        worker.forget()
        self.to_worker[worker.name].clear()
        self.from_worker[worker.name].clear()

    def lose_worker(self, worker: FakeWorker) -> None:
        """Have the shell give a worker up, dead or not."""
        self.tell(WorkerLost(worker=worker.name, reason="gone"))
        self.to_worker[worker.name].clear()

    def restart_service(self, service: FakeService, forget: int) -> None:
        """Kill and start a service; the newest *forget* seals are lost, answered or not."""
        service.start(forget=forget)

    def lose_service(self, service: FakeService) -> None:
        """Have the shell give a service up, dead or not."""
        self.from_service[service.name].clear()
        self.to_service[service.name].clear()
        service.attached = False
        self.tell(ServiceLost(service=service.name, reason="gone"))

    def damage(self, service: FakeService, number: int) -> None:
        """Have a reader find a sealed output damaged."""
        attempts = list(service.sealed)
        if attempts:
            attempt = attempts[number % len(attempts)]
            event = OutputLost(id=attempt, service=service.name, reason="bad checksum")
            self.from_service[service.name].append(event)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.tell(Tick(now=self.now))

    # --- what must hold -----------------------------------------------------------------------

    def check(self) -> None:
        """Check what must hold after every event, whatever it was."""
        check_tasks(self.machine)
        if self.finished is None:
            self.check_seals()

    def check_seals(self) -> None:
        """Readers find one sealed attempt per task, and it is the one the job counts on."""
        run = self.machine._run
        for name, service in self.services.items():
            quiet = not self.from_service[name] and not self.to_service[name]
            if not (service.alive and service.attached and quiet and run.plan):
                continue
            for attempt in service.sealed:
                stage = run.stages[attempt.stage]
                if stage.planned:
                    output = stage.tasks[attempt.task].output
                    assert output is not None, f"{attempt} is sealed for nobody"
                    assert output.is_at(attempt, name), f"{attempt} is sealed beside {output}"

    def settle(self) -> None:
        """Let everybody live and work until the job ends; it must."""
        for service in self.services.values():
            if not service.alive:
                service.start()
        for worker in self.workers.values():
            worker.alive = True
            self.connect(worker)
        for _ in range(400):
            self.round()
            if self.finished is not None:
                return
        raise AssertionError(f"the job never ends: {self.machine.stage_counts()}")

    def round(self, slow: WorkerId | None = None) -> None:
        """Let everybody do everything that they can do now, but for *slow*, who ends nothing."""
        for name, service in self.services.items():
            if not service.attached:
                self.attach(service)
            while self.from_service[name]:
                self.deliver_from_service(name)
            while self.to_service[name] and service.alive:
                self.deliver_to_service(name)
        self.record_plan()
        for worker in self.workers.values():
            if worker.alive and self.machine._run.workers.get(worker.name) is None:
                self.connect(worker)  # it was given up; its stream is closed, so it comes again
            elif worker.alive:
                self.tell(WorkerHeard(worker=worker.name, now=self.now))
            while self.from_worker[worker.name]:
                self.deliver_from_worker(worker.name)
            while self.to_worker[worker.name]:
                self.deliver_to_worker(worker.name)
            self.begin_attempt(worker)
            if worker.name != slow:
                self.end_attempt(worker)
        if self.finished is None:
            self.tick(1.0)
        self.check()

    def check_result(self) -> None:
        assert self.finished is not None
        assert self.finished.outcome is Outcome.SUCCEEDED, self.finished
        for counts in self.machine.stage_counts():  # whichever coordinator had counted it first
            if counts.done == counts.total:  # else an output was lost after it had been read
                assert counts.records_in == self.expected.total(), counts
        assert counts.records_out == self.expected.total(), counts
        for service in self.services.values():
            service.start(forget=len(service.sealed))  # a success outlives whatever is killed now
        found: Counter[str] = Counter()
        if self.has_output:
            assert self.committed is not None
            for name in self.committed:
                found.update(self.files[name])
        else:
            for part in self.machine.results():
                service = self.services[part.service]
                for label in range(3):
                    found.update(service.read(part.stage, label, part.task))
        assert found == self.expected


@pytest.fixture
def make_world() -> type[World]:
    """Return the world's class; tests cannot import it, because each test file stands alone."""
    return World
