"""A whole job under random faults: whatever happens, peace leads to the right result."""

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from disco_engine.core.model import FailureKind, Grouping

if TYPE_CHECKING:
    from tests.unit.core.conftest import FakeService, FakeWorker, World

GROUPINGS = st.lists(st.sampled_from(list(Grouping)), min_size=1, max_size=3).map(tuple)


class JobUnderFaults(RuleBasedStateMachine):
    """Random orders of messages, work and faults; then peace, in which the job must finish."""

    make_world: "type[World]"
    world: "World"

    @initialize(
        groupings=GROUPINGS,
        has_output=st.booleans(),
        inputs=st.integers(0, 5),
        credit=st.sampled_from([2, 8]),
        rounds=st.integers(0, 8),
        late=st.booleans(),
        refused_by=st.lists(st.sampled_from([None, 0, 1]), min_size=3, max_size=3),
        rivals=st.booleans(),
    )
    def start(
        self,
        groupings: tuple[Grouping, ...],
        has_output: bool,
        inputs: int,
        credit: int,
        rounds: int,
        late: bool,
        refused_by: list[int | None],
        rivals: bool,
    ) -> None:
        self.world = self.make_world(
            groupings, has_output=has_output, inputs=inputs, credit=credit, rivals=rivals
        )
        for number, worker in enumerate(self.world.workers.values()):
            worker.refuses = frozenset(f"s{i}" for i in range(3) if refused_by[i] == number)
            worker.alive = not (late and number)
            if worker.alive:
                self.world.connect(worker)
        for _ in range(rounds):
            self.go_on(1)

    def service(self, number: int) -> "FakeService":
        return list(self.world.services.values())[number]

    def worker(self, number: int) -> "FakeWorker":
        return list(self.world.workers.values())[number]

    # --- ordinary life ------------------------------------------------------------------------

    @rule(times=st.integers(1, 3))
    def go_on(self, times: int) -> None:
        for _ in range(times):
            if self.world.finished is None:
                self.world.round()

    @rule(number=st.integers(0, 1), times=st.integers(2, 4))
    def be_slow(self, number: int, times: int) -> None:
        """All work but one: near a stage's end, what that one runs gets a rival."""
        for _ in range(times):
            if self.world.finished is None:
                self.world.round(slow=self.worker(number).name)

    @rule(number=st.integers(0, 1))
    def attach(self, number: int) -> None:
        self.world.attach(self.service(number))

    @rule(number=st.integers(0, 1), times=st.integers(1, 3))
    def talk_to_service(self, number: int, times: int) -> None:
        for _ in range(times):
            self.world.deliver_to_service(self.service(number).name)

    @rule(number=st.integers(0, 1), times=st.integers(1, 3))
    def hear_service(self, number: int, times: int) -> None:
        for _ in range(times):
            self.world.deliver_from_service(self.service(number).name)

    @rule(number=st.integers(0, 1), times=st.integers(1, 3))
    def talk_to_worker(self, number: int, times: int) -> None:
        for _ in range(times):
            self.world.deliver_to_worker(self.worker(number).name)

    @rule(number=st.integers(0, 1), times=st.integers(1, 3), confirmed=st.booleans())
    def hear_worker(self, number: int, times: int, confirmed: bool) -> None:
        for _ in range(times):
            self.world.deliver_from_worker(self.worker(number).name, confirmed=confirmed)

    @rule()
    def record_plan(self) -> None:
        self.world.record_plan()

    @rule(number=st.integers(0, 1))
    def begin_attempt(self, number: int) -> None:
        self.world.begin_attempt(self.worker(number))

    @rule(number=st.integers(0, 1))
    def end_attempt(self, number: int) -> None:
        self.world.end_attempt(self.worker(number))

    @rule(seconds=st.sampled_from([0.05, 1.0, 8.0]))
    def tick(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule(number=st.integers(0, 1))
    def hand_back(self, number: int) -> None:
        """A worker may be slow to answer when it is asked, so that nobody needs it any more."""
        worker = self.worker(number)
        if worker.assigned:
            self.world.hand_back(worker, worker.assigned[-1].id)

    # --- faults -------------------------------------------------------------------------------

    @rule(number=st.integers(0, 1), kind=st.sampled_from([FailureKind.USER, FailureKind.DATA]))
    def fail_attempt(self, number: int, kind: FailureKind) -> None:
        worker = self.worker(number)
        if worker.slot is not None:
            self.world.fail(worker, worker.slot[0], kind, "boom")

    @rule(number=st.integers(0, 1))
    def kill_worker(self, number: int) -> None:
        self.world.kill_worker(self.worker(number))

    @rule(number=st.integers(0, 1))
    def lose_worker(self, number: int) -> None:
        self.world.lose_worker(self.worker(number))

    @rule(number=st.integers(0, 1))
    def reconnect_worker(self, number: int) -> None:
        worker = self.worker(number)
        worker.alive = True
        self.world.connect(worker)

    @rule(number=st.integers(0, 1), forget=st.integers(0, 2))
    def restart_service(self, number: int, forget: int) -> None:
        service = self.service(number)
        self.world.restart_service(service, forget)

    @rule(number=st.integers(0, 1))
    def kill_service(self, number: int) -> None:
        self.service(number).alive = False

    @rule(number=st.integers(0, 1))
    def lose_service(self, number: int) -> None:
        self.world.lose_service(self.service(number))

    @rule(number=st.integers(0, 1))
    def wipe_service(self, number: int) -> None:
        self.world.lose_service(self.service(number))
        self.service(number).wipe()

    @rule(number=st.integers(0, 1), which=st.integers(0, 5))
    def damage(self, number: int, which: int) -> None:
        self.world.damage(self.service(number), which)

    @precondition(lambda self: self.world.epoch < 4)
    @rule()
    def restart_coordinator(self) -> None:
        self.world.start_coordinator()
        for worker in self.world.workers.values():
            self.world.connect(worker)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        if self.world.finished is None:
            self.world.settle()
            self.world.check_result()


def test_a_job_survives_whatever_happens(make_world: "type[World]") -> None:
    class InThisWorld(JobUnderFaults):
        pass

    InThisWorld.make_world = make_world
    run_state_machine_as_test(
        InThisWorld,
        settings=settings(
            max_examples=200,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
