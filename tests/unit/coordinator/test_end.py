"""How a job ends, and how a coordinator does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.core.actions import (
    Action,
    Assign,
    CancelAttempt,
    FinishJob,
    JobPhase,
    Outcome,
    Work,
)
from disco_engine.core.events import CancelRequested, CreditGranted, Event, WorkerJoined
from disco_engine.core.model import AttemptId, WorkerId

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import Coordinator, FakeMachine, FakeWorker

CANCELLED = FinishJob(outcome=Outcome.CANCELLED, message="a test wants it")


def cancelling(event: Event) -> list[Action]:
    return [CANCELLED] if isinstance(event, CancelRequested) else []


def cancelling_with_output(event: Event) -> list[Action]:
    return [replace(CANCELLED, remove_output=True)] if cancelling(event) else []


async def join(coordinator: Coordinator, *names: str) -> list[FakeWorker]:
    workers = [coordinator.worker(name) for name in names]
    for worker in workers:
        await worker.hello()
    return workers


async def told_to_finish(worker: FakeWorker) -> coordinator_pb2.Finish:
    message = await worker.hear()
    assert message.HasField("finish")
    return message.finish


async def test_cancelling_is_answered_at_once_and_stops_running_attempts(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    w1, id = WorkerId("w1"), AttemptId(1, 0, 1, 1)

    def script(event: Event) -> list[Action]:
        match event:
            case CreditGranted():
                return [Assign(worker=w1, id=id, work=Work.RUN, stage_name="map")]
            case CancelRequested(reason=reason):
                return [CancelAttempt(worker=w1, id=id, reason=reason), CANCELLED]
            case _:
                return []

    machine.script = script
    await coordinator.start()
    (worker,) = await join(coordinator, "w1")
    await worker.say(credit=coordinator_pb2.Credit(tasks=1))
    await worker.hear()
    reply = await coordinator.cancel(coordinator.stub(), "enough")
    assert not reply.already_over
    assert machine.heard(CancelRequested) == [CancelRequested(reason="enough")]
    told = (await worker.hear()).cancel
    assert (told.reason, [a.task for a in told.attempts]) == ("enough", [0])
    assert not (await told_to_finish(worker)).remove_output


async def test_cancelling_a_job_that_is_over_says_so(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = cancelling
    await coordinator.start()
    stub = coordinator.stub()
    assert not (await coordinator.cancel(stub)).already_over
    assert (await coordinator.cancel(stub)).already_over
    assert len(machine.heard(CancelRequested)) == 1


async def test_a_worker_that_comes_when_the_job_is_over_is_welcomed_and_sent_home(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = cancelling
    await coordinator.start()
    await coordinator.cancel(coordinator.stub())
    (worker,) = await join(coordinator, "late")
    assert not (await told_to_finish(worker)).remove_output
    assert machine.heard(WorkerJoined) == []


async def test_what_is_reported_after_the_end_is_confirmed_and_changes_nothing(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = cancelling
    await coordinator.start()
    (worker,) = await join(coordinator, "w1")
    await coordinator.cancel(coordinator.stub())
    await told_to_finish(worker)
    before = len(machine.events)
    ref = common_pb2.AttemptRef(stage=1, task=1, epoch=1, attempt=1)
    await worker.report(coordinator_pb2.AttemptReport(attempt=ref))
    assert (await worker.hear()).confirm.reports == 1
    assert len(machine.events) == before


async def test_one_worker_removes_the_output_after_the_others_have_ended(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    """The others' slots write until they are killed, and would write after the removal."""
    machine.script = cancelling_with_output
    await coordinator.start()
    remover, other, third = await join(coordinator, "w1", "w2", "w3")
    await coordinator.cancel(coordinator.stub())
    assert not (await told_to_finish(other)).remove_output
    assert not (await told_to_finish(third)).remove_output
    await other.leave()
    await third.leave()
    assert (await told_to_finish(remover)).remove_output
    await remover.leave()
    (late,) = await join(coordinator, "late")
    assert not (await told_to_finish(late)).remove_output


async def test_the_job_is_over_for_watchers_when_its_output_is_removed(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = cancelling_with_output
    await coordinator.start()
    (remover,) = await join(coordinator, "w1")
    watch = coordinator.watch()
    first = await watch.read()
    await coordinator.cancel(coordinator.stub())
    assert (await told_to_finish(remover)).remove_output
    assert first.progress.phase == coordinator_pb2.JOB_PHASE_RUNNING
    machine.phase = JobPhase.CANCELLED
    await remover.leave()
    last = (await watch.rest())[-1].progress
    assert last.phase == coordinator_pb2.JOB_PHASE_CANCELLED
    assert last.message == "a test wants it"


async def test_another_worker_is_asked_when_the_one_that_removes_the_output_dies(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = cancelling_with_output
    await coordinator.start()
    (remover,) = await join(coordinator, "w1")
    await coordinator.cancel(coordinator.stub())
    assert (await told_to_finish(remover)).remove_output
    remover.die()
    (again,) = await join(coordinator, "w1")
    assert (await told_to_finish(again)).remove_output


async def test_a_bug_in_the_machine_ends_the_coordinator_whoever_brought_the_event(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    def script(event: Event) -> list[Action]:
        if isinstance(event, CreditGranted):
            raise ValueError("credit is not accepted here")
        return []

    machine.script = script
    await coordinator.start()
    (worker,) = await join(coordinator, "w1")
    await worker.say(credit=coordinator_pb2.Credit(tasks=1))
    error = await coordinator.failure()
    assert str(error) == "credit is not accepted here"


async def test_a_coordinator_that_is_stopped_lets_its_workers_go_without_finishing_them(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    await coordinator.start()
    (worker,) = await join(coordinator, "w1")
    coordinator.stop()
    assert (await worker.hear_end()).name == "UNAVAILABLE"
