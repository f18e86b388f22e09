"""Watches and logs: nothing lost, nothing twice, on whichever replica."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from google.rpc import code_pb2, error_details_pb2  # type: ignore[import-untyped]

from disco.v1 import coordinator_pb2, jobs_pb2, jobs_pb2_grpc
from disco_gateway.backend import Position, Update
from disco_gateway.fake import FakeBackend
from disco_gateway.limits import Limits
from disco_gateway.serving import serving

from .conftest import ALICE, Gateway, channel_to, gateway_over, refused

JOB: dict[str, Any] = {"namespace": "team", "name": "count"}


def watch(gateway: Gateway, cursor: str = "") -> Any:
    return gateway.stub.Watch(jobs_pb2.WatchJobRequest(**JOB, cursor=cursor), metadata=ALICE)


def logs(gateway: Gateway, **fields: Any) -> Any:
    return gateway.stub.Logs(jobs_pb2.LogsRequest(**JOB, **fields), metadata=ALICE)


async def test_a_watch_goes_on_at_another_replica(backend: FakeBackend) -> None:
    backend.add("team", "count")
    backend.print("team", "count", "one")
    async with AsyncExitStack() as ending, gateway_over(backend) as second:
        first = await ending.enter_async_context(serving(backend, limits=Limits(stop_s=60)))
        async with channel_to(first) as channel:
            request = jobs_pb2.WatchJobRequest(**JOB)
            replies = aiter(jobs_pb2_grpc.JobsStub(channel).Watch(request, metadata=ALICE))
            reply = await anext(replies)
            assert [event.text for event in reply.events] == ["one"]
            await ending.aclose()
            status = await refused(replies)
            assert status.code == code_pb2.UNAVAILABLE
            assert "go on at another" in status.message
        backend.print("team", "count", "two")
        replies = aiter(watch(second, reply.cursor))
        reply = await anext(replies)
        assert [event.text for event in reply.events] == ["two"]


class Announced(FakeBackend):
    """A backend that says when it is about to tell its first followers something."""

    def __init__(self) -> None:
        super().__init__(kind="kubernetes")
        self.about_to_tell = asyncio.Event()

    async def follow(
        self, namespace: str, name: str, since: Position
    ) -> AsyncGenerator[Update, None]:
        async for update in super().follow(namespace, name, since):
            self.about_to_tell.set()
            yield update


async def test_a_watch_whose_first_reply_is_under_way_goes_on_at_another_replica() -> None:
    """gRPC sends no error while the headers are on their way, and they went with the first reply.

    The reader heard nothing until the gateway had waited for him as long as it does.
    """
    backend = Announced()
    backend.add("team", "count")
    async with AsyncExitStack() as ending, asyncio.TaskGroup() as tasks:
        only = await ending.enter_async_context(serving(backend, limits=Limits(stop_s=60)))
        async with channel_to(only) as channel:
            request = jobs_pb2.WatchJobRequest(**JOB)
            call = jobs_pb2_grpc.JobsStub(channel).Watch(request, metadata=ALICE)
            told = tasks.create_task(refused(call))
            await backend.about_to_tell.wait()
            await ending.aclose()
            assert "go on at another" in (await told).message


async def test_the_only_server_does_not_ask_those_whom_it_leaves_to_come_again() -> None:
    backend = FakeBackend(kind="local")
    backend.add("team", "count")
    async with AsyncExitStack() as ending:
        only = await ending.enter_async_context(serving(backend, limits=Limits(stop_s=60)))
        async with channel_to(only) as channel:
            request = jobs_pb2.WatchJobRequest(**JOB)
            replies = aiter(jobs_pb2_grpc.JobsStub(channel).Watch(request, metadata=ALICE))
            await anext(replies)
            await ending.aclose()
            status = await refused(replies)
    assert status.code == code_pb2.UNAVAILABLE
    assert status.message == "the server has ended, and its jobs and results with it"
    assert not any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


async def test_a_watch_of_an_ended_job_tells_the_end_and_ends(gateway: Gateway) -> None:
    gateway.backend.add("team", "count")
    gateway.backend.finish("team", "count")
    (reply,) = [reply async for reply in watch(gateway)]
    assert reply.job.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    (again,) = [again async for again in watch(gateway, reply.cursor)]
    assert not again.events


async def test_a_cursor_of_an_earlier_job_of_the_name_is_told(gateway: Gateway) -> None:
    gateway.backend.add("team", "count")
    gateway.backend.finish("team", "count")
    (reply,) = [reply async for reply in watch(gateway)]
    gateway.backend.add("team", "count")
    assert (await refused(watch(gateway, reply.cursor))).code == code_pb2.ABORTED


async def test_a_job_that_is_deleted_ends_its_watches(gateway: Gateway) -> None:
    gateway.backend.add("team", "count")
    replies = aiter(watch(gateway))
    await anext(replies)
    await gateway.stub.Delete(jobs_pb2.DeleteRequest(**JOB), metadata=ALICE)
    assert (await refused(replies)).code == code_pb2.NOT_FOUND


async def test_many_events_come_in_messages_of_a_bounded_size(gateway: Gateway) -> None:
    """What a job may have printed does not fit into one message, and any may be the last.

    An attempt's output has up to 16 KiB, and some thousand of them are kept.
    """
    gateway.backend.add("team", "count")
    for number in range(300):
        gateway.backend.print("team", "count", f"{number}:" + "x" * 16_000)
    gateway.backend.finish("team", "count")
    replies = [reply async for reply in watch(gateway)]
    assert len(replies) > 3
    assert all(reply.ByteSize() < 1.2 * 1024 * 1024 for reply in replies)
    middle = replies[1]
    rest = [event async for reply in watch(gateway, middle.cursor) for event in reply.events]
    assert rest == [event for reply in replies[2:] for event in reply.events]
    assert rest[-1].kind == "job-finished"


async def test_logs_are_what_was_printed_and_said(gateway: Gateway) -> None:
    gateway.backend.add("team", "count")
    gateway.backend.print("team", "count", "a", stage="map", task=0)
    gateway.backend.print("team", "count", "b", stage="map", task=1)
    gateway.backend.print("team", "count", "c", stage="reduce", task=0)
    gateway.backend.add_events(
        "team", "count", {"kind": "worker-joined", "text": "w"}, {"kind": "status", "text": "s"}
    )

    async def texts(**fields: Any) -> list[str]:
        (reply,) = [reply async for reply in logs(gateway, **fields)]
        return [entry.text for entry in reply.entries]

    assert await texts() == ["a", "b", "c", "s"]
    assert await texts(stage="map") == ["a", "b"]
    assert await texts(stage="map", task=0) == ["a"]
    assert await texts(stage="map", task=0, attempt=1) == ["a"]
    assert await texts(stage="map", task=0, attempt=2) == []
    assert await texts(stage="none") == []


async def test_logs_are_followed_to_the_end(gateway: Gateway) -> None:
    gateway.backend.add("team", "count")
    replies = aiter(logs(gateway, stage="map", follow=True))
    first = await anext(replies)
    assert list(first.entries) == []
    gateway.backend.print("team", "count", "no", stage="reduce")
    gateway.backend.print("team", "count", "yes", stage="map")
    second = await anext(replies)
    assert [entry.text for entry in second.entries] == ["yes"]
    gateway.backend.print("team", "count", "last", stage="map")
    gateway.backend.finish("team", "count")
    rest = [entry.text async for reply in replies for entry in reply.entries]
    assert rest == ["last"]
    (again,) = [r async for r in logs(gateway, stage="map", follow=True, cursor=second.cursor)]
    assert [entry.text for entry in again.entries] == ["last"]


async def test_two_hundred_watch_one_job(gateway: Gateway) -> None:
    gateway.backend.add("team", "count")
    watches = [aiter(watch(gateway)) for _ in range(200)]
    await asyncio.gather(*map(anext, watches))
    for number in range(20):
        gateway.backend.print("team", "count", str(number))
        await asyncio.sleep(0)  # they may hear of them one by one
    gateway.backend.finish("team", "count")

    async def texts(replies: AsyncIterator[jobs_pb2.WatchJobReply]) -> list[str]:
        return [event.text async for reply in replies for event in reply.events]

    heard = await asyncio.gather(*map(texts, watches))
    assert heard == [[*map(str, range(20)), ""]] * 200
