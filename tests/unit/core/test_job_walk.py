"""A small job, and everything that can happen next at every moment of its life."""

import pickle
from collections import deque
from typing import TYPE_CHECKING

import pytest

from disco_engine.core.actions import HandBack
from disco_engine.core.model import Grouping, ServiceId, WorkerId

if TYPE_CHECKING:
    from tests.unit.core.conftest import FakeService, FakeWorker, World

Move = tuple[str, str]


def moves_of(world: "World", faults: int) -> list[Move]:
    """Return all that can happen next in *world*, with at most *faults* more faults."""
    moves: list[Move] = [("tick", "")]
    if world.recording is not None:
        moves.append(("record", ""))
    for name, service in world.services.items():
        if not service.attached and not world.from_service[name]:
            moves.append(("attach", name))
        moves += [("hear service", name)] if world.from_service[name] else []
        moves += [("tell service", name)] if world.to_service[name] else []
        moves += [("restart service", name), ("lose service", name)] if faults else []
        moves += [("damage", name)] if faults and service.sealed else []
    for name_, worker in world.workers.items():
        moves += [("hear worker", name_)] if world.from_worker[name_] else []
        moves += [("tell worker", name_)] if world.to_worker[name_] else []
        if worker.slot:
            moves.append(("end", name_))
        elif worker.assigned:
            moves.append(("begin", name_))
            moves += [("hand back", name_)] if faults else []
        moves += [("restart worker", name_), ("reconnect", name_)] if faults else []
    return moves + ([("restart coordinator", "")] if faults else [])


def move(world: "World", what: str, name: str) -> None:
    service = world.services.get(ServiceId(name))
    worker = world.workers.get(WorkerId(name))
    if service is not None:
        move_service(world, what, service)
    elif worker is not None:
        move_worker(world, what, worker)
    elif what == "tick":
        world.tick(10.0)
    elif what == "record":
        world.record_plan()
    else:
        world.start_coordinator()
        for one in world.workers.values():
            world.connect(one)


def move_service(world: "World", what: str, service: "FakeService") -> None:
    match what:
        case "attach":
            world.attach(service)
        case "hear service":
            while world.from_service[service.name]:
                world.deliver_from_service(service.name)
        case "tell service":
            while world.to_service[service.name]:
                world.deliver_to_service(service.name)
        case "restart service":
            world.restart_service(service, 1)
        case "lose service":
            world.lose_service(service)
        case _:
            world.damage(service, 0)


def move_worker(world: "World", what: str, worker: "FakeWorker") -> None:
    match what:
        case "hear worker":
            while world.from_worker[worker.name]:
                world.deliver_from_worker(worker.name)
        case "tell worker":
            while world.to_worker[worker.name]:
                world.deliver_to_worker(worker.name)
        case "begin":
            world.begin_attempt(worker)
        case "end":
            world.end_attempt(worker)
        case "hand back":
            world.hand_back(worker, worker.assigned[-1].id)
        case "restart worker":
            world.kill_worker(worker)
            worker.alive = True
            world.connect(worker)
        case _:
            world.connect(worker)


def picture(world: "World") -> int:
    """Return what tells two worlds apart, but for the time."""
    run = world.machine._run
    return hash(
        repr(
            [
                [(stage.open, stage.tasks, sorted(stage.missing)) for stage in run.stages],
                [(one.name, one.assigned, one.slot, one.unconfirmed)
                 for one in world.workers.values()],
                [(one.id, one.credit, sorted(one.live)) for one in run.workers],
                [(one.name, sorted(one.sealed), sorted(one.data), one.attached, one.plan)
                 for one in world.services.values()],
                [(one.id, sorted(one.unsealed)) for one in run.services],
                [world.to_service, world.from_service, world.to_worker, world.from_worker],
                [world.recording, world.finished, world.epoch],
            ]
        )
    )  # fmt: skip


def quiet_run(world: "World") -> list[bytes]:
    """Return a job's worlds from its start to its end, if nothing goes wrong."""
    worlds = []
    while world.finished is None:
        worlds.append(pickle.dumps(world))
        choices = [one for one in moves_of(world, faults=0) if one[0] != "tick"]
        move(world, *choices[len(worlds) % len(choices)] if choices else ("tick", ""))
    return worlds


@pytest.mark.parametrize("second", [Grouping.GROUP_LABEL, Grouping.GROUP_NODE])
def test_no_two_faults_at_any_moment_break_a_small_job(
    second: Grouping, make_world: "type[World]"
) -> None:
    """Walk a job of 2 stages, 2 tasks each, with 2 workers and 2 services.

    From every moment of its life: everything that can happen next and after that, faults included.
    From every world that this reaches, peace must lead to the right result.
    """
    world = make_world((Grouping.SPLIT, second), inputs=2)
    for worker in world.workers.values():
        world.connect(worker)
    walk(world)


def test_no_two_faults_break_a_job_whose_second_worker_comes_when_all_is_given_out(
    make_world: "type[World]",
) -> None:
    """The same, from when the first worker has a queue, some of which it must hand back."""
    world = make_world((Grouping.SPLIT,), inputs=6, credit=8)
    early, late = world.workers.values()
    late.alive = False
    world.connect(early)
    while len(early.assigned) < 2:
        world.round()
    late.alive = True
    world.connect(late)
    while world.from_worker[late.name]:
        world.deliver_from_worker(late.name)
    world.tick(1.0)
    assert [type(order) for order in world.to_worker[early.name]] == [HandBack]
    walk(world)


@pytest.mark.parametrize("has_output", [False, True])
def test_no_three_faults_break_a_job_whose_last_task_is_tried_by_two(
    has_output: bool, make_world: "type[World]"
) -> None:
    """The same, from when a slow attempt has got a rival, which pushes to another service."""
    world = make_world((Grouping.SPLIT,), inputs=2, has_output=has_output, rivals=True)
    slow, other = world.workers.values()
    for worker in world.workers.values():
        world.connect(worker)
    while world.recording is None:
        world.round()
    for _ in range(5):
        world.round(slow=slow.name)
    (stage,) = world.machine._run.plan_stages
    assert (stage.any_done, stage.rivals, world.finished) == (True, 1, None)
    (contested,) = (task for task in stage.tasks if task.live)
    first, rival = contested.live
    assert (first.worker, rival.worker) == (slow.name, other.name)
    assert has_output or first.service != rival.service
    walk(world, depth=3)


def walk(world: "World", depth: int = 2) -> None:
    todo = deque((frozen, depth) for frozen in quiet_run(world))
    seen: set[tuple[int, int]] = set()
    while todo:
        frozen, left = todo.popleft()
        for what, name in moves_of(pickle.loads(frozen), faults=left):
            world = pickle.loads(frozen)
            move(world, what, name)
            world.check()
            key = picture(world), left
            if world.finished is not None or key in seen:
                continue
            seen.add(key)
            if left > 1:
                todo.append((pickle.dumps(world), left - 1))
            else:
                world.settle()
                world.check_result()
    assert len(seen) > 1000
