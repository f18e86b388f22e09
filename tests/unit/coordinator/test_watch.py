"""What watchers see of a job, and that they hold nothing up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.coordinator.eventlog import MAX_EVENT_CHARS
from disco_engine.core.actions import (
    Action,
    Announce,
    CancelAttempt,
    FinishJob,
    Outcome,
    ResultPart,
    StageCounts,
)
from disco_engine.core.events import (
    AttemptFinished,
    AttemptsProgressed,
    CancelRequested,
    CreditGranted,
    Event,
    ServiceAttached,
    Tick,
)
from disco_engine.core.model import (
    AttemptId,
    Failure,
    FailureKind,
    ServiceId,
    Totals,
    WorkerId,
)

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import Coordinator, FakeMachine, FakePartition


def announcing(event: Event) -> list[Action]:
    """Announce as many events as a worker gives credit for; end when asked to cancel."""
    match event:
        case CreditGranted(tasks=tasks):
            return [Announce(kind="status", text=f"event {number}") for number in range(tasks)]
        case CancelRequested():
            return [FinishJob(outcome=Outcome.SUCCEEDED)]
        case _:
            return []


async def announce(coordinator: Coordinator, machine: FakeMachine, events: int) -> None:
    worker = coordinator.worker("announcer")
    await worker.hello()
    before = len(machine.heard(CreditGranted))
    await worker.say(credit=coordinator_pb2.Credit(tasks=events))
    await machine.hears(CreditGranted, times=before + 1)


async def test_a_watcher_sees_progress_at_once_and_whenever_it_changes(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.counts = [StageCounts(name="map", total=3, waiting=2, running=1, started_s=1e12)]
    machine.script = announcing
    await coordinator.start()
    watch = coordinator.watch()
    first = (await watch.read()).progress
    assert (first.job_uid, first.name, first.epoch) == ("job-1", "a job", machine.epoch)
    assert first.message == "no worker is connected"
    (stage,) = first.stages
    assert (stage.name, stage.tasks_total, stage.tasks_running) == ("map", 3, 1)
    assert stage.finished_s == 0
    await announce(coordinator, machine, 1)
    while not (reply := await watch.read()).events:
        pass
    assert (reply.progress.workers, reply.progress.slots) == (1, 2)
    assert [event.text for event in reply.events] == ["event 0"]


@pytest.mark.parametrize(
    ("untaken", "message"),
    [
        ([], ""),
        (["reduce"], "no worker takes stage reduce"),
        (["map", "reduce"], "no worker takes stages map, reduce"),
    ],
)
async def test_watchers_hear_of_stages_that_no_worker_takes(
    machine: FakeMachine, coordinator: Coordinator, untaken: list[str], message: str
) -> None:
    machine.counts = [StageCounts(name="map", total=3, waiting=3, workers=2)]
    machine.untaken = untaken
    await coordinator.start()
    await coordinator.worker().hello()
    progress = (await coordinator.watch().read()).progress
    assert progress.message == message
    assert progress.stages[0].workers == 2


async def test_nothing_is_sent_while_nothing_changes(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    """The machine is told the time ten times a second; its watchers do not hear of that."""
    await coordinator.start()
    await machine.hears(ServiceAttached)
    watch = coordinator.watch()
    await watch.read()
    ticks = len(machine.heard(Tick))
    await machine.hears(Tick, times=ticks + 8)
    machine.counts = [StageCounts(name="map", total=1, waiting=1)]
    assert (await watch.read()).progress.stages  # and nothing came before it


async def test_events_are_numbered_without_gaps_and_can_be_resumed(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = announcing
    await coordinator.start()
    await announce(coordinator, machine, 10)
    everything = await coordinator.watch().read()
    assert [event.number for event in everything.events] == list(range(1, 11))
    assert everything.progress.last_event == 10
    rest = await coordinator.watch(after_event=7).read()
    assert [event.number for event in rest.events] == [8, 9, 10]
    # A number from a coordinator before this one: its events are gone, all of these are news.
    assert len((await coordinator.watch(after_event=11).read()).events) == 10


async def test_only_the_newest_events_are_kept(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = announcing
    await coordinator.start()
    await announce(coordinator, machine, 5_000)
    reply = await coordinator.watch().read()
    assert [event.number for event in reply.events] == list(range(3_001, 5_001))


async def test_the_last_snapshot_always_comes_and_ends_the_stream(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    ps0 = ServiceId("ps-0")
    machine.script = announcing
    machine.parts = [ResultPart(service=ps0, stage=2, task=0, totals=Totals(1, 20, 300))]
    await coordinator.start()
    watch = coordinator.watch()
    assert not (await watch.read()).progress.results
    await coordinator.cancel(coordinator.stub())
    replies = await watch.rest()
    last = replies[-1].progress
    assert last.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    (part,) = last.results
    assert (part.service.address, part.stage, part.totals.records) == (service.address, 2, 20)


async def test_who_comes_after_the_end_gets_one_reply(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = announcing
    await coordinator.start()
    await announce(coordinator, machine, 3)
    await coordinator.cancel(coordinator.stub())
    (reply,) = await coordinator.watch().rest()
    assert reply.progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert len(reply.events) == 3


async def test_failures_say_who_and_where_and_only_the_newest_are_kept(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    failure = Failure(kind=FailureKind.USER, message="ValueError: no", traceback="line 3")

    def script(event: Event) -> list[Action]:
        if not isinstance(event, CreditGranted):
            return []
        return [
            Announce(
                kind="task-failed",
                text="task 1 of map failed",
                stage_name="map",
                id=AttemptId(1, number, 1, 1),
                worker=WorkerId("announcer"),
                failure=failure,
            )
            for number in range(25)
        ]

    def script_and_end(event: Event) -> list[Action]:
        end = Announce(kind="job-finished", text="it failed", failure=failure)
        return [*script(event), end] if isinstance(event, CreditGranted) else []

    machine.script = script_and_end
    await coordinator.start()
    await announce(coordinator, machine, 1)
    reports = (await coordinator.watch().read()).progress.failures
    assert [report.attempt.task for report in reports] == list(range(5, 25))
    newest = reports[-1]
    assert (newest.worker_id, newest.node, newest.stage_name) == ("announcer", "n1", "map")
    assert (newest.failure.message, newest.failure.traceback) == ("ValueError: no", "line 3")


async def test_what_user_code_printed_becomes_an_event(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    ref = common_pb2.AttemptRef(stage=1, task=4, epoch=1, attempt=1)
    await worker.report(
        coordinator_pb2.AttemptReport(
            attempt=ref, finished=coordinator_pb2.AttemptResult(), output="hello\n" * 10_000
        )
    )
    await worker.hear()
    (event,) = (await coordinator.watch().read()).events
    assert (event.kind, event.worker_id, event.attempt.task) == ("output", "w1", 4)
    assert len(event.text) == MAX_EVENT_CHARS
    assert event.text.endswith("hello\n")


async def test_running_attempts_count_in_the_records_of_their_stage(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.counts = [StageCounts(name="map", records_in=1_000)]
    await coordinator.start()
    worker = coordinator.worker()
    await worker.hello()
    running = [
        coordinator_pb2.AttemptProgress(
            attempt=common_pb2.AttemptRef(stage=1, task=task, epoch=1, attempt=1),
            records_in=records,
            status=status,
        )
        for task, records, status in ((1, 30, "half way"), (2, 4, ""))
    ]
    await worker.say(heartbeat=coordinator_pb2.Heartbeat(running=running))
    watch = coordinator.watch()
    while (reply := await watch.read()).progress.stages[0].records_in != 1_034:
        pass
    await worker.report(
        coordinator_pb2.AttemptReport(
            attempt=running[0].attempt, finished=coordinator_pb2.AttemptResult()
        )
    )
    while (reply := await watch.read()).progress.stages[0].records_in != 1_004:
        pass
    assert [e.text for e in (await coordinator.watch().read()).events] == ["half way"]
    assert reply.progress.last_event == 1


async def test_the_records_of_rivals_count_once_and_those_of_the_loser_no_longer(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.counts = [StageCounts(name="map", records_in=1_000, rivals=1)]
    loser = AttemptId(1, 7, 1, 2)
    cancel = CancelAttempt(worker=WorkerId("second"), id=loser, reason="the other was faster")
    machine.script = lambda event: [cancel] if isinstance(event, AttemptFinished) else ()
    await coordinator.start()
    workers = [coordinator.worker("first"), coordinator.worker("second")]
    refs = [common_pb2.AttemptRef(stage=1, task=7, epoch=1, attempt=n) for n in (1, 2)]
    for worker, ref, records in zip(workers, refs, (30, 40), strict=True):
        await worker.hello()
        running = [coordinator_pb2.AttemptProgress(attempt=ref, records_in=records)]
        await worker.say(heartbeat=coordinator_pb2.Heartbeat(running=running))
    told = await machine.hears(AttemptsProgressed, times=2)
    assert (told.worker, told.records) == ("second", {loser: 40})
    watch = coordinator.watch()
    while (reply := await watch.read()).progress.stages[0].records_in != 1_040:
        assert reply.progress.stages[0].records_in < 1_070
    assert reply.progress.stages[0].rivals == 1
    await workers[0].report(
        coordinator_pb2.AttemptReport(attempt=refs[0], finished=coordinator_pb2.AttemptResult())
    )
    while (reply := await watch.read()).progress.stages[0].records_in != 1_000:
        pass


async def test_watchers_that_never_read_hold_nothing_up(
    machine: FakeMachine, coordinator: Coordinator
) -> None:
    machine.script = announcing
    await coordinator.start()
    deaf = [coordinator.watch() for _ in range(10)]
    lively = coordinator.watch()
    await lively.read()
    for _ in range(20):
        await announce(coordinator, machine, 2_000)
    await coordinator.cancel(coordinator.stub())
    replies = await lively.rest()
    assert replies[-1].progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    for watch in deaf:
        watch.call.cancel()
