"""Streams go on where they broke, at another gateway: nothing is lost, and nothing told twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from disco.client.aio import AsyncClient
from disco.client.errors import (
    GoneError,
    LostRecordsError,
    NotConnectedError,
    NotPossibleError,
    UnauthenticatedError,
    UntrustedError,
)
from disco.v1 import coordinator_pb2, jobs_pb2
from disco_engine.records.blocks import encode
from disco_gateway import errors
from disco_gateway.fake import FakeBackend
from disco_gateway.fake_partition import FakePartition, serving_partition, source_of

from .conftest import Replicas, submission

PENDING = coordinator_pb2.JOB_PHASE_PENDING
SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED

PARTS = [
    [(2, encode(["a", "b"], [1, 2])), (1, encode(["c"], [3]))],
    [],
    [(1, encode([f"d{number}"], [number])) for number in range(20)],
]
PAIRS = [("a", 1), ("b", 2), ("c", 3), *((f"d{number}", number) for number in range(20))]


@pytest.fixture
async def partition(backend: FakeBackend) -> AsyncIterator[FakePartition]:
    """A job "done" whose records are in three parts."""
    async with serving_partition(PARTS) as running:
        backend.add("default", "done")
        backend.finish("default", "done", source=source_of(running))
        yield running


# --- watching ---------------------------------------------------------------------------------


async def test_a_watch_tells_events_until_the_job_has_ended(
    client: AsyncClient, backend: FakeBackend
) -> None:
    backend.add("default", "words")
    backend.print("default", "words", "one")
    told = []
    async for reply in client.watch("words"):
        told += [event.text for event in reply.events]
        if told == ["one"]:
            backend.print("default", "words", "two")
            backend.finish("default", "words", message="the end")
    assert told == ["one", "two", "the end"]


async def test_a_watch_goes_on_at_another_gateway(
    gateway: Replicas, client: AsyncClient, backend: FakeBackend
) -> None:
    backend.add("default", "words")
    told: list[str] = []
    async for reply in client.watch("words"):
        told += [event.text for event in reply.events]
        if len(told) < 30:
            if len(told) % 10 == 5:
                await gateway.replace()
            backend.print("default", "words", f"line {len(told)}")
        elif reply.job.phase != SUCCEEDED:
            backend.finish("default", "words")
    assert told == [*(f"line {number}" for number in range(30)), ""]


async def test_a_watch_goes_on_after_a_time_without_any_gateway(
    gateway: Replicas, client: AsyncClient, backend: FakeBackend
) -> None:
    backend.add("default", "words")
    replies = client.watch("words")
    assert (await anext(replies)).job.name == "words"
    await gateway.stop()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(_rest(replies))
        backend.print("default", "words", "while nobody listened")
        backend.finish("default", "words")
        await gateway.start()
    assert [event.text for event in following.result()] == ["while nobody listened", ""]


async def _rest(
    replies: AsyncIterator[jobs_pb2.WatchJobReply],
) -> list[coordinator_pb2.JobEvent]:
    return [event async for reply in replies for event in reply.events]


async def test_a_watch_takes_a_cursor(client: AsyncClient, backend: FakeBackend) -> None:
    backend.add("default", "words")
    backend.print("default", "words", "old")
    cursor = (await anext(client.watch("words"))).cursor
    backend.print("default", "words", "new")
    backend.finish("default", "words")
    assert [event.text for event in await _rest(client.watch("words", cursor=cursor))] == [
        "new",
        "",
    ]


async def test_streams_are_taken_up_at_another_address_with_their_cursors(
    client: AsyncClient, backend: FakeBackend, partition: FakePartition
) -> None:
    backend.add("default", "words")
    backend.print("default", "words", "old")
    watched = (await anext(client.watch("words"))).cursor
    first = await anext(client.results("done"))
    other = Replicas(backend)
    await other.start()
    async with AsyncClient(other.connection()) as elsewhere:
        backend.finish("default", "words", message="new")
        events = await _rest(elsewhere.watch("words", cursor=watched))
        assert [event.text for event in events] == ["new"]
        rest = [reply async for reply in elsewhere.results("done", cursor=first.cursor)]
    blocks = [block for reply in (first, *rest) for block in reply.blocks]
    assert [block.frame for block in blocks] == [frame for part in PARTS for _, frame in part]
    await other.stop()


async def test_the_last_events_of_a_job_are_told_however_many(
    client: AsyncClient, backend: FakeBackend
) -> None:
    """They fill several replies, all of which tell that the job has ended."""
    backend.add("default", "words")
    for number in range(200):
        backend.print("default", "words", f"{number} ".ljust(16_000, "."))
    backend.finish("default", "words")
    events = await _rest(client.watch("words"))
    assert len(events) == 201


async def test_a_job_that_was_replaced_is_told_and_not_followed(
    gateway: Replicas, client: AsyncClient, backend: FakeBackend
) -> None:
    backend.add("default", "words")
    replies = client.watch("words")
    await anext(replies)
    await gateway.stop()
    backend.add("default", "words")
    await gateway.start()
    with pytest.raises(GoneError, match="begin anew"):
        await anext(replies)


async def test_a_watch_ends_when_no_gateway_comes_back(
    gateway: Replicas, backend: FakeBackend
) -> None:
    backend.add("default", "words")
    async with AsyncClient(gateway.connection(), patience_s=0.3) as client:
        replies = client.watch("words")
        await anext(replies)
        await gateway.stop()
        with pytest.raises(NotConnectedError, match="nothing listens there"):
            await anext(replies)


async def test_a_token_that_expires_while_watching_ends_the_watch(
    gateway: Replicas, client: AsyncClient, backend: FakeBackend
) -> None:
    backend.add("default", "words")
    replies = client.watch("words")
    await anext(replies)
    backend.tokens.clear()
    await gateway.replace()
    with pytest.raises(UnauthenticatedError):
        await anext(replies)


# --- logs -------------------------------------------------------------------------------------


async def test_logs_are_what_was_printed(client: AsyncClient, backend: FakeBackend) -> None:
    backend.add("default", "words")
    backend.print("default", "words", "hello", task=1)
    backend.print("default", "words", "other", task=2)
    backend.add_events("default", "words", {"kind": "stage-started", "text": "not printed"})
    assert await _entries(client) == ["hello", "other"]
    assert await _entries(client, stage="map", task=2) == ["other"]


async def test_logs_are_followed_over_a_change_of_gateways(
    gateway: Replicas, client: AsyncClient, backend: FakeBackend
) -> None:
    backend.add("default", "words")
    backend.print("default", "words", "one")
    told: list[str] = []
    async for reply in client.logs("words", follow=True):
        told += [entry.text for entry in reply.entries]
        if told == ["one"]:
            await gateway.replace()
            backend.print("default", "words", "two")
            backend.finish("default", "words")
    assert told == ["one", "two"]


async def _entries(client: AsyncClient, **what: object) -> list[str]:
    return [
        entry.text
        async for reply in client.logs("words", **what)  # type: ignore[arg-type]
        for entry in reply.entries
    ]


# --- results ----------------------------------------------------------------------------------


async def test_records_come_part_by_part(client: AsyncClient, partition: FakePartition) -> None:
    assert [record async for record in client.records("done")] == PAIRS
    assert [record async for record in client.records("done", first_part=0, parts=2)] == PAIRS[:3]
    assert [record async for record in client.records("done", first_part=1)] == PAIRS[3:]


async def test_records_go_on_over_changes_of_gateways(
    gateway: Replicas, client: AsyncClient, partition: FakePartition
) -> None:
    read = []
    async for record in client.records("done"):
        read.append(record)
        if len(read) in (1, 10, 15):
            await gateway.replace()
    assert read == PAIRS


async def test_results_take_a_cursor(client: AsyncClient, partition: FakePartition) -> None:
    first = await anext(client.results("done"))
    rest = [reply async for reply in client.results("done", cursor=first.cursor)]
    blocks = [block for reply in (first, *rest) for block in reply.blocks]
    assert [block.frame for block in blocks] == [frame for part in PARTS for _, frame in part]
    assert [block.part for block in blocks] == [0, 0, *[2] * 20]


async def test_results_that_are_not_all_there_are_lost(
    client: AsyncClient, partition: FakePartition
) -> None:
    partition.lie = 1
    with pytest.raises((LostRecordsError, NotPossibleError)):
        _ = [reply async for reply in client.results("done")]


async def test_a_job_that_runs_has_no_results(client: AsyncClient, backend: FakeBackend) -> None:
    backend.add("default", "words")
    with pytest.raises(NotPossibleError, match="has not succeeded"):
        await anext(client.results("words"))


async def test_nobody_unpickles_what_he_did_not_write(
    client: AsyncClient, backend: FakeBackend
) -> None:
    pickled = [[(1, encode(["plain"], [1])), (1, encode(["key"], [{"not": "plain"}]))]]
    async with serving_partition(pickled) as partition:
        backend.add("default", "theirs")
        backend.finish("default", "theirs", source=source_of(partition))
        records = client.records("theirs")
        assert await anext(records) == ("plain", 1)
        with pytest.raises(UntrustedError, match="default/theirs hold pickles"):
            await anext(records)
        trusting = client.records("theirs", trust=True)
        assert [record async for record in trusting][1] == ("key", {"not": "plain"})


async def test_records_of_a_job_that_was_submitted_here_are_unpickled(
    client: AsyncClient, backend: FakeBackend
) -> None:
    job = await client.submit(submission())
    async with serving_partition([[(1, encode([("a", [1])], [set()]))]]) as partition:
        backend.finish("default", job.name, source=source_of(partition))
        assert [record async for record in client.records(job.name)] == [(("a", [1]), set())]


async def test_records_of_another_job_of_the_name_are_not_taken_for_them(
    client: AsyncClient, backend: FakeBackend, partition: FakePartition
) -> None:
    with pytest.raises(GoneError, match="is another job now"):
        await anext(client.records("done", uid="the-one-before"))


# --- leaving ----------------------------------------------------------------------------------


async def test_who_stops_reading_leaves_nothing_behind(
    gateway: Replicas, backend: FakeBackend, partition: FakePartition
) -> None:
    before = asyncio.all_tasks()
    backend.add("default", "words")
    async with AsyncClient(gateway.connection()) as client:
        for stream in (client.watch("words"), client.records("done"), client.results("done")):
            await anext(stream)
            await stream.aclose()
        replies = client.watch("words")
        await anext(replies)
        task = asyncio.ensure_future(anext(replies))
        await client.about()  # by then it waits for the next reply
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [task for task in asyncio.all_tasks() - before if "disco/client" in repr(task)] == []


async def test_a_server_that_refuses_for_a_moment_is_asked_again(
    client: AsyncClient, backend: FakeBackend
) -> None:
    backend.add("default", "words")
    backend.finish("default", "words")
    backend.failures["follow"] = [errors.UnavailableError("soon", retry_after_s=0.01)]
    assert len(await _rest(client.watch("words"))) == 1
