"""Results through the gateway: all of them, once, however often the stream breaks."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2  # type: ignore[import-untyped]

from disco.v1 import jobs_pb2
from disco_engine.core.model import Totals
from disco_gateway.backend import Part, ResultSource
from disco_gateway.fake import FakeBackend
from disco_gateway.fake_partition import Blocks, FakePartition, serving_partition, source_of
from disco_gateway.limits import Limits

from .conftest import ALICE, Gateway, channel_to, detail, gateway_over, http_of, refused

JOB: dict[str, Any] = {"namespace": "team", "name": "count"}
BLOCK_BYTES = 512 * 1024


def frame(part: int, number: int, size: int = 100) -> bytes:
    """Return bytes that no other block has."""
    seed = hashlib.sha256(f"{part}.{number}".encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


def tasks_of(*counts: int, size: int = 100, first: int = 0) -> list[Blocks]:
    """Return a task for each count, with so many blocks."""
    return [
        [(number + 1, frame(first + task, number, size)) for number in range(count)]
        for task, count in enumerate(counts)
    ]


def blocks_of(replies: Sequence[jobs_pb2.ResultsReply]) -> list[tuple[int, int, bytes]]:
    return [(b.part, b.records, b.frame) for reply in replies for b in reply.blocks]


def expected_of(tasks: Sequence[Blocks]) -> list[tuple[int, int, bytes]]:
    return [(part, records, data) for part, blocks in enumerate(tasks) for records, data in blocks]


def results(gateway: Gateway, **fields: Any) -> Any:
    return gateway.stub.Results(jobs_pb2.ResultsRequest(**JOB, **fields), metadata=ALICE)


def finished(backend: FakeBackend, source: ResultSource | None, **fields: Any) -> None:
    backend.add("team", "count")
    backend.finish("team", "count", source=source, **fields)


async def test_all_records_come_part_by_part(gateway: Gateway) -> None:
    tasks = tasks_of(3, 0, 1, 0, 0, 2, 0)
    async with serving_partition(tasks) as partition:
        finished(gateway.backend, source_of(partition))
        replies = [reply async for reply in results(gateway)]
    assert blocks_of(replies) == expected_of(tasks)
    assert [reply.HasField("info") for reply in replies] == [True, *[False] * (len(replies) - 1)]
    assert [reply.HasField("total") for reply in replies] == [*[False] * (len(replies) - 1), True]
    assert (replies[0].info.parts, replies[0].info.records) == (7, 10)
    total = replies[-1].total
    assert (total.blocks, total.records, total.bytes) == (6, 10, 600)
    assert len(partition.fetches) == 1


@pytest.mark.parametrize(("first", "parts"), [(0, 1), (1, 2), (2, 0), (3, 9), (4, 0), (1, 1)])
async def test_some_parts_are_those_that_were_asked_for(
    gateway: Gateway, first: int, parts: int
) -> None:
    tasks = tasks_of(1, 2, 3, 4)
    async with serving_partition(tasks) as partition:
        finished(gateway.backend, source_of(partition))
        replies = [r async for r in results(gateway, first_part=first, parts=parts)]
    stop = first + parts if parts else len(tasks)
    wanted = [block for block in expected_of(tasks) if first <= block[0] < stop]
    assert blocks_of(replies) == wanted
    assert replies[-1].total.blocks == len(wanted)


async def test_parts_that_are_spread_over_services_come_in_their_order(gateway: Gateway) -> None:
    even, odd = tasks_of(2, 2, 2), tasks_of(1, 1, 1, first=3)
    async with (
        serving_partition(even, service_id="ps-0") as one,
        serving_partition(odd, service_id="ps-1") as other,
    ):
        source = source_of(one, other, order=lambda part: (part.task, part.service))
        finished(gateway.backend, source)
        replies = [reply async for reply in results(gateway)]
    mixed = [blocks for pair in zip(even, odd, strict=True) for blocks in pair]
    assert blocks_of(replies) == expected_of(mixed)


async def test_thousands_of_parts_take_few_selections(gateway: Gateway) -> None:
    tasks = tasks_of(*[1] * 1_200)
    async with serving_partition(tasks) as partition:
        finished(gateway.backend, source_of(partition))
        replies = [reply async for reply in results(gateway)]
    assert blocks_of(replies) == expected_of(tasks)
    assert [len(fetch.tasks.tasks) for fetch in partition.fetches] == [500, 500, 200]


async def test_an_empty_result_is_told_as_one(gateway: Gateway) -> None:
    async with serving_partition(tasks_of(0, 0)) as partition:
        finished(gateway.backend, source_of(partition))
        (reply,) = [reply async for reply in results(gateway)]
    assert (reply.info.parts, reply.total.blocks, reply.HasField("total")) == (2, 0, True)
    assert partition.fetches == []


async def test_records_in_an_output_are_named_and_not_read(gateway: Gateway) -> None:
    info = jobs_pb2.ResultsInfo(records=5, output_url="s3://bucket/out", output_format="text")
    finished(gateway.backend, None, results=info)
    (reply,) = [reply async for reply in results(gateway)]
    assert reply.info == info
    assert not reply.HasField("total")


async def test_a_large_result_goes_on_at_another_gateway_wherever_it_was_cut(
    backend: FakeBackend,
) -> None:
    """60 MB, cut after every few messages, each time read on by another gateway."""
    tasks = tasks_of(40, 0, 7, 73, size=BLOCK_BYTES)
    async with (
        serving_partition(tasks) as partition,
        gateway_over(backend) as one,
        gateway_over(backend) as other,
    ):
        finished(backend, source_of(partition))
        heard: list[jobs_pb2.ResultsReply] = []
        gateways = [one, other]
        while not (heard and heard[-1].HasField("total")):
            cursor = heard[-1].cursor if heard else ""
            call = results(gateways[len(heard) % 2], cursor=cursor)
            count = 0
            async for reply in call:
                assert reply.HasField("info") == (count == 0)
                heard.append(reply)
                count += 1
                if count == 17:
                    call.cancel()
                    break
        assert blocks_of(heard) == expected_of(tasks)
        assert heard[-1].total.bytes == 120 * BLOCK_BYTES
        # A break costs what was on its way, and not all of the part again.
        assert partition.sent < 120 + 10 * len(partition.fetches)


async def test_a_gateway_that_ends_in_the_middle_loses_nothing(backend: FakeBackend) -> None:
    tasks = tasks_of(30, 30, size=BLOCK_BYTES)
    async with serving_partition(tasks) as partition, gateway_over(backend) as other:
        finished(backend, source_of(partition))
        heard: list[jobs_pb2.ResultsReply] = []
        async with AsyncExitStack() as ending:
            first = await ending.enter_async_context(gateway_over(backend))
            async with channel_to(first.served) as channel:
                call = replace(first, channel=channel)
                replies = aiter(results(call))
                heard.append(await anext(replies))
                await ending.aclose()
                status = await refused_after(replies, heard)
                assert status.code == code_pb2.UNAVAILABLE
        heard += [reply async for reply in results(other, cursor=heard[-1].cursor)]
    assert blocks_of(heard) == expected_of(tasks)


async def refused_after(replies: Any, heard: list[jobs_pb2.ResultsReply]) -> Any:
    """Read what still comes, up to the error."""

    async def reading() -> None:
        async for reply in replies:
            heard.append(reply)

    return await refused(reading())


@pytest.mark.parametrize("break_after", [1, 2, 5])
async def test_a_partition_service_that_breaks_off_again_and_again_is_read_on(
    gateway: Gateway, break_after: int
) -> None:
    tasks = tasks_of(3, 1, 4)
    async with serving_partition(tasks) as partition:
        partition.break_after = break_after
        finished(gateway.backend, source_of(partition))
        replies = [reply async for reply in results(gateway)]
    assert blocks_of(replies) == expected_of(tasks)
    assert partition.sent == 8


async def test_a_partition_service_that_was_started_again_is_read_from_where_the_reader_is(
    gateway: Gateway,
) -> None:
    """Its cursors are worthless; the part is read again, and what was sent of it is skipped."""
    tasks = tasks_of(3, 5, 4)
    async with serving_partition(tasks) as partition:
        partition.break_after = 5
        finished(gateway.backend, source_of(partition))
        replies = aiter(results(gateway))
        heard = [await anext(replies)]
        partition.restart()
        heard += [reply async for reply in replies]
        assert blocks_of(heard) == expected_of(tasks)
        cursor = heard[5].cursor
        partition.restart()
        partition.break_after = None
        partition.fetches.clear()
        rest = [reply async for reply in results(gateway, cursor=cursor)]
    assert blocks_of(heard[:6] + rest) == expected_of(tasks)
    with_cursor, anew = partition.fetches
    assert with_cursor.cursor
    assert (list(anew.tasks.tasks), anew.cursor) == ([1, 2], b"")


async def test_a_cursor_of_another_job_is_told(gateway: Gateway) -> None:
    async with serving_partition(tasks_of(2)) as partition:
        finished(gateway.backend, source_of(partition))
        replies = [reply async for reply in results(gateway)]
        finished(gateway.backend, source_of(partition))
        status = await refused(results(gateway, cursor=replies[0].cursor))
    assert status.code == code_pb2.ABORTED


async def test_a_cursor_of_other_parts_is_refused(gateway: Gateway) -> None:
    async with serving_partition(tasks_of(2, 2)) as partition:
        finished(gateway.backend, source_of(partition))
        replies = [reply async for reply in results(gateway, parts=1)]
        status = await refused(results(gateway, cursor=replies[0].cursor))
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert detail(status, error_details_pb2.BadRequest).field_violations[0].field == "cursor"


async def test_a_part_that_is_not_there_is_refused(gateway: Gateway) -> None:
    async with serving_partition(tasks_of(2, 2)) as partition:
        finished(gateway.backend, source_of(partition))
        status = await refused(results(gateway, first_part=3))
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert "2 parts" in status.message


async def test_the_end_can_be_asked_for_again(gateway: Gateway) -> None:
    """Whoever did not get the last message gets it with the cursor of the one before."""
    async with serving_partition(tasks_of(2, 0)) as partition:
        finished(gateway.backend, source_of(partition))
        replies = [reply async for reply in results(gateway)]
        for cursor in (replies[-2].cursor, replies[-1].cursor):
            (last,) = [reply async for reply in results(gateway, cursor=cursor)]
            assert last.total == replies[-1].total


def changed(source: ResultSource, part: int, totals: Totals) -> ResultSource:
    parts: list[Part] = list(source.parts)
    parts[part] = parts[part]._replace(totals=totals)
    return replace(source, parts=parts)


@pytest.mark.parametrize("lie", [(1, 3, 200), (3, 3, 200), (2, 4, 200), (2, 3, 201)])
@pytest.mark.parametrize("part", [0, 1, 2])
async def test_what_is_not_all_there_is_an_error_and_no_short_result(
    gateway: Gateway, lie: tuple[int, int, int], part: int
) -> None:
    async with serving_partition(tasks_of(2, 2, 2)) as partition:
        source = changed(source_of(partition), part, Totals(*lie))
        finished(gateway.backend, source)
        status = await refused(results(gateway))
    assert status.code == code_pb2.FAILED_PRECONDITION
    assert f"part {part} of the results of team/count has" in status.message


async def test_blocks_that_are_lost_are_an_error(gateway: Gateway) -> None:
    async with serving_partition(tasks_of(2, 2)) as partition:
        source = source_of(partition)
        partition.lie = 1
        finished(gateway.backend, source)
        status = await refused(results(gateway))
    assert status.code == code_pb2.FAILED_PRECONDITION


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.INVALID_ARGUMENT]
)
async def test_results_that_a_service_does_not_have_are_lost(
    gateway: Gateway, code: grpc.StatusCode
) -> None:
    async with serving_partition(tasks_of(1)) as partition:
        partition.refusal = (code, "dropped")
        finished(gateway.backend, source_of(partition))
        status = await refused(results(gateway))
    assert status.code == code_pb2.FAILED_PRECONDITION
    assert "run the job again" in status.message


async def test_a_service_that_does_not_answer_is_waited_for_a_while(backend: FakeBackend) -> None:
    limits = Limits(results_patience_s=0.5)
    async with gateway_over(backend, limits=limits) as gateway:
        async with serving_partition(tasks_of(1)) as partition:
            source = source_of(partition)
        finished(backend, source)
        status = await refused(results(gateway))
    assert status.code == code_pb2.UNAVAILABLE
    assert detail(status, error_details_pb2.RetryInfo).retry_delay.seconds


async def test_a_slow_reader_holds_no_memory(gateway: Gateway) -> None:
    """Nothing is asked of the partition service before the reader takes what came before."""
    tasks = tasks_of(200, size=BLOCK_BYTES)
    async with serving_partition(tasks) as partition:
        finished(gateway.backend, source_of(partition))
        replies = aiter(results(gateway))
        await anext(replies)
        settled = await settled_value(partition)
        assert settled < 60, "100 MB were read for somebody who reads nothing"
        heard = [reply async for reply in replies]
        assert len(heard) == 200


async def test_a_slow_reader_over_http_holds_no_memory(gateway: Gateway) -> None:
    tasks = tasks_of(100, size=BLOCK_BYTES)
    async with serving_partition(tasks) as partition, http_of(gateway) as http:
        finished(gateway.backend, source_of(partition))
        async with http.get("/v1/namespaces/team/jobs/count:results") as response:
            await response.content.read(1)
            settled = await settled_value(partition)
            assert settled < 60, "50 MB were read for somebody who reads nothing"
            body = await response.content.read()
            assert body.count(b"\n") == 101


async def settled_value(partition: FakePartition) -> int:
    """Return how many blocks were sent, once no more are."""
    before = -1
    while before != partition.sent:
        before = partition.sent
        await asyncio.sleep(0.3)
    return before
