"""What a partition service is told, and what its readers see."""

from pathlib import Path

import grpc
import grpc.aio
import pytest
from tests.integration.partition_service import (
    COMPLETE,
    DISCARDED,
    INCOMPLETE,
    JOB,
    REFUSED,
    SEALED,
    UNKNOWN,
    A,
    B,
    BlockSpec,
    C,
    attempt,
    blocks_of,
    discard,
    output,
    seal,
    serving,
    status_of,
    totals,
)

from disco.v1 import common_pb2, partition_pb2
from disco_engine import wire
from disco_engine.core.model import NOTHING, Layout

# --- what readers see -------------------------------------------------------------------------


async def test_readers_see_sealed_attempts_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A, B)
        await client.write(attempt(1), C)
        assert await client.fetch(0) == ([], NOTHING)
        assert await client.seal(attempt(0), totals([A, B])) == SEALED
        assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
        assert await client.fetch(1) == ([(attempt(0), B)], totals([B]))
        assert await client.fetch(2) == ([], NOTHING)


async def test_what_is_on_disk_and_what_waits_in_memory_read_alike_and_in_order(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, B)
        await client.store.writer.commit()
        await client.write_and_seal(attempt(1), C)
        expected = [(attempt(0), A), (attempt(1), C)]
        assert await client.fetch(0) == (expected, totals([A, C]))
        await client.store.writer.commit()
        assert await client.fetch(0) == (expected, totals([A, C]))


async def test_tasks_are_read_in_the_order_asked_and_one_label_of_them_if_asked(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, B, layout=Layout.BY_TASK)
        await client.store.writer.commit()
        await client.write_and_seal(attempt(1), C, layout=Layout.BY_TASK)
        first, second = (attempt(0), A), (attempt(0), B)
        third = (attempt(1), C)
        assert await client.fetch(tasks=[1, 0]) == ([third, first, second], totals([C, A, B]))
        assert await client.fetch(0, tasks=[0, 1]) == ([first, third], totals([A, C]))


async def test_an_attempt_without_output_is_sealed_without_a_push_and_reads_as_nothing(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as client:
        assert await client.seal(attempt(0), NOTHING) == SEALED
        assert await client.fetch(tasks=[0]) == ([], NOTHING)


async def test_a_task_that_is_not_sealed_is_an_error_and_not_an_empty_result(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(3), A, layout=Layout.BY_TASK)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.fetch(tasks=[3])
        code, message = status_of(error)
        assert code is grpc.StatusCode.NOT_FOUND
        assert "task 3 of stage 1 is not sealed here" in message


async def test_a_stage_laid_out_by_task_has_no_labels_to_fetch(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, layout=Layout.BY_TASK)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.fetch(0)
        assert status_of(error)[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_fetch_does_not_see_what_is_sealed_after_it_began(tmp_path: Path) -> None:
    large: BlockSpec = (0, 1, bytes(1_200_000))
    async with serving(tmp_path) as client:
        for task in range(3):
            await client.write_and_seal(attempt(task), large)
        await client.write(attempt(3), large)
        stream = client.stream(0)
        found = blocks_of(await anext(aiter(stream)))
        assert await client.seal(attempt(3), totals([large])) == SEALED
        async for reply in stream:
            found += blocks_of(reply)
        assert [who.task for who, _ in found] == [0, 1, 2]
        assert wire.totals_from_wire(reply.total) == totals([large] * 3)


# --- a stream that breaks ---------------------------------------------------------------------


async def test_a_fetch_goes_on_at_its_cursor_wherever_the_blocks_have_moved(
    tmp_path: Path,
) -> None:
    blocks: list[BlockSpec] = [(0, n + 1, bytes([n]) * 700_000) for n in range(5)]
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), *blocks)
        stream = client.stream(0)
        first = await anext(aiter(stream))
        stream.cancel()
        await client.store.writer.commit()
        rest, total = await client.fetch(0, cursor=first.cursor)
        assert [spec for _, spec in blocks_of(first) + rest] == blocks
        assert rest
        assert total == totals(blocks)


async def test_every_message_of_a_fetch_is_a_place_to_go_on(tmp_path: Path) -> None:
    blocks: list[BlockSpec] = [(n % 2, 1, bytes([n]) * 400_000) for n in range(9)]
    async with serving(tmp_path) as client:
        for task in range(3):
            who = attempt(task)
            await client.write_and_seal(
                who, *blocks[3 * task : 3 * task + 3], layout=Layout.BY_TASK
            )
        await client.store.writer.commit()
        replies = [reply async for reply in client.stream(0, tasks=[2, 0, 1])]
        whole = [block for reply in replies for block in blocks_of(reply)]
        assert len(replies) > 1
        seen = 0
        for reply in replies:
            seen += len(reply.blocks)
            rest, total = await client.fetch(0, tasks=[2, 0, 1], cursor=reply.cursor)
            assert rest == whole[seen:]
            assert total == totals([spec for _, spec in whole])


async def test_a_cursor_of_another_incarnation_is_worthless(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A)
        (reply,) = [reply async for reply in client.stream(0)]
    async with serving(tmp_path) as client:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.fetch(0, cursor=reply.cursor)
        assert status_of(error)[0] is grpc.StatusCode.ABORTED
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.fetch(0, cursor=b"no cursor")
        assert status_of(error)[0] is grpc.StatusCode.INVALID_ARGUMENT


# --- pushing and deciding ---------------------------------------------------------------------


async def test_blocks_of_many_attempts_may_be_interleaved(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        results = await client.push(
            output(attempt(0), A),
            output(attempt(1), C, complete=totals([C])),
            output(attempt(0), B, complete=totals([A, B])),
        )
        assert results == [(attempt(1), COMPLETE, ""), (attempt(0), COMPLETE, "")]


async def test_seal_and_discard_exclude_each_other_and_the_first_wins(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A)
        await client.write(attempt(1), A)
        a, b = attempt(0), attempt(1)
        decisions = (seal(a, totals([A])), discard(a), discard(b), seal(b, totals([A])))
        assert await client.decide(*decisions) == [SEALED, SEALED, DISCARDED, DISCARDED]
        assert await client.decide(*decisions) == [SEALED, SEALED, DISCARDED, DISCARDED]
        assert await client.fetch(0) == ([(a, A)], totals([A]))


async def test_what_is_pushed_after_a_discard_is_refused_once_and_dropped(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        assert await client.discard(attempt(0)) == DISCARDED
        results = await client.push(
            output(attempt(0), A),
            output(attempt(0), B, complete=totals([A, B])),
            output(attempt(1), C, complete=totals([C])),
        )
        (late, status, message), other = results
        assert (late, status) == (attempt(0), REFUSED)
        assert "discarded" in message
        assert other == (attempt(1), COMPLETE, "")
        assert client.store.budget.used == 44 + 1  # the header and frame of C, nothing else


async def test_an_attempt_that_lost_a_block_on_the_way_is_discarded(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        ((_, status, message),) = await client.push(
            output(attempt(0), A, complete=totals([A, B])),
        )
        assert status == INCOMPLETE
        assert "made again" in message
        assert await client.seal(attempt(0), totals([A, B])) == DISCARDED


async def test_an_attempt_is_not_sealed_as_something_else_than_it_reported(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A)
        assert await client.seal(attempt(0), NOTHING) == UNKNOWN
        assert await client.seal(attempt(1), totals([A])) == UNKNOWN
        assert await client.seal(attempt(0), totals([A])) == SEALED


async def test_an_attempt_stays_open_when_its_stream_breaks(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.push(output(attempt(0), A))
        await client.push(output(attempt(0), B, complete=totals([A, B])))
        assert await client.seal(attempt(0), totals([A, B])) == SEALED


async def test_a_stage_has_one_layout(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.push(output(attempt(1), A, layout=Layout.BY_TASK))
        code, message = status_of(error)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "stage 1 is laid out by label, not by task" in message


# --- who may call -----------------------------------------------------------------------------


async def test_calls_without_the_token_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        client.token = "guessed"
        for call in (client.attach(), client.push(output(attempt(0), A)), client.fetch(0)):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            assert status_of(error)[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_calls_for_another_job_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        request = partition_pb2.FetchRequest(job_uid="job-2", stage=1, label=0)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.stub.Fetch(request, metadata=client.metadata).read()
        code, message = status_of(error)
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "job-1" in message
        assert "job-2" in message


async def test_a_new_epoch_fences_the_old_coordinator_and_its_attempts(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A)
        await client.write(attempt(1), A)
        first, *sealed = await client.attach(2)
        assert first.state.epoch == 2
        assert [s.attempt.task for reply in sealed for s in reply.sealed] == [0]
        for late in (client.attach(1), client.discard(attempt(2))):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await late
            assert status_of(error)[0] is grpc.StatusCode.FAILED_PRECONDITION
        assert await client.seal(attempt(1), totals([A]), epoch=2) == DISCARDED
        ((_, status, _),) = await client.push(output(attempt(2), C, complete=totals([C])))
        assert status == REFUSED


async def test_attaching_with_epoch_0_tells_the_state_and_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A)
        (reply,) = await client.attach(0)
        assert reply.state.service_id == "ps-0"
        assert reply.state.node == "node-a"
        assert reply.state.epoch == 1
        assert not reply.state.HasField("plan")
        assert await client.seal(attempt(0), totals([A])) == SEALED


async def test_who_reads_results_learns_what_is_sealed_and_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A)
        await client.decide(seal(attempt(0), totals([A])))
        await client.write(attempt(1), B)
        _, reply = await client.attach(0, tell_sealed=True)
        assert [wire.sealed_from_wire(found).id for found in reply.sealed] == [attempt(0)]
        assert await client.seal(attempt(1), totals([B])) == SEALED


async def test_the_inventory_says_what_the_seals_said(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A, C, B)
        await client.decide(seal(attempt(0), totals([A, B, C]), output_file="part-7"))
        _, reply = await client.attach()
        (sealed,) = map(wire.sealed_from_wire, reply.sealed)
        assert sealed.id == attempt(0)
        assert sealed.group.origin == 0
        assert sealed.output_file == "part-7"
        assert sealed.labels == {0: totals([A, C]), 1: totals([B])}


async def test_what_a_seal_says_beside_the_blocks_outlives_the_process(tmp_path: Path) -> None:
    kept = [common_pb2.NamedValue(key="k", value=b"\xff"), common_pb2.NamedValue(key="a")]
    decision = seal(attempt(1), NOTHING)
    decision.seal.values.extend(kept)
    async with serving(tmp_path) as client:
        assert await client.decide(decision) == [SEALED]
        await client.attach()
    async with serving(tmp_path, forget=True) as client:
        (_, inventory) = await client.attach(2)
        assert list(inventory.sealed[0].values) == kept
        (_, inventory) = await client.attach(0, tell_sealed=True)
        assert not inventory.sealed[0].values  # who reads results needs none of them
        (_, inventory) = await client.attach(0, tell_sealed=True, tell_values=True)
        assert list(inventory.sealed[0].values) == kept


async def test_a_plan_is_kept_and_another_one_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:

        async def record(plan: bytes) -> None:
            request = partition_pb2.RecordPlanRequest(job_uid=JOB, epoch=1, plan=plan)
            await client.stub.RecordPlan(request, metadata=client.metadata)

        await record(b"the plan")
        await record(b"the plan")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await record(b"another")
        assert status_of(error)[0] is grpc.StatusCode.ALREADY_EXISTS
        assert (await client.attach())[0].state.plan == b"the plan"
