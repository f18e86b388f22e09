"""Looks at everything after every event, and says what must never be."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from disco_engine.coordinator.errors import CoordinatorError
from disco_engine.coordinator.link import LinkState
from disco_engine.core import label_table
from disco_engine.core.actions import (
    Action,
    Announce,
    Assign,
    Audit,
    Discard,
    Drop,
    FinishJob,
    Outcome,
    Seal,
    Work,
)
from disco_engine.core.events import Event, ServiceAttached, ServiceLost
from disco_engine.core.job import JobMachine
from disco_engine.core.ledger import AttemptState
from disco_engine.core.model import AttemptId, Label, ServiceId, Totals, WorkerId
from disco_engine.core.task import IllegalTransition
from disco_engine.partition.journal import JournalDamagedError
from disco_engine.partition.store import Store
from disco_engine.wire import attempt_from_wire
from disco_engine.worker.link import CoordinatorError as LinkError
from disco_engine.worker.parent import Worker
from simulator.invariants import check_tasks, check_values
from simulator.network import Side
from simulator.world import Process

if TYPE_CHECKING:
    from simulator.simulation import Simulation

UNPLANNED = object()
"""What counts of a stage that is not planned (again)."""

_TOLD = frozenset(
    {"worker-lost", "service-lost", "task-failed", "stage-finished", "excluded", "job-finished"}
)


_ENDS = (
    CoordinatorError,  # it was replaced, or no service answered
    LinkError,  # a worker has no coordinator
    OSError,  # the disk is full
)
"""What may end a process; it is started again, and a later one has more luck."""


def _output_of(machine: JobMachine, attempt: AttemptId) -> Any:
    """Return the output that counts of an attempt's task; None: none does."""
    stage = machine._run.stages[attempt.stage]
    if not stage.planned:
        return UNPLANNED
    return stage.tasks[attempt.task].output if attempt.task < len(stage.tasks) else None


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


class WatchedMachine(JobMachine):
    """The real machine, under observation."""

    def begin_watch(self, watch: "Watch", process: Process) -> None:
        """Have *watch* look at it after every event."""
        self._watch = watch
        self._process = process

    def handle(self, event: Event) -> list[Action]:
        """Decide."""
        try:
            actions = super().handle(event)
        except IllegalTransition as error:
            self._watch.fail(f"{self._process}: {error}", error)
            raise
        self._watch.decided(self._process, self, event, actions)
        return actions


class Watch:
    """All invariants of a simulation."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._world = simulation.world
        self._sealed: dict[str, set[AttemptId]] = {name: set() for name in simulation.services}
        self._ever_sealed: dict[str, set[AttemptId]] = {name: set() for name in simulation.services}
        self._asked: dict[str, set[AttemptId]] = {name: set() for name in simulation.services}
        self._copies: dict[str, set[AttemptId]] = {name: set() for name in simulation.services}
        self._given_up: set[tuple[str, AttemptId]] = set()
        self._inputs: dict[object, dict[tuple[int, int, Label], AttemptId]] = {}
        self._written: dict[AttemptId, dict[Label, Totals]] = {}
        self._mixed: dict[AttemptId, str] = {}
        self._epochs: dict[Process, int] = {}
        self._news = False  # a machine has decided something since its seals were looked at

    def fail(self, text: str, cause: BaseException | None = None) -> None:
        """Say what must never be."""
        self._world.fail(text, cause)

    def comes_again(self, epoch: int, began: int) -> bool:
        """Return whether services have lost all memory of an epoch that they have seen.

        Then names of attempts come a second time. Nobody promises to survive that, but it must not
        happen unless coordinators begin faster than one in a second.

        Args:
            epoch: Of a coordinator.
            began: When that began, on the calendar.
        """
        seen = max(self._epochs.values(), default=0)
        known = [
            process.inside.store.ledger.epoch
            for process in self._world.processes
            if process.inside.store is not None
        ]
        again = seen >= epoch > max(known, default=0)
        if again and epoch < began:
            self.fail(f"the epoch of a coordinator that began at {began} is {epoch}, once more")
        return again

    # --- the coordinator ----------------------------------------------------------------------

    def decided(
        self, process: Process, machine: JobMachine, event: Event, actions: list[Action]
    ) -> None:
        """Look at the machine after an event."""
        if not process.alive:
            return
        if isinstance(event, ServiceLost):
            name = event.service
            had = self._ever_sealed[name] | self._copies[name] | self._asked[name]
            self._given_up.update((name, attempt) for attempt in had)
        elif isinstance(event, ServiceAttached):
            for one in (*event.sealed, *event.copies):
                if not machine._run.was_dropped(one.id, event.service):
                    self._given_up.discard((event.service, one.id))
        for action in actions:
            match action:
                case Seal():
                    self._asked[action.service].add(action.id)
                    self._given_up.discard((action.service, action.id))
                    self._simulation.seal_is_on_its_way(action.service)
                case Drop() | Discard():
                    self._given_up.add((action.service, action.id))
                case Assign() if action.work is Work.RUN:
                    self._look_for_copies(process, machine, action)
                case Announce() if action.kind in _TOLD:
                    self._world.tell(f"{process}: {action.kind}: {action.text}")
                case Audit():
                    self._simulation.written_down = True
                case FinishJob():
                    if action.outcome is Outcome.SUCCEEDED and not self._simulation.succeeded:
                        self._simulation.has_succeeded()
                case _:
                    pass
            if isinstance(action, Announce) and action.kind == "stage-finished":
                self._simulation.stage_has_finished()
        self._news = True
        try:
            check_tasks(machine)
            check_values(machine)
        except AssertionError as error:
            self.fail(f"{process}: {error}", error)

    def _look_for_copies(self, process: Process, machine: JobMachine, assign: Assign) -> None:
        """Look whether a task runs that is finished: somewhere, all of an attempt is readable.

        That is so if a service that the coordinator knows has one sealed, or a copy of one, and
        was not told to forget it.
        """
        task = machine._run.stages[assign.id.stage].tasks[assign.id.task]
        if len(task.live) > 1:
            return  # a rival
        for name, store in self._settled_stores(process, machine):
            for attempt in (*store.ledger.sealed_attempts(), *store.ledger.copies()):
                if attempt[:2] == assign.id[:2] and (name, attempt) not in self._given_up:
                    self.fail(f"{process} runs {assign.id}, but {attempt} is on {name}")

    def ended(self, process: Process, error: BaseException | None) -> None:
        """Look at how a process ended by itself."""
        causes = _leaves(error) if error is not None else []
        bugs = [cause for cause in causes if not isinstance(cause, _ENDS)]
        if bugs:
            self.fail(f"{process} has a bug: {bugs[0]!r}", bugs[0])

    def _look_at_seals(self, process: Process, machine: JobMachine) -> None:
        """Look whether readers would find one sealed attempt per task: the one that counts.

        That must be so at every service with which the coordinator has nothing to settle.
        """
        run = machine._run
        if run.plan is None or machine.outcome is not None:
            return
        for name, store in self._settled_stores(process, machine):
            for attempt in store.ledger.sealed_attempts():
                output = _output_of(machine, attempt)
                if output is not UNPLANNED and not (output and output.is_at(attempt, name)):
                    self.fail(f"{attempt} is sealed on {name}, but {process} counts on {output}")
            for attempt in store.ledger.copies():
                output = _output_of(machine, attempt)
                if output is not UNPLANNED and not (
                    output and (output.has_copy_at(attempt, name) or output.is_at(attempt, name))
                ):
                    self.fail(f"{attempt} is kept on {name}, but {process} counts on {output}")
            for attempt in store.ledger.unsealed_attempts():
                if not _may_be_sealed(machine, attempt, name):
                    self.fail(f"{name} keeps blocks of {attempt}, which {process} has given up")

    def _settled_stores(
        self, process: Process, machine: JobMachine
    ) -> Iterator[tuple[ServiceId, Store]]:
        """Yield the stores of services with which the coordinator has nothing to settle."""
        services = process.inside.services
        for name, link in services._links.items() if services is not None else ():
            holder = self._simulation.roles.get(name)
            store = holder.inside.store if holder is not None and holder.alive else None
            unsettled = link._orders or link._in_flight or link._attach_wanted
            if store is None or unsettled or link._talking.locked():
                continue
            if (link.state, link._incarnation) != (LinkState.ATTACHED, store.incarnation):
                continue
            if store.ledger.epoch == machine._run.epoch:
                yield name, store

    # --- partition services -------------------------------------------------------------------

    def after_step(self, process: Process) -> None:
        """Look at a process after each of its steps."""
        if process.inside.store is not None:
            self._look_at_store(process, process.inside.store)
        elif process.inside.worker is not None:
            self._look_at_worker(process, process.inside.worker)
        elif process.inside.machine is not None and self._news:
            self._news = False
            self._look_at_seals(process, process.inside.machine)

    def recovered(self, process: Process, store: Store) -> None:
        """Note what a service has found on its disk."""
        self._sealed[process.name] = set(store.ledger.sealed_attempts())
        lost = self._sealed[process.name] - self._ever_sealed[process.name]
        if lost:
            self.fail(f"{process} has recovered {min(lost)} as sealed, which it never was")
        self._copies[process.name] = set(store.ledger.copies())

    def _look_at_store(self, process: Process, store: Store) -> None:
        epoch = store.ledger.epoch
        epoch_before = self._epochs.setdefault(process, epoch)
        if epoch_before > epoch:
            self.fail(f"{process} has gone back from epoch {epoch_before} to {epoch}")
        self._epochs[process] = epoch
        before = self._sealed[process.name]
        now = {a for a, state in store.ledger._states.items() if state is AttemptState.SEALED}
        if now != before:
            self._sealed[process.name] = now
            for attempt in sorted(now - before):
                self._ever_sealed[process.name].add(attempt)
                # A seal may be on its way when the service is given up; it is dropped then.
                if (process.name, attempt) not in self._given_up:
                    self._look_at_seal(process, store, attempt, epoch_before)
        copies = set(store.ledger.copies())
        for attempt in self._copies[process.name] - copies - now:
            if (process.name, attempt) not in self._given_up:
                self.fail(f"{process} has forgotten its copy of {attempt}")
        self._copies[process.name] = copies
        waiting = sum(stage.waiting_bytes for stage in store.stages.values())
        flying = sum(
            lane._flying.size
            for stage in store.stages.values()
            for lane in stage.lanes.values()
            if lane._flying is not None
        )
        if store.budget.used != waiting + flying:
            self.fail(
                f"{process} has {store.budget.used} bytes of its memory taken, but"
                f" {waiting} wait and {flying} are being written"
            )

    def _look_at_seal(
        self, process: Process, store: Store, attempt: AttemptId, epoch_before: int
    ) -> None:
        was_copy = attempt in self._copies[process.name]
        # In one step it may have sealed for a coordinator, and then heard of the next one.
        if attempt.epoch not in (epoch_before, store.ledger.epoch) and not was_copy:
            self.fail(f"{process} has sealed {attempt}, but its epoch is {store.ledger.epoch}")
        if attempt in self._mixed:
            self.fail(f"{process} has sealed {attempt}, which {self._mixed[attempt]}")
        with suppress(JournalDamagedError):  # which it will find itself
            for message in store.journal.sealed():
                if attempt_from_wire(message.attempt) == attempt:
                    labels = label_table.unpack(message.label_table)
                    written = self._written.get(attempt, {})
                    if labels != written:
                        self.fail(f"{process} has sealed {attempt} with {labels}, not {written}")
        for name, sealed in self._sealed.items():
            holder = self._simulation.roles.get(name)
            held = holder.inside.store if holder is not None and holder.alive else None
            if held is None:
                continue
            for other in sealed:
                if (
                    (name, other) != (process.name, attempt)
                    and other[:3] == attempt[:3]
                    and (name, other) not in self._given_up
                    and held.ledger.epoch == attempt.epoch
                ):
                    self.fail(f"{process} has sealed {attempt} beside {other} on {name}")

    # --- workers ------------------------------------------------------------------------------

    def _look_at_worker(self, process: Process, worker: Worker) -> None:
        """Compare what a worker has with what the coordinator believes, when both must agree.

        That is when they are connected and nothing is on its way between them.
        """
        coordinator = self._simulation.roles.get("coordinator")
        if coordinator is None or not coordinator.alive or not self._is_quiet(coordinator, process):
            return
        machine, members = coordinator.inside.machine, coordinator.inside.members
        if machine is None or members is None or machine.outcome is not None:
            return
        name = WorkerId(process.name)
        believed = machine._run.workers.get(name)
        session = members.session_of(name)
        work, link = worker._work, worker._link
        said = session is not None and not (
            session._queue or session._confirmed or session.closed.is_set()
        )
        if believed is None or not said or not link.connected or work.reports.unsent:
            return
        if set(believed.live) != set(work._attempts):
            self.fail(
                f"{coordinator} believes that {process} has {sorted(believed.live)}, but it has"
                f" {sorted(work._attempts)}"
            )
        if not believed.draining and believed.credit != work._credit:
            self.fail(
                f"{coordinator} may give {process} {believed.credit} tasks, but it has granted"
                f" {work._credit}"
            )

    def _is_quiet(self, coordinator: Process, worker: Process) -> bool:
        ends = {Side.CLIENT: worker, Side.SERVER: coordinator}
        connections = [one for one in self._simulation.network.connections if one.ends == ends]
        if not all(one.open[side] for one in connections for side in Side):
            return False  # one end does not know yet that the connection is broken
        calls = [call for one in connections for call in one.calls.values()]
        return bool(calls) and all(call.quiet for call in calls)

    # --- readers ------------------------------------------------------------------------------

    def wrote(self, attempt: AttemptId, labels: dict[Label, Totals]) -> None:
        """Note what an attempt says that it wrote."""
        self._written[attempt] = labels

    def read(
        self, slot: object, reader: AttemptId, label: Label, service: str, origin: AttemptId
    ) -> None:
        """Note that an attempt has read a block.

        Names of attempts may come a second time (see ``comes_again``), so what was read is kept for
        each slot process.
        """
        self.result_read(service, origin)
        inputs = self._inputs.setdefault((slot, reader), {})
        key = (origin.stage, origin.task, label)
        if inputs.setdefault(key, origin) != origin:
            self._mixed[reader] = f"has read {origin} and {inputs[key]}"

    def result_read(self, service: str, origin: AttemptId) -> None:
        """Note that somebody has read a block."""
        if origin not in self._ever_sealed[service]:
            self.fail(f"a reader got {origin} from {service}, where it was never sealed")


def _may_be_sealed(machine: JobMachine, attempt: AttemptId, service: ServiceId) -> bool:
    """Return whether an attempt runs, or is kept or sealed there; also if nobody knows yet."""
    stage = machine._run.stage_of(attempt)
    if stage is None:
        return True
    task = stage.tasks[attempt.task]
    output = task.output
    return task.run_of(attempt) is not None or (
        output is not None
        and (output.is_at(attempt, service) or output.has_copy_at(attempt, service))
    )
