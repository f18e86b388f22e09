"""Following jobs: one watch and one stream for all who look, over real HTTP and real gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.rpc import Line, aio_channel, aio_server, credentials_of, listen
from disco_gateway.backend import Position, Update
from disco_gateway.errors import GoneError, JobNotFoundError, OverloadedError, UnavailableError
from disco_operator.children.events import events_config_map
from disco_operator.gateway import hub as hub_module
from disco_operator.heard import EVENT_CHARS, HeardEvents
from disco_operator.model import DiscoJob

TOKEN = "t0ken"
PATIENCE_S = 60.0
ADDRESS = "j-coordinator.ns.svc:7071"


class Coordinator(coordinator_pb2_grpc.CoordinatorServicer):
    """Tells all who watch what it is given; an event log like the real one's."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch
        self.phase = coordinator_pb2.JOB_PHASE_RUNNING
        self.events: list[coordinator_pb2.JobEvent] = []
        self.changed = asyncio.Event()
        self.watches = 0
        self.server = aio_server(TOKEN)
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(self, self.server)
        self.port = listen(self.server, "127.0.0.1", 0)

    def line(self) -> Line:
        return Line(channel=aio_channel(f"127.0.0.1:{self.port}"), metadata=credentials_of(TOKEN))

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.watches += 1
        after = request.after_event
        while True:
            changed = self.changed
            over = self.phase != coordinator_pb2.JOB_PHASE_RUNNING
            yield coordinator_pb2.WatchReply(
                progress=coordinator_pb2.JobProgress(
                    epoch=self.epoch, phase=self.phase, last_event=len(self.events), workers=2
                ),
                events=self.events[after:],
            )
            after = len(self.events)
            if over:
                return
            await changed.wait()

    async def Work(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield  # makes it a generator

    async def Cancel(self, request: Any, context: Any) -> coordinator_pb2.CancelReply:
        raise NotImplementedError

    async def Values(self, request: Any, context: Any) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield  # makes it a generator

    def says(self, *texts: str, phase: str = "RUNNING") -> None:
        """Let something happen."""
        self.phase = coordinator_pb2.JobPhase.Value(f"JOB_PHASE_{phase}")
        for text in texts:
            number = len(self.events) + 1
            self.events.append(coordinator_pb2.JobEvent(number=number, kind="output", text=text))
        self.changed.set()
        self.changed = asyncio.Event()


@pytest.fixture
async def coordinator(world: Any) -> AsyncIterator[Coordinator]:
    """Give a coordinator of job ns/j."""
    made = Coordinator()
    await made.server.start()
    world.network.lines[ADDRESS] = made.line
    try:
        yield made
    finally:
        await made.server.stop(None)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less."""
    monkeypatch.setattr(hub_module, "MIN_INTERVAL_S", 0.0)
    monkeypatch.setattr(hub_module, "FIRST_WORD_S", 0.3)
    monkeypatch.setattr(hub_module, "RETRY_S", (0.01, 0.05, 0.05, 0.05))


class Follower:
    """Somebody who follows, and what he has heard."""

    def __init__(self, world: Any, since: Position | None = None) -> None:
        self.texts: list[str] = []
        self.position = since or Position()
        self.last: Update | None = None
        self._updates = world.backend.follow("ns", "j", self.position)

    async def hear(self) -> Update:
        """Take the next update."""
        async with asyncio.timeout(PATIENCE_S):
            update: Update = await anext(self._updates)
        self.last, self.position = update, update.position
        self.texts += [event.text for event in update.events]
        return update

    async def until(self, *texts: str) -> None:
        """Go on until these, and no others, were heard."""
        while len(self.texts) < len(texts):
            await self.hear()
        assert self.texts == list(texts)

    async def to_the_end(self) -> Update:
        """Go on to the last update."""
        while True:
            try:
                await self.hear()
            except StopAsyncIteration:
                assert self.last is not None
                return self.last

    async def leave(self) -> None:
        """Follow no longer."""
        await self._updates.aclose()


def _running(build: Any, **status: Any) -> Any:
    given = {"phase": "Running", "startTime": "2026-01-02T03:04:06Z", **status}
    return build.discojob(**given)


ENDED = {"phase": "Succeeded", "completionTime": "2026-01-02T03:05:05Z"}


async def test_a_job_is_followed_to_its_end(
    world: Any, build: Any, coordinator: Coordinator
) -> None:
    world.api_server.put("discojobs", _running(build))
    coordinator.says("one")
    follower = Follower(world)
    await follower.until("one")
    coordinator.says("two", "three", phase="SUCCEEDED")
    await follower.until("one", "two", "three")
    assert follower.last is not None
    assert follower.last.job.phase == coordinator_pb2.JOB_PHASE_RUNNING  # its status says it later
    world.api_server.set_status("ns", "j", **ENDED, results={"records": 7})
    last = await follower.to_the_end()
    assert last.job.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert last.job.results.records == 7
    assert follower.texts == ["one", "two", "three"]
    assert not last.job.HasField("spec")


async def test_many_followers_are_one_watch_and_one_stream(
    world: Any, build: Any, coordinator: Coordinator
) -> None:
    world.api_server.put("discojobs", _running(build))
    coordinator.says("one")
    followers = [Follower(world) for _ in range(200)]
    for follower in followers:
        await follower.until("one")
    assert coordinator.watches == 1
    world.api_server.set_status("ns", "j", **ENDED)
    for follower in followers:
        await follower.to_the_end()
    assert world.api_server.watches == 1
    for follower in followers:
        await follower.leave()
    assert len(world.hub) == 0


async def test_who_comes_back_hears_what_he_has_missed_and_nothing_twice(
    world: Any, build: Any, coordinator: Coordinator
) -> None:
    world.api_server.put("discojobs", _running(build))
    coordinator.says("one", "two")
    first = Follower(world)
    await first.until("one", "two")
    await first.leave()
    coordinator.says("three")
    again = Follower(world, first.position)  # on another replica, for all it knows
    await again.until("three")
    await again.leave()


async def test_the_events_of_a_new_coordinator_are_all_new(
    world: Any, build: Any, coordinator: Coordinator
) -> None:
    world.api_server.put("discojobs", _running(build))
    coordinator.says("one", "two")
    follower = Follower(world)
    await follower.until("one", "two")
    replacement = Coordinator(epoch=2)
    replacement.says("fresh")
    await replacement.server.start()
    world.network.lines[ADDRESS] = replacement.line
    await follower.leave()
    again = Follower(world, follower.position)
    await again.until("fresh")
    await again.leave()
    await replacement.server.stop(None)


async def test_a_job_that_has_ended_is_told_from_what_was_kept(world: Any, build: Any) -> None:
    body = world.api_server.put("discojobs", _running(build, **ENDED))
    told = coordinator_pb2.WatchReply(
        progress=coordinator_pb2.JobProgress(epoch=3, last_event=2),
        events=[
            coordinator_pb2.JobEvent(number=1, kind="output", text="hello"),
            coordinator_pb2.JobEvent(number=2, kind="output", text="world"),
        ],
    )
    job = DiscoJob.from_body(body)
    world.api_server.put("configmaps", events_config_map(job, told, run=0))
    follower = Follower(world)
    await follower.to_the_end()
    assert follower.texts == ["hello", "world"]
    again = Follower(world, Position(uid=job.uid, epoch=3, event=1))
    await again.to_the_end()
    assert again.texts == ["world"]


async def test_who_missed_the_end_of_the_stream_hears_it_from_what_was_kept(
    world: Any, build: Any, coordinator: Coordinator
) -> None:
    body = world.api_server.put("discojobs", _running(build))
    coordinator.says("one")
    follower = Follower(world)
    await follower.until("one")
    await coordinator.server.stop(None)
    told = coordinator_pb2.WatchReply(
        progress=coordinator_pb2.JobProgress(epoch=1, last_event=2),
        events=[coordinator_pb2.JobEvent(number=n, text=text) for n, text in enumerate("ab", 1)],
    )
    job = DiscoJob.from_body(body)
    world.api_server.put("configmaps", events_config_map(job, told, run=0))
    world.api_server.set_status("ns", "j", **ENDED)
    await follower.to_the_end()
    assert follower.texts == ["one", "b"]


async def test_a_job_without_what_was_kept_is_told_all_the_same(world: Any, build: Any) -> None:
    world.api_server.put("discojobs", _running(build, **ENDED))
    last = await Follower(world).to_the_end()
    assert last.job.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert list(last.events) == []


async def test_a_position_stays_while_nothing_is_heard(world: Any, build: Any) -> None:
    """A replica that cannot reach the coordinator must not send anybody back to the beginning."""
    body = world.api_server.put("discojobs", _running(build))
    uid = body["metadata"]["uid"]
    closed = Coordinator()
    await closed.server.stop(None)
    world.network.lines[ADDRESS] = closed.line
    since = Position(uid=uid, epoch=1, event=5)
    follower = Follower(world, since)
    update = await follower.hear()
    assert update.position == since
    await follower.leave()


async def test_a_suspended_job_goes_on(world: Any, build: Any, coordinator: Coordinator) -> None:
    world.api_server.put("discojobs", build.discojob(phase="Suspended"))
    follower = Follower(world)
    update = await follower.hear()
    assert update.job.phase == coordinator_pb2.JOB_PHASE_SUSPENDED
    coordinator.says("one")
    world.api_server.set_status("ns", "j", phase="Running", startTime="2026-01-02T03:04:06Z")
    await follower.until("one")
    await follower.leave()


async def test_a_retry_is_followed_from_the_first_event_of_its_run(
    world: Any, build: Any, coordinator: Coordinator
) -> None:
    """Its services may have seen no epoch, so that of its coordinator may be smaller."""
    failed = _running(build) | {"status": {**ENDED, "phase": "Failed"}}
    failed["spec"]["retry"] = 1
    body = world.api_server.put("discojobs", failed)
    since = Position(uid=body["metadata"]["uid"], epoch=1, event=40)
    coordinator.says("again")
    follower = Follower(world, since)
    update = await follower.hear()
    assert update.job.phase == coordinator_pb2.JOB_PHASE_PENDING
    body = _running(build, runs=1, observedRetry=1)
    body["metadata"]["uid"] = since.uid
    world.api_server.put("discojobs", body)
    await follower.until("again")
    await follower.leave()


async def test_a_watch_that_ends_is_begun_again(
    world: Any, build: Any, coordinator: Coordinator
) -> None:
    world.api_server.put("discojobs", _running(build))
    follower = Follower(world)
    await follower.hear()
    world.api_server.end_watches()
    world.api_server.set_status("ns", "j", **ENDED)
    last = await follower.to_the_end()
    assert last.job.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED


async def test_a_job_that_is_not_there_or_is_deleted(world: Any, build: Any) -> None:
    with pytest.raises(JobNotFoundError):
        await Follower(world).hear()
    world.api_server.put("discojobs", build.discojob(phase="Pending"))
    follower = Follower(world)
    await follower.hear()
    world.api_server.remove("discojobs", "ns", "j")
    with pytest.raises(JobNotFoundError):
        await follower.to_the_end()


async def test_another_job_of_the_name_is_not_the_one_that_was_followed(
    world: Any, build: Any
) -> None:
    world.api_server.put("discojobs", build.discojob(phase="Pending"))
    with pytest.raises(GoneError):
        await Follower(world, Position(uid="before", epoch=1, event=1)).hear()
    follower = Follower(world)
    await follower.hear()
    successor = build.discojob(phase="Pending")
    successor["metadata"]["uid"] = "after"
    world.api_server.put("discojobs", successor)
    with pytest.raises(JobNotFoundError):
        await follower.to_the_end()


async def test_an_api_server_that_is_away_is_said_to_new_followers_only(
    world: Any, build: Any, coordinator: Coordinator
) -> None:
    world.api_server.put("discojobs", _running(build))
    follower = Follower(world)
    await follower.hear()
    world.api_server.down = True
    world.api_server.end_watches()
    coordinator.says("one")
    await follower.until("one")
    with pytest.raises(UnavailableError):
        async with aclosing(world.backend.follow("ns", "k", Position())) as updates:
            await anext(updates)
    world.api_server.down = False
    world.api_server.set_status("ns", "j", **ENDED)
    assert (await follower.to_the_end()).job.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED


async def test_more_jobs_than_are_followed_at_once_must_wait(
    world: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "MAX_TOPICS", 1)
    world.api_server.put("discojobs", build.discojob(phase="Pending"))
    follower = Follower(world)
    await follower.hear()
    with pytest.raises(OverloadedError):
        async with aclosing(world.backend.follow("ns", "k", Position())) as updates:
            await anext(updates)
    await follower.leave()


def test_what_was_heard_is_bounded_and_keeps_its_numbers() -> None:
    heard = HeardEvents(lambda: 3 * (EVENT_CHARS + 30) + 10)
    events = [coordinator_pb2.JobEvent(number=n, text="x" * 30) for n in range(1, 11)]
    progress = coordinator_pb2.JobProgress(epoch=1, last_event=10)
    heard.hear(coordinator_pb2.WatchReply(progress=progress, events=events), run=0)
    kept, behind = heard.since(Position(), "u")
    assert [event.number for event in kept] == [8, 9, 10]
    assert behind == Position(uid="u", epoch=1, event=10)
