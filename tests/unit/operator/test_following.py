"""Listening to coordinators: over a real connection, to one that stops, comes back and is new."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.rpc import Line, aio_channel, aio_server, credentials_of, listen
from disco_operator.following import Following
from disco_operator.model import JobKey

TOKEN = "t0ken"


class Coordinator(coordinator_pb2_grpc.CoordinatorServicer):
    """Tells what it is given, to whoever watches."""

    def __init__(self) -> None:
        self.replies: asyncio.Queue[coordinator_pb2.WatchReply | None] = asyncio.Queue()
        self.asked: asyncio.Queue[int] = asyncio.Queue()
        self.cancelled = ""
        self.server = aio_server(TOKEN)
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(self, self.server)
        self.port = listen(self.server, "127.0.0.1", 0)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.asked.put_nowait(request.after_event)
        while (reply := await self.replies.get()) is not None:
            yield reply
        await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")

    async def Work(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield  # makes it a generator

    async def Cancel(self, request: Any, context: Any) -> coordinator_pb2.CancelReply:
        self.cancelled = request.reason
        return coordinator_pb2.CancelReply()

    async def Values(self, request: Any, context: Any) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield  # makes it a generator

    def tells(self, progress: Any, *texts: str, first: int = 1, epoch: int = 1) -> None:
        """Send progress with one event per text."""
        progress.epoch = epoch
        progress.last_event = first + len(texts) - 1
        events = [
            coordinator_pb2.JobEvent(number=number, kind="worker-lost", text=text)
            for number, text in enumerate(texts, first)
        ]
        self.replies.put_nowait(coordinator_pb2.WatchReply(progress=progress, events=events))


class Listener:
    """A following, and what it said."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.news: asyncio.Queue[JobKey] = asyncio.Queue()
        self.following = Following(
            self.news.put_nowait,
            lambda job: Line(
                channel=aio_channel(f"127.0.0.1:{coordinator.port}"),
                metadata=credentials_of(TOKEN),
            ),
        )


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    """Give a coordinator that serves."""
    made = Coordinator()
    await made.server.start()
    try:
        yield made
    finally:
        await made.server.stop(None)


@pytest.fixture
async def listener(coordinator: Coordinator) -> AsyncIterator[Listener]:
    """Give a following that connects to the coordinator."""
    made = Listener(coordinator)
    async with made.following:
        yield made


async def test_news_are_told_once_and_progress_stays(
    build: Any, story: Any, coordinator: Coordinator, listener: Listener
) -> None:
    listener.following.follow(story.job, may_answer=True)
    coordinator.tells(build.progress((1, 0, 0)), "a worker left")
    assert await listener.news.get() == JobKey("ns", "j")
    news = listener.following.take_news(story.job.uid)
    assert news.progress is not None
    assert [event.text for event in news.events] == ["a worker left"]
    assert news.silent_s == 0
    again = listener.following.take_news(story.job.uid)
    assert again.progress is not None
    assert list(again.events) == []


async def test_a_stream_that_breaks_is_taken_up_where_it_broke(
    build: Any, story: Any, coordinator: Coordinator, listener: Listener
) -> None:
    listener.following.follow(story.job, may_answer=True)
    coordinator.tells(build.progress((1, 0, 0)), "one", "two")
    await listener.news.get()
    coordinator.replies.put_nowait(None)
    await listener.news.get()
    assert await coordinator.asked.get() == 0
    assert await coordinator.asked.get() == 2
    assert listener.following.take_news(story.job.uid).silent_s >= 0


async def test_events_of_a_new_coordinator_are_asked_for_from_the_first(
    build: Any, story: Any, coordinator: Coordinator, listener: Listener
) -> None:
    listener.following.follow(story.job, may_answer=True)
    coordinator.tells(build.progress((1, 0, 0)), "one", "two")
    await listener.news.get()
    coordinator.tells(build.progress((1, 0, 0)), "late", first=7, epoch=2)
    assert [await coordinator.asked.get() for _ in range(2)] == [0, 0]
    await listener.news.get()  # that the stream has ended
    coordinator.tells(build.progress((0, 1, 0)), "new one", epoch=2)
    await listener.news.get()
    events = listener.following.take_news(story.job.uid).events
    assert [event.text for event in events][-1] == "new one"


async def test_what_the_status_has_heard_is_not_told_again(
    story: Any, coordinator: Coordinator, listener: Listener
) -> None:
    story.status = {"coordinator": {"epoch": 1, "lastEvent": 41}}
    listener.following.follow(story.job, may_answer=True)
    assert await coordinator.asked.get() == 41


async def test_cancelling_reaches_the_coordinator(
    story: Any, coordinator: Coordinator, listener: Listener
) -> None:
    listener.following.follow(story.job, may_answer=True)
    assert await listener.following.cancel(story.job.uid, "spec.cancel was set")
    assert coordinator.cancelled == "spec.cancel was set"


async def test_a_coordinator_that_is_away_cannot_be_cancelled(story: Any) -> None:
    closed = Coordinator()
    await closed.server.stop(None)
    away = Listener(closed)
    async with away.following:
        away.following.follow(story.job, may_answer=True)
        assert not await away.following.cancel(story.job.uid, "why")


async def test_what_was_heard_stands_in_for_a_coordinator_that_does_not_answer_at_the_end(
    build: Any, story: Any, coordinator: Coordinator, listener: Listener
) -> None:
    listener.following.follow(story.job, may_answer=True)
    coordinator.tells(build.progress((1, 0, 0)), "one", "two")
    await listener.news.get()
    coordinator.tells(build.progress((0, 0, 1), phase="SUCCEEDED"), "three", first=3)
    await listener.news.get()
    listener.following.take_news(story.job.uid)  # as the operator does all the time
    await coordinator.server.stop(None)

    told = await listener.following.all_events(story.job)

    assert told is not None
    assert [event.text for event in told.events] == ["one", "two", "three"]
    assert (told.progress.epoch, told.progress.last_event) == (1, 3)
    listener.following.forget(story.job.uid)
    assert await listener.following.all_events(story.job) is None


async def test_forgetting_ends_the_stream(
    build: Any, story: Any, coordinator: Coordinator, listener: Listener
) -> None:
    listener.following.follow(story.job, may_answer=True)
    coordinator.tells(build.progress((1, 0, 0)))
    await listener.news.get()
    listener.following.forget(story.job.uid)
    assert len(listener.following) == 0
    assert listener.following.take_news(story.job.uid).progress is None
