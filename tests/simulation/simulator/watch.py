"""Looks at everything after every event, and says what must never be."""

from collections import Counter
from typing import TYPE_CHECKING

from disco_engine.core.events import (
    Action,
    Announce,
    Drop,
    Event,
    FinishJob,
    Outcome,
    ServiceAttached,
    ServiceLost,
)
from disco_engine.core.job import JobMachine
from disco_engine.core.ledger import AttemptState
from disco_engine.core.model import AttemptId, Label, Totals
from disco_engine.core.task import IllegalTransition, TaskState
from disco_engine.partition.store import Store
from disco_engine.wire import attempt_from_wire, labels_from_wire
from simulator.world import Process

if TYPE_CHECKING:
    from simulator.simulation import Simulation

_TOLD = frozenset(
    {"worker-lost", "service-lost", "task-failed", "stage-finished", "excluded", "job-finished"}
)


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
        self._given_up: set[tuple[str, AttemptId]] = set()
        self._inputs: dict[object, dict[tuple[int, int, Label], AttemptId]] = {}
        self._written: dict[AttemptId, dict[Label, Totals]] = {}
        self._mixed: dict[AttemptId, str] = {}

    def fail(self, text: str, cause: BaseException | None = None) -> None:
        """Say what must never be."""
        self._world.fail(text, cause)

    # --- the coordinator ----------------------------------------------------------------------

    def decided(
        self, process: Process, machine: JobMachine, event: Event, actions: list[Action]
    ) -> None:
        """Look at the machine after an event."""
        if not process.alive:
            return
        if isinstance(event, ServiceLost):
            name = event.service
            self._given_up.update((name, attempt) for attempt in self._ever_sealed[name])
        elif isinstance(event, ServiceAttached):
            self._given_up.difference_update((event.service, one.id) for one in event.sealed)
        for action in actions:
            match action:
                case Drop():
                    self._given_up.add((action.service, action.id))
                case Announce() if action.kind in _TOLD:
                    self._world.tell(f"{process}: {action.kind}: {action.text}")
                case FinishJob():
                    self._world.tell(f"{process}: the job has {action.outcome} {action.message}")
                    self._simulation.succeeded |= action.outcome is Outcome.SUCCEEDED
                case _:
                    pass
        try:
            check_tasks(machine)
        except AssertionError as error:
            self.fail(f"{process}: {error}", error)

    def ended(self, process: Process, error: BaseException | None) -> None:
        """Look at how a process ended by itself."""

    # --- partition services -------------------------------------------------------------------

    def after_step(self, process: Process) -> None:
        """Look at a process after each of its steps."""
        if process.inside.store is not None:
            self._look_at_store(process, process.inside.store)

    def recovered(self, process: Process, store: Store) -> None:
        """Note what a service has found on its disk."""
        self._sealed[process.name] = set(store.ledger.sealed_attempts())
        lost = self._sealed[process.name] - self._ever_sealed[process.name]
        if lost:
            self.fail(f"{process} has recovered {min(lost)} as sealed, which it never was")

    def _look_at_store(self, process: Process, store: Store) -> None:
        before = self._sealed[process.name]
        now = {a for a, state in store.ledger._states.items() if state is AttemptState.SEALED}
        if now != before:
            self._sealed[process.name] = now
            for attempt in sorted(now - before):
                self._ever_sealed[process.name].add(attempt)
                self._given_up.discard((process.name, attempt))
                self._look_at_seal(process, store, attempt)
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

    def _look_at_seal(self, process: Process, store: Store, attempt: AttemptId) -> None:
        if attempt in self._mixed:
            self.fail(f"{process} has sealed {attempt}, which {self._mixed[attempt]}")
        for message in store.journal.sealed():
            if attempt_from_wire(message.attempt) == attempt:
                labels = labels_from_wire(message.labels)
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
                    other != attempt
                    and other[:3] == attempt[:3]
                    and (name, other) not in self._given_up
                    and held.ledger.epoch == attempt.epoch
                ):
                    self.fail(f"{process} has sealed {attempt} beside {other} on {name}")

    # --- readers ------------------------------------------------------------------------------

    def wrote(self, attempt: AttemptId, labels: dict[Label, Totals]) -> None:
        """Note what an attempt says that it wrote."""
        self._written[attempt] = labels

    def read(
        self, slot: object, reader: AttemptId, label: Label, service: str, origin: AttemptId
    ) -> None:
        """Note that an attempt has read a block.

        If all services have lost all they had, epochs start anew, and names come a second time: so
        what was read is kept for each slot process.
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


def check_tasks(machine: JobMachine) -> None:
    """Check that no task is forgotten, and that the counters agree with the tasks.

    Raises:
        AssertionError: They do not.
    """
    run = machine._run
    over = machine.outcome is not None
    live = {attempt for worker in run.workers for attempt in worker.live}
    assert run.workers.live == len(live)
    for attempt in live if not over else ():
        stage = run.stages[attempt.stage]
        assert stage.tasks[attempt.task].run_of(attempt), f"{attempt} blocks its worker"
    for stage in run.stages:
        counts = stage.counts()
        states = Counter(task.state for task in stage.tasks)
        assert counts.done == states[TaskState.DONE]
        assert counts.running == states[TaskState.RUNNING] + states[TaskState.SEALING]
        assert counts.waiting >= 0
        if over:
            continue
        assert len(stage.queue) == states[TaskState.READY]
        assert (
            not stage.queue
            or run.workers.takers(stage.chosen_as).workers
            or all(w.draining or not w.stages.takes(stage.chosen_as) for w in run.workers)
        ), "ready tasks wait, and all who take them are excluded"
        assert stage.open or not stage.queue
        for task in stage.tasks:
            # Nobody is forgotten: each unfinished task has something that will move it on.
            if task.state is TaskState.RUNNING:
                assert {one.id for one in task.live} <= live, f"{task} runs nowhere"
            elif task.state is TaskState.WAITING and stage.open:
                assert task.ref in run._pauses._newest, f"{task} is forgotten"
        sums = sum(
            (task.output is not None and task.output.table != b"" and i not in stage.missing)
            and task.state is TaskState.DONE
            for i, task in enumerate(stage.tasks)
        )
        assert (sums == 0) == (stage.outputs.total.blocks == 0)
        if stage.missing:
            assert all(stage.tasks[i].state is TaskState.DONE for i in stage.missing)
