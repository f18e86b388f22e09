"""Workers that take tasks of some stages only: what they get, and that nothing waits for ever."""

from typing import TYPE_CHECKING

import pytest

from disco_engine.core.actions import Assign, Outcome
from disco_engine.core.events import WorkerDraining, WorkerLost
from disco_engine.core.model import FailureKind, Grouping, NodeName, TaskRef, WorkerId
from disco_engine.core.workers import ALL_STAGES, StageFilter, WorkerPool

if TYPE_CHECKING:
    from tests.unit.core.conftest import World

W0, W1 = WorkerId("w0"), WorkerId("w1")
N0, N1 = NodeName("n0"), NodeName("n1")
MAP_ONLY = StageFilter(only=frozenset({"map"}))
NO_MAP = StageFilter(other_than=frozenset({"map"}))


def two_stages(make_world: "type[World]", *refusals: str, inputs: int = 3) -> "World":
    """Return a job of s0 and s1 whose workers refuse what *refusals* say, one for each."""
    world = make_world((Grouping.SPLIT, Grouping.GROUP_LABEL), inputs=inputs)
    for worker, refused in zip(world.workers.values(), refusals, strict=True):
        worker.refuses = frozenset(refused.split())
    return world


def run_until_planned(world: "World") -> None:
    for worker in world.workers.values():
        world.connect(worker)
    while world.machine.plan is None:
        world.round()


def test_only_names_what_is_taken_and_except_what_is_not() -> None:
    both = StageFilter(frozenset({"map", "reduce"}), frozenset({"reduce"}))
    assert [f.takes("map") for f in (ALL_STAGES, MAP_ONLY, NO_MAP, both)] == [1, 1, 0, 1]
    assert [f.takes("reduce") for f in (ALL_STAGES, MAP_ONLY, NO_MAP, both)] == [1, 0, 1, 0]
    assert all(f.takes(None) for f in (ALL_STAGES, MAP_ONLY, NO_MAP, both))


def test_each_worker_gets_tasks_of_its_own_stages_only(make_world: "type[World]") -> None:
    world = two_stages(make_world, "s1", "s0")
    given: set[tuple[str, WorkerId]] = set()
    carry_out = world.carry_out

    def note(action: object) -> None:
        if isinstance(action, Assign):
            given.add((action.stage_name, action.worker))
        carry_out(action)  # type: ignore[arg-type]

    world.carry_out = note  # type: ignore[method-assign]
    world.settle()
    world.check_result()
    assert {who for stage, who in given if stage == "s0"} == {W0}
    assert {who for stage, who in given if stage == "s1"} == {W1}


def test_planning_and_committing_is_everybody_s_work(make_world: "type[World]") -> None:
    world = make_world((Grouping.SPLIT,), inputs=0, has_output=True, workers=1)
    world.workers[W0].refuses = frozenset({"plan", "commit", "s0"})
    world.settle()
    world.check_result()


def test_ready_tasks_wait_for_a_worker_that_takes_their_stage_and_the_job_says_so(
    make_world: "type[World]",
) -> None:
    world = two_stages(make_world, "s0", "s0")
    run_until_planned(world)
    assert world.machine.untaken_stages() == ["s0"]
    assert [counts.workers for counts in world.machine.stage_counts()] == [0, 2]
    world.workers[W1].refuses = frozenset()
    world.connect(world.workers[W1])
    world.round()
    assert world.machine.untaken_stages() == []
    assert [counts.workers for counts in world.machine.stage_counts()] == [1, 2]
    world.settle()
    world.check_result()


def test_a_stage_that_waits_for_its_inputs_misses_nobody(make_world: "type[World]") -> None:
    world = two_stages(make_world, "s1", "s1")
    run_until_planned(world)
    assert world.machine.untaken_stages() == []


def test_a_task_that_failed_does_not_wait_for_a_worker_that_never_takes_it(
    make_world: "type[World]",
) -> None:
    """It would mind the worker it failed on for some seconds, if there were another one."""
    world = two_stages(make_world, "", "s0", inputs=2)
    run_until_planned(world)
    worker = world.workers[W0]
    while worker.slot is None:
        world.deliver_from_worker(W0)
        world.deliver_to_worker(W0)
        world.begin_attempt(worker)
    world.fail(worker, worker.slot[0], FailureKind.USER, "boom")
    while world.from_worker[W0]:
        world.deliver_from_worker(W0)
    assert not world.machine._run.workers.live
    world.tick(2.0)  # its pause is over
    assert world.machine._run.workers.live


def test_a_worker_holds_its_share_of_the_stages_it_takes() -> None:
    pool = WorkerPool(10.0, 0)
    pool.join(W0, N0, 2, 0.0, MAP_ONLY)
    pool.join(W1, N1, 3, 0.0)
    assert pool.takers("map") == (2, 5, 2)
    assert pool.takers("reduce") == (1, 3, 1)
    assert pool.takers(None) == (2, 5, 2)
    pool.drain(W1)
    assert pool.takers("reduce") == (0, 0, 0)


def test_a_worker_may_come_back_with_other_stages() -> None:
    pool = WorkerPool(10.0, 0)
    pool.join(W0, N0, 1, 0.0, MAP_ONLY)
    pool.join(W0, N0, 1, 1.0, NO_MAP)
    assert (pool.takers("map").workers, pool.takers("reduce").workers) == (0, 1)


def test_the_last_worker_that_takes_a_stage_is_not_excluded_for_its_failures() -> None:
    pool = WorkerPool(10.0, 2)
    pool.join(W0, N0, 1, 0.0)
    pool.join(W1, N1, 1, 0.0, NO_MAP)
    pool.note_failure(W0, TaskRef(1, 1), 0.0, "map")
    assert not pool.note_failure(W0, TaskRef(1, 2), 0.0, "map")
    assert pool.note_failure(W0, TaskRef(2, 1), 0.0, "reduce")


def excluded_pool() -> WorkerPool:
    """Return two workers that take everything, of which w0 is excluded, and one for reduce."""
    pool = WorkerPool(10.0, 1)
    pool.join(W0, N0, 1, 0.0)
    pool.join(W1, N1, 1, 0.0)
    pool.join(WorkerId("w2"), N1, 1, 0.0, NO_MAP)
    assert pool.note_failure(W0, TaskRef(1, 1), 0.0, "map")
    assert not pool.find_taker("map")
    return pool


def test_an_exclusion_is_lifted_when_ready_tasks_have_nobody_else() -> None:
    pool = excluded_pool()
    pool.lose(W1)
    assert not pool.find_taker("reduce")
    assert pool.usable(W0) is None
    assert pool.find_taker("map")
    assert pool.usable(W0) is not None
    assert not pool.find_taker("map")


def test_lifting_the_exclusion_of_one_that_drains_would_help_nobody() -> None:
    pool = excluded_pool()
    pool.drain(W0)
    pool.lose(W1)
    assert not pool.find_taker("map")
    assert pool.excluded == [W0]


@pytest.mark.parametrize("leaving", [WorkerDraining(worker=W1), WorkerLost(worker=W1, reason="")])
def test_an_excluded_worker_goes_on_when_the_other_that_takes_its_stage_leaves(
    make_world: "type[World]", leaving: WorkerDraining | WorkerLost
) -> None:
    world = two_stages(make_world, "", "", inputs=8)
    run_until_planned(world)
    bad = world.workers[W0]
    while not world.machine._run.workers.excluded:
        world.deliver_to_worker(W0)
        world.begin_attempt(bad)
        if bad.slot is not None:
            world.fail(bad, bad.slot[0], FailureKind.USER, "boom")
        while world.from_worker[W0]:
            world.deliver_from_worker(W0)
        world.tick(0.1)
    world.tell(leaving)
    world.workers[W1].alive = False
    for _ in range(100):
        if world.finished is None:
            world.round()
    assert world.finished is not None
    assert world.finished.outcome is Outcome.SUCCEEDED
