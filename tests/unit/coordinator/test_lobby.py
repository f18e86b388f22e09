"""What callers are told while the coordinator waits for its partition services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

from disco.v1 import coordinator_pb2
from disco_engine.coordinator import services as services_module
from disco_engine.core.actions import Action, FinishJob, Outcome
from disco_engine.core.events import CancelRequested, Event, ServiceAttached
from disco_engine.core.model import ServiceId
from disco_engine.local.ports import ReservedPort

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import (
        Coordinator,
        FakeMachine,
        FakePartition,
        FakeWatcher,
        FakeWorker,
    )

PLANNING = coordinator_pb2.JOB_PHASE_PLANNING
NewService = Callable[[str], "FakePartition"]


def cancelling(event: Event) -> list[Action]:
    if isinstance(event, CancelRequested):
        return [FinishJob(outcome=Outcome.CANCELLED, message=event.reason)]
    return []


async def message_like(watch: FakeWatcher, wanted: str) -> coordinator_pb2.JobProgress:
    """Read until the job's message is *wanted*."""
    while (progress := (await watch.read()).progress).message != wanted:
        pass
    return progress


@pytest.fixture
def reserved() -> Iterator[Callable[[], int]]:
    """Give a function that returns ports on which nobody listens yet."""
    with ExitStack() as stack:

        def reserve() -> int:
            port = ReservedPort()
            stack.callback(port.release)
            return port.port

        yield reserve


@pytest_asyncio.fixture
async def absent(service: FakePartition, reserved: Callable[[], int]) -> AsyncIterator[NewService]:
    """Give a function that makes a partition service that is not there until it is started."""
    made: list[FakePartition] = []

    def make(name: str) -> FakePartition:
        partition = type(service)(name)
        partition.port = reserved()
        made.append(partition)
        return partition

    yield make
    for partition in made:
        await partition.stop()


@pytest_asyncio.fixture
async def waiting(
    coordinator: Coordinator, absent: NewService, reserved: Callable[[], int]
) -> Coordinator:
    """Start a coordinator that waits as long as it takes for two services that are not there."""
    coordinator.services[:] = [absent("ps-0"), absent("ps-1")]
    coordinator.port = reserved()
    coordinator.wait_for_services_s = 1000.0
    coordinator.begin()
    return coordinator


def awaited(*services: FakePartition) -> str:
    listed = ", ".join(f"{service.service_id} ({service.address})" for service in services)
    return f"waiting for the partition services: {listed}"


async def test_watchers_hear_what_is_waited_for_and_then_of_the_job(
    waiting: Coordinator, machine: FakeMachine
) -> None:
    first, second = waiting.services
    watch = waiting.watch()
    progress = await message_like(watch, awaited(first, second))
    assert (progress.job_uid, progress.name) == ("job-1", "a job")
    assert (progress.phase, progress.epoch) == (PLANNING, 0)
    await second.start()
    await message_like(watch, awaited(first))
    first.epoch = 4
    await first.start()
    assert (await message_like(watch, "no worker is connected")).epoch == 5
    await machine.hears(ServiceAttached, times=2)


async def test_a_watcher_that_leaves_in_the_meantime_disturbs_nobody(waiting: Coordinator) -> None:
    watch = waiting.watch()
    await watch.read()
    watch.call.cancel()
    for service in waiting.services:
        await service.start()
    await waiting.ready()
    assert (await waiting.watch().read()).progress.epoch == 1


async def test_workers_are_told_to_come_again(waiting: Coordinator) -> None:
    await waiting.watch().read()
    early: FakeWorker = waiting.worker()
    assert await early.hear_end() is grpc.StatusCode.FAILED_PRECONDITION
    for service in waiting.services:
        await service.start()
    await waiting.ready()
    assert (await waiting.worker().hello()).epoch == 1


async def test_a_job_can_be_cancelled_before_any_service_is_there(
    waiting: Coordinator, machine: FakeMachine
) -> None:
    machine.script = cancelling
    watch = waiting.watch()
    await watch.read()
    assert not (await waiting.cancel(waiting.stub(), "enough")).already_over
    last = (await watch.rest())[-1].progress
    assert last.phase == coordinator_pb2.JOB_PHASE_CANCELLED
    assert last.message == "enough"
    assert (await waiting.cancel(waiting.stub())).already_over


async def test_a_service_that_comes_late_does_not_wake_a_job_that_was_cancelled_before(
    waiting: Coordinator, machine: FakeMachine
) -> None:
    """It has seen a newer epoch than this coordinator could choose, and would refuse it."""
    machine.script = cancelling
    watch = waiting.watch()
    await watch.read()
    await waiting.cancel(waiting.stub())
    waiting.services[0].epoch = 7
    await waiting.services[0].start()
    assert (await watch.rest())[-1].progress.phase == coordinator_pb2.JOB_PHASE_CANCELLED
    assert waiting.services[0].attached in ([], [0])  # it was asked what it has seen, at most


async def test_once_one_service_answers_the_others_have_their_lease(
    coordinator: Coordinator, machine: FakeMachine, absent: NewService
) -> None:
    coordinator.services.append(absent("ps-1"))
    coordinator.settings = type(coordinator.settings)(service_lease_s=0.3)
    coordinator.wait_for_services_s = 1000.0
    await coordinator.start()
    attached = await machine.hears(ServiceAttached)
    assert attached.service == ServiceId("ps-0")


async def test_a_name_that_is_not_known_yet_is_waited_for(coordinator: Coordinator) -> None:
    coordinator.services[0].host = "ps-0.invalid"
    coordinator.settings = type(coordinator.settings)(service_lease_s=0.5)
    coordinator.begin()
    assert "ps-0 at ps-0.invalid:" in str(await coordinator.failure())


async def test_the_log_reminds_of_the_services_that_are_missing(
    coordinator: Coordinator, absent: NewService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services_module, "REMIND_S", 0.01)
    coordinator.services[:] = [absent("ps-0"), absent("ps-1")]
    coordinator.wait_for_services_s = 1000.0
    missing = {service.service_id: service.address for service in coordinator.services}
    reminded = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if getattr(record, "silent", None) == missing:
                reminded.set()

    logging.getLogger(services_module.__name__).addHandler(listener := Listener())
    coordinator.begin()
    try:
        async with asyncio.timeout(20.0):
            await reminded.wait()
    finally:
        logging.getLogger(services_module.__name__).removeHandler(listener)
