"""What workers may queue, and how it comes back when others have nothing to do."""

from typing import TYPE_CHECKING

import pytest

from disco_engine.core.actions import Announce, Assign, Discard, HandBack, Work
from disco_engine.core.model import AttemptId, Grouping, NodeName, ServiceId, TaskInput, WorkerId
from disco_engine.core.recalls import PATIENCE_S, Recalls
from disco_engine.core.services import ServicePool
from disco_engine.core.stages import StageRun
from disco_engine.core.task_events import Run, Started
from disco_engine.core.task_state import Limits
from disco_engine.core.values import ValueBook
from disco_engine.core.workers import StageFilter, Worker, WorkerPool

if TYPE_CHECKING:
    from tests.unit.core.conftest import World

W0, W1, W2 = WorkerId("w0"), WorkerId("w1"), WorkerId("w2")
PS0 = ServiceId("ps-0")


def first_alone(make_world: "type[World]", *groupings: Grouping, workers: int = 2) -> "World":
    """Return a world of 9 inputs in which only the first worker is there; it takes any number."""
    world = make_world(groupings, inputs=9, workers=workers)
    for worker in list(world.workers.values())[1:]:
        worker.alive = False
    come(world, W0, credit=400)
    return world


def come(world: "World", name: WorkerId, credit: int = 0) -> None:
    """Let a worker say hello; *credit* is beyond what every worker gives."""
    world.workers[name].alive = True
    world.connect(world.workers[name])
    world.grant(world.workers[name], credit)
    while world.from_worker[name]:
        world.deliver_from_worker(name)


def held(world: "World") -> list[int]:
    return [len(worker.live) for worker in world.machine._run.workers]


# --- what a worker may queue ------------------------------------------------------------------


def test_nobody_queues_tasks_of_a_stage_of_which_none_is_done(make_world: "type[World]") -> None:
    """After a stage of millisecond tasks, one worker took all of the next, which took minutes.

    Its credit followed the tasks it had run, and the others, who came half a second later, found
    nothing: 9 tasks ran one after the other while 4 of 5 workers were idle.
    """
    world = first_alone(make_world, Grouping.SPLIT, Grouping.SPLIT, workers=3)
    while world.machine.plan is None or not world.machine._run.stages[2].any_running:
        world.round()
    assert world.machine.stage_counts()[1].waiting > 8
    assert held(world) == [1]
    come(world, W1)
    come(world, W2)
    assert held(world) == [1, 1, 1]
    world.settle()
    world.check_result()


# --- how it comes back ------------------------------------------------------------------------


def test_what_waits_in_a_worker_comes_back_for_one_that_comes_late(
    make_world: "type[World]",
) -> None:
    world = first_alone(make_world, Grouping.SPLIT)
    actions: list[object] = []
    carry_out = world.carry_out

    def note(action: object) -> None:
        actions.append(action)
        carry_out(action)  # type: ignore[arg-type]

    world.carry_out = note  # type: ignore[method-assign]
    while world.machine.plan is None or held(world)[0] < 5:
        world.round()
    running = held(world)[0]
    come(world, W1)
    assert held(world) == [running, 0]
    actions.clear()
    world.tick(0.1)
    assert actions == [HandBack(worker=W0, tasks=1, stages=(1,))]
    world.tick(0.1)  # it was asked already
    while world.to_worker[W0]:
        world.deliver_to_worker(W0)
    while world.from_worker[W0] and held(world)[1] == 0:
        world.deliver_from_worker(W0)
    (assign,) = [action for action in actions if isinstance(action, Assign)]
    (discard,) = [action for action in actions if isinstance(action, Discard)]
    assert (assign.worker, assign.id.attempt) == (W1, 2)
    assert discard.id == assign.id._replace(attempt=1)
    assert not [action for action in actions if isinstance(action, Announce)]
    assert world.machine.stage_counts()[0].retries == 0
    task = world.machine._run.stages[1].tasks[assign.id.task]
    assert (task.failures, task.losses) == (0, 0)
    world.check()
    world.settle()
    world.check_result()


class Place:
    """A stage of 20 tasks, and workers of one slot that have some of them."""

    def __init__(self, *workers: WorkerId) -> None:
        inputs = tuple(TaskInput(urls=(f"in-{i}",)) for i in range(20))
        self.stage = StageRun(
            1,
            Work.RUN,
            "map",
            limits=Limits(4, 20),
            values=ValueBook(),
            how=Grouping.SPLIT,
            inputs=inputs,
        )
        self.stage.plan()
        self.stage.open_inputs(renewed=False)
        self.pool = WorkerPool(10.0, 0)
        self.services = ServicePool([PS0])
        self.services.attach(PS0, NodeName("n1"), "first")
        self.recalls = Recalls([self.stage], self.pool, self.services)
        self.given = 0
        for worker in workers:
            self.join(worker)

    def join(self, name: WorkerId, *refused: str) -> Worker:
        stages = StageFilter(other_than=frozenset(refused))
        worker = self.pool.join(name, NodeName("n1"), 1, 0.0, stages)
        worker.credit = 100
        return worker

    def give(self, name: WorkerId, tasks: int) -> None:
        worker = self.pool.get(name)
        assert worker is not None
        for _ in range(tasks):
            attempt = AttemptId(1, self.given, 1, 1)
            self.stage.apply(self.given, Started(Run(attempt, name, PS0)))
            self.pool.started(worker, attempt, 0.0)
            self.given += 1

    def asked(self, now: float) -> list[tuple[WorkerId, int]]:
        return [(question.worker, question.tasks) for question in self.recalls.ask(now)]


def test_nothing_is_asked_back_while_tasks_are_ready() -> None:
    place = Place(W0, W1)
    place.give(W0, 19)
    assert place.asked(1.0) == []
    place.give(W0, 1)
    assert place.asked(2.0) == [(W0, 1)]


def test_who_has_most_is_asked_first_and_then_who_was_not_asked() -> None:
    """One that has nothing to give (it only pushes, say) hides nobody who has."""
    place = Place(W0, W1, W2)
    place.give(W0, 3)
    place.give(W1, 17)
    assert place.asked(1.0) == [(W1, 1)]
    assert place.asked(1.0 + PATIENCE_S / 2) == []
    assert place.asked(1.0 + PATIENCE_S) == [(W0, 1)]
    place.recalls.returned()
    assert place.asked(1.1 + PATIENCE_S) == [(W1, 1)]


@pytest.mark.parametrize("why", ["refuses", "excluded", "full", "no credit", "closed"])
def test_nothing_is_asked_back_for_a_worker_that_could_not_start_it(why: str) -> None:
    place = Place(W0)
    late = place.join(W1, *(["map"] if why == "refuses" else []))
    place.give(W0, 20)
    if why == "excluded":
        place.pool.drain(W1)
    elif why == "full":
        place.services.set_full(PS0, True)
    elif why == "no credit":
        late.credit = 0
    elif why == "closed":
        place.stage.close_inputs()
    assert place.asked(1.0) == []


def test_a_draining_worker_is_asked_for_nothing() -> None:
    """It hands back what it has not started anyway."""
    place = Place(W0, W1)
    place.give(W0, 20)
    place.pool.drain(W0)
    assert place.asked(1.0) == []
