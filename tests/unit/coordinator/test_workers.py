"""What workers and the coordinator say to each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.core.actions import Action, Assign, CancelAttempt, HandBack, Work
from disco_engine.core.events import (
    AttemptFailed,
    AttemptFinished,
    AttemptReturned,
    CreditGranted,
    Event,
    OutputLost,
    ServiceAttached,
    WorkerDraining,
    WorkerHeard,
    WorkerJoined,
    WorkerLost,
)
from disco_engine.core.model import (
    AttemptId,
    FailureKind,
    Group,
    ServiceId,
    Source,
    TaskInput,
    Totals,
    WorkerId,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.unit.coordinator.conftest import Coordinator, FakeMachine, FakePartition

W1 = WorkerId("w1")


def attempt(task: int) -> AttemptId:
    return AttemptId(1, task, 1, 1)


def ref(task: int) -> common_pb2.AttemptRef:
    return common_pb2.AttemptRef(stage=1, task=task, epoch=1, attempt=1)


def assign(task: int, worker: WorkerId = W1) -> Assign:
    return Assign(worker=worker, id=attempt(task), work=Work.RUN, stage_name="map")


def finished(task: int) -> coordinator_pb2.AttemptReport:
    return coordinator_pb2.AttemptReport(
        attempt=ref(task), finished=coordinator_pb2.AttemptResult(seconds=0.5)
    )


def failed(task: int, **failure: str) -> coordinator_pb2.AttemptReport:
    return coordinator_pb2.AttemptReport(
        attempt=ref(task),
        failed=common_pb2.Failure(kind=common_pb2.FAILURE_KIND_INFRASTRUCTURE, **failure),
    )


class Assigning:
    """Assigns a worker as many tasks as it gives credit for, numbered from 0."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self, event: Event) -> list[Action]:
        if not isinstance(event, CreditGranted):
            return []
        first, self.given = self.given, self.given + event.tasks
        return [assign(task, event.worker) for task in range(first, self.given)]


async def test_a_worker_is_welcomed_with_the_epoch_the_job_and_how_often_to_be_heard(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    await coordinator.start()
    welcome = await coordinator.worker().hello(epoch=3, attempts=[ref(7)])
    assert welcome.epoch == machine.epoch
    assert welcome.job.uid == "job-1"
    assert welcome.heartbeat_s == 20.0
    joined = await machine.hears(WorkerJoined)
    assert (joined.worker, joined.node, joined.slots) == ("w1", "n1", 2)
    assert joined.attempts == {attempt(7)}


async def test_a_call_without_the_token_is_refused(coordinator: Coordinator) -> None:
    await coordinator.start()
    worker = coordinator.worker(token="guessed")
    assert await worker.hear_end() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_worker_that_does_not_say_hello_first_is_refused(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    await coordinator.start()
    worker = coordinator.worker()
    await worker.say(credit=coordinator_pb2.Credit(tasks=1))
    assert await worker.hear_end() is grpc.StatusCode.INVALID_ARGUMENT
    assert machine.heard(WorkerJoined) == []


async def test_tasks_assigned_together_travel_together(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = Assigning()
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await worker.say(credit=coordinator_pb2.Credit(tasks=500))
    message = await worker.hear()
    assert [task.attempt.task for task in message.assignments.tasks] == list(range(500))


async def test_large_tasks_travel_in_messages_that_grpc_can_carry(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    inputs = (TaskInput(urls=("/" + "long" * 250_000,)),)
    tasks = [replace(assign(task), inputs=inputs) for task in range(100)]
    machine.script = lambda event: tasks if isinstance(event, CreditGranted) else []
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await worker.say(credit=coordinator_pb2.Credit(tasks=100))
    sizes: list[int] = []
    while sum(sizes) < 100:
        message = await worker.hear()
        assert message.ByteSize() < 5_000_000
        sizes.append(len(message.assignments.tasks))
    assert sum(sizes) == 100


async def test_a_task_travels_with_all_the_machine_said(
    machine: FakeMachine, coordinator: Coordinator, service: FakePartition
) -> None:
    ps0 = ServiceId("ps-0")
    source = Source(service=ps0, stage=1, label=-3, task=None, expected=Totals(1, 2, 3))
    reduce = Assign(
        worker=W1,
        id=AttemptId(2, 0, 1, 4),
        work=Work.RUN,
        stage_name="reduce",
        group=Group(label=-3),
        sources=(source,),
        push_to=ps0,
        sort_output=True,
    )
    commit = Assign(
        worker=W1,
        id=AttemptId(3, 0, 1, 1),
        work=Work.COMMIT,
        stage_name="commit",
        output_files=("b", "a"),
    )
    plan = Assign(worker=W1, id=AttemptId(0, 0, 1, 1), work=Work.PLAN, stage_name="plan")
    machine.script = lambda event: (
        [plan, reduce, commit] if isinstance(event, CreditGranted) else []
    )
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await worker.say(credit=coordinator_pb2.Credit(tasks=3))
    planning, running, committing = (await worker.hear()).assignments.tasks
    assert planning.HasField("plan")
    assert (running.attempt.attempt, running.stage_name) == (4, "reduce")
    assert (running.run.plan_stage, running.run.sort_output) == (1, True)
    assert running.run.group.label == -3
    assert not running.run.group.HasField("node")
    assert running.run.push_to.address == service.address
    (wired,) = running.run.sources
    assert (wired.service.address, wired.stage, wired.label) == (service.address, 1, -3)
    assert not wired.HasField("task")
    assert (wired.expected.blocks, wired.expected.records, wired.expected.bytes) == (1, 2, 3)
    assert list(committing.commit.output_files) == ["b", "a"]


async def test_reports_reach_the_machine_in_order_and_are_confirmed(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await worker.report(finished(1), failed(2, message="ps-0 went away"), finished(3))
    assert (await worker.hear()).confirm.reports == 3
    reported = [
        (type(event), event.id)
        for event in machine.events
        if isinstance(event, AttemptFinished | AttemptFailed)
    ]
    assert reported == [
        (AttemptFinished, attempt(1)),
        (AttemptFailed, attempt(2)),
        (AttemptFinished, attempt(3)),
    ]


async def test_a_plan_that_makes_no_sense_fails_the_job_not_the_coordinator(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    report = finished(0)
    report.finished.plan.stages.add(name="map", grouping=77)
    await worker.report(report)
    event = await machine.hears(AttemptFailed)
    assert event.failure.kind is FailureKind.FATAL
    assert "unknown grouping 77" in event.failure.message


async def test_cancelled_attempts_of_one_reason_travel_together(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    cancels = [CancelAttempt(worker=W1, id=attempt(t), reason="a rival won") for t in (1, 2)]
    machine.script = lambda event: (
        [assign(3), *cancels, assign(4)] if isinstance(event, CreditGranted) else []
    )
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await worker.say(credit=coordinator_pb2.Credit(tasks=2))
    messages = [await worker.hear() for _ in range(3)]
    assert [message.WhichOneof("body") for message in messages] == [
        "assignments",
        "cancel",
        "assignments",
    ]
    assert messages[1].cancel.reason == "a rival won"
    assert [lost.task for lost in messages[1].cancel.attempts] == [1, 2]


async def test_a_worker_is_asked_for_what_it_has_not_started_and_gives_it_back(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    question = HandBack(worker=W1, tasks=2, stages=(1, 3))
    machine.script = lambda event: [question] if isinstance(event, CreditGranted) else []
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await worker.say(credit=coordinator_pb2.Credit(tasks=2))
    hand_back = (await worker.hear()).hand_back
    assert (hand_back.tasks, list(hand_back.stages)) == (2, [1, 3])
    returned = coordinator_pb2.Returned()
    await worker.report(coordinator_pb2.AttemptReport(attempt=ref(1), returned=returned))
    assert (await machine.hears(AttemptReturned)).id == attempt(1)
    assert machine.heard(AttemptFailed) == []


async def test_a_worker_whose_stream_breaks_has_its_lease_to_come_back(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    await coordinator.start()
    first = coordinator.worker()
    await first.hello()
    first.die()
    second = coordinator.worker()
    await second.hello(epoch=1, attempts=[ref(5)])
    again = await machine.hears(WorkerJoined, times=2)
    assert again.attempts == {attempt(5)}
    assert machine.heard(WorkerLost) == []


async def test_a_worker_that_does_not_come_back_in_its_lease_is_lost(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    coordinator.settings = replace(coordinator.settings, worker_lease_s=0.3)
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    worker.die()
    lost = await machine.hears(WorkerLost)
    assert (lost.worker, lost.reason) == ("w1", "nothing was heard of it for 0.3 s")
    late = coordinator.worker()
    await late.hello()
    assert (await machine.hears(WorkerJoined, times=2)).worker == "w1"


async def test_a_connected_worker_that_is_silent_for_its_lease_is_lost_and_must_connect_again(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    coordinator.settings = replace(coordinator.settings, worker_lease_s=0.3)
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await machine.hears(WorkerLost)
    assert await worker.hear_end() is grpc.StatusCode.UNAVAILABLE


async def test_heartbeats_keep_a_worker(machine: FakeMachine, coordinator: Coordinator) -> None:
    coordinator.settings = replace(coordinator.settings, worker_lease_s=1.5)
    await coordinator.start()
    silent, lively = coordinator.worker("silent"), coordinator.worker("lively")
    await silent.hello()
    await lively.hello()
    while not machine.heard(WorkerLost):
        beats = len(machine.heard(WorkerHeard))
        await lively.say(heartbeat=coordinator_pb2.Heartbeat())
        await machine.hears(WorkerHeard, times=beats + 1)
    assert [event.worker for event in machine.heard(WorkerLost)] == ["silent"]


async def test_a_second_stream_of_a_worker_replaces_the_first(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = Assigning()
    await coordinator.start()
    first, second = coordinator.worker(), coordinator.worker()
    await first.hello()
    await second.hello()
    assert await first.hear_end() is grpc.StatusCode.UNAVAILABLE
    await second.say(credit=coordinator_pb2.Credit(tasks=1))
    assert len((await second.hear()).assignments.tasks) == 1
    assert machine.heard(WorkerLost) == []


async def test_a_draining_worker_is_gone_when_its_stream_ends(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await worker.say(draining=coordinator_pb2.Draining())
    await machine.hears(WorkerDraining)
    await worker.leave()
    assert "drained" in (await machine.hears(WorkerLost)).reason
    assert await worker.hear_end() is grpc.StatusCode.OK


async def test_a_worker_that_reads_nothing_holds_nobody_up(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    inputs = (TaskInput(urls=("/" + "long" * 250_000,)),)

    def script(event: Event) -> list[Action]:
        if not isinstance(event, CreditGranted):
            return []
        return [replace(assign(t, event.worker), inputs=inputs) for t in range(event.tasks)]

    machine.script = script
    await coordinator.start()
    deaf, lively = coordinator.worker("deaf"), coordinator.worker("lively")
    await deaf.say(hello=coordinator_pb2.Hello(worker_id="deaf", slots=1))
    await lively.hello()
    await deaf.say(credit=coordinator_pb2.Credit(tasks=100))
    await machine.hears(CreditGranted)
    await lively.say(credit=coordinator_pb2.Credit(tasks=1))
    assert len((await lively.hear()).assignments.tasks) == 1
    replacement = coordinator.worker("deaf")  # its stream, stuck in a write, ends all the same
    await replacement.hello()


async def test_a_worker_that_dies_while_it_is_written_to_leaves_no_error_behind(
    machine: FakeMachine, coordinator: Coordinator, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator.settings = replace(coordinator.settings, worker_lease_s=0.5)
    inputs = (TaskInput(urls=("/" + "long" * 1_000_000,)),)
    many = [replace(assign(task), inputs=inputs) for task in range(50)]
    machine.script = lambda event: many if isinstance(event, CreditGranted) else []
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await worker.say(credit=coordinator_pb2.Credit(tasks=50))
    await worker.hear()
    await worker.channel.close()
    await machine.hears(WorkerLost)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_unbounded_queue_is_not_kept_for_a_worker_that_reads_nothing(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    inputs = (TaskInput(urls=("/" + "long" * 1_000_000,)),)

    def script(event: Event) -> list[Action]:
        if not isinstance(event, CreditGranted):
            return []
        return [replace(assign(t, event.worker), inputs=inputs) for t in range(event.tasks)]

    machine.script = script
    await coordinator.start()
    deaf = coordinator.worker()
    await deaf.say(hello=coordinator_pb2.Hello(worker_id="w1", slots=1))
    await deaf.say(credit=coordinator_pb2.Credit(tasks=400))
    assert await deaf.hear_end() is grpc.StatusCode.UNAVAILABLE


async def test_a_report_that_names_a_service_has_its_inventory_compared(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    await worker.report(
        failed(1, message="label 3 from ps-0: 4 blocks expected", input="label 3 from ps-0")
    )
    await machine.hears(ServiceAttached, times=2)
    assert service.attached == [0, 1, 1]


async def test_a_damaged_output_is_told_before_the_failure_and_named_by_its_service(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    report = failed(1, message="bad checksum", input="label 3 from ps-0")
    report.damaged.CopyFrom(common_pb2.AttemptRef(stage=1, task=9, epoch=1, attempt=2))
    await worker.report(report)
    await machine.hears(AttemptFailed)
    told = [one for one in machine.events if isinstance(one, OutputLost | AttemptFailed)]
    lost, blamed = told  # ticks may come in between
    assert isinstance(lost, OutputLost)
    assert (lost.id, lost.service) == (AttemptId(1, 9, 1, 2), "ps-0")
    assert lost.reason == "ps-0 sent it damaged to task 1 of stage 1"
    assert isinstance(blamed, AttemptFailed)
    # Nothing more needs to be asked of the service: it is known what is wrong.
    assert service.attached == [0, 1]


async def test_a_damaged_output_without_a_name_is_looked_for_at_every_service(
    machine: FakeMachine,
    coordinator: Coordinator,
    start_service: Callable[[str], Awaitable[FakePartition]],
) -> None:
    coordinator.services.append(await start_service("ps-1"))
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    report = failed(1, message="bad checksum")
    report.damaged.CopyFrom(ref(9))
    await worker.report(report)
    await machine.hears(OutputLost, times=2)
    assert [event.service for event in machine.heard(OutputLost)] == ["ps-0", "ps-1"]
