"""The partition service over a real socket, in this process."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest

from disco.v1 import common_pb2, partition_pb2, partition_pb2_grpc
from disco_engine import rpc, wire
from disco_engine.core.model import NOTHING, AttemptId, Layout, Totals
from disco_engine.partition.recovery import recover
from disco_engine.partition.service import PartitionService
from disco_engine.partition.store import Limits, Store

JOB = "job-1"
TOKEN = "secret"
STAGE = 1
SEALED = partition_pb2.DECISION_RESULT_SEALED
DISCARDED = partition_pb2.DECISION_RESULT_DISCARDED
UNKNOWN = partition_pb2.DECISION_RESULT_UNKNOWN
COMPLETE = partition_pb2.PUSH_STATUS_COMPLETE
REFUSED = partition_pb2.PUSH_STATUS_REFUSED
DISK_FULL = partition_pb2.PUSH_STATUS_DISK_FULL
INCOMPLETE = partition_pb2.PUSH_STATUS_INCOMPLETE

BlockSpec = tuple[int, int, bytes]  # label, records, frame


def attempt(task: int, number: int = 1, *, epoch: int = 1, stage: int = STAGE) -> AttemptId:
    return AttemptId(stage, task, epoch, number)


def totals(blocks: Sequence[BlockSpec]) -> Totals:
    return Totals(len(blocks), sum(b[1] for b in blocks), sum(len(b[2]) for b in blocks))


def output(
    who: AttemptId,
    *blocks: BlockSpec,
    complete: Totals | None = None,
    layout: Layout = Layout.BY_LABEL,
) -> partition_pb2.AttemptBlocks:
    return partition_pb2.AttemptBlocks(
        attempt=wire.attempt_to_wire(who),
        layout=wire.layout_to_wire(layout),
        blocks=[common_pb2.Block(label=n, records=r, frame=f) for n, r, f in blocks],
        complete=None if complete is None else wire.totals_to_wire(complete),
    )


@dataclass
class Client:
    """What coordinator and workers do, in few words."""

    stub: "partition_pb2_grpc.PartitionAsyncStub"
    store: Store
    token: str = TOKEN

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return rpc.credentials_of(self.token)

    async def attach(
        self,
        epoch: int = 1,
        *,
        tell_sealed: bool = False,
        tell_values: bool = False,
        tell_copies: bool = False,
    ) -> list[partition_pb2.AttachReply]:
        request = partition_pb2.AttachRequest(
            job_uid=JOB,
            epoch=epoch,
            tell_sealed=tell_sealed,
            tell_values=tell_values,
            tell_copies=tell_copies,
        )
        return [reply async for reply in self.stub.Attach(request, metadata=self.metadata)]

    async def push(self, *outputs: partition_pb2.AttemptBlocks) -> list[tuple[AttemptId, int, str]]:
        """Push each in a message of its own, on one stream, and return all results."""
        requests = [partition_pb2.PushRequest(job_uid=JOB, outputs=[o]) for o in outputs]
        call = self.stub.Push(iter(requests), metadata=self.metadata)
        return [
            (wire.attempt_from_wire(r.attempt), r.status, r.message)
            async for reply in call
            for r in reply.results
        ]

    async def write(
        self, who: AttemptId, *blocks: BlockSpec, layout: Layout = Layout.BY_LABEL
    ) -> None:
        """Push a whole attempt."""
        whole = output(who, *blocks, complete=totals(blocks), layout=layout)
        assert await self.push(whole) == [(who, COMPLETE, "")]

    async def write_and_seal(
        self, who: AttemptId, *blocks: BlockSpec, layout: Layout = Layout.BY_LABEL
    ) -> None:
        await self.write(who, *blocks, layout=layout)
        assert await self.seal(who, totals(blocks)) == SEALED

    async def decide(self, *decisions: partition_pb2.Decision, epoch: int = 1) -> list[int]:
        request = partition_pb2.DecideRequest(job_uid=JOB, epoch=epoch, decisions=decisions)
        reply = await self.stub.Decide(request, metadata=self.metadata)
        return list(reply.results)

    async def seal(self, who: AttemptId, expected: Totals, *, epoch: int = 1) -> int:
        (result,) = await self.decide(seal(who, expected), epoch=epoch)
        return result

    async def discard(self, who: AttemptId) -> int:
        (result,) = await self.decide(discard(who))
        return result

    async def fetch(
        self,
        label: int | None = None,
        *,
        tasks: Sequence[int] = (),
        stage: int = STAGE,
        cursor: bytes = b"",
        copies: bool = False,
    ) -> tuple[list[tuple[AttemptId, BlockSpec]], Totals]:
        found, total = [], None
        stream = self.stream(label, tasks=tasks, stage=stage, cursor=cursor, copies=copies)
        async for reply in stream:
            assert total is None, "something came after the totals"
            found += blocks_of(reply)
            if reply.HasField("total"):
                total = wire.totals_from_wire(reply.total)
        assert total is not None
        return found, total

    def stream(
        self,
        label: int | None = None,
        *,
        tasks: Sequence[int] = (),
        stage: int = STAGE,
        cursor: bytes = b"",
        copies: bool = False,
    ) -> grpc.aio.UnaryStreamCall[partition_pb2.FetchRequest, partition_pb2.FetchReply]:
        request = partition_pb2.FetchRequest(job_uid=JOB, stage=stage, cursor=cursor, copies=copies)
        if tasks:
            request.tasks.CopyFrom(partition_pb2.TaskSelector(tasks=tasks, label=label))
        else:
            request.label = label or 0
        return self.stub.Fetch(request, metadata=self.metadata)


def blocks_of(reply: partition_pb2.FetchReply) -> list[tuple[AttemptId, BlockSpec]]:
    return [
        (wire.attempt_from_wire(b.attempt), (b.block.label, b.block.records, b.block.frame))
        for b in reply.blocks
    ]


def seal(who: AttemptId, expected: Totals, output_file: str = "") -> partition_pb2.Decision:
    return partition_pb2.Decision(
        seal=partition_pb2.SealRequest(
            attempt=wire.attempt_to_wire(who),
            group=common_pb2.Group(origin=who.task),
            output_file=output_file,
            expected=wire.totals_to_wire(expected),
        )
    )


def discard(who: AttemptId) -> partition_pb2.Decision:
    return partition_pb2.Decision(discard=wire.attempt_to_wire(who))


@asynccontextmanager
async def serving(
    directory: Path, limits: Limits | None = None, *, forget: bool = False, attach: bool = True
) -> AsyncIterator[Client]:
    """Serve *directory*; with *forget* what is not on disk at the end is lost, as by a kill."""
    holdings = recover(directory, JOB)
    store = Store(holdings, limits or Limits())
    server = rpc.aio_server(TOKEN)
    service = PartitionService(store, service_id="ps-0", node="node-a")
    partition_pb2_grpc.add_PartitionServicer_to_server(service, server)
    port = rpc.listen(server, "127.0.0.1", 0)
    await server.start()
    try:
        async with asyncio.TaskGroup() as tasks, rpc.aio_channel(f"127.0.0.1:{port}") as channel:
            tasks.create_task(store.writer.run())
            client = Client(partition_pb2_grpc.PartitionStub(channel), store)
            if attach:
                await client.attach()
            yield client
            if not forget:
                await store.writer.commit()
            store.writer.stop()
    finally:
        await server.stop(None)
        holdings.close()


def status_of(error: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> tuple[grpc.StatusCode, str]:
    return error.value.code(), error.value.details() or ""


A: BlockSpec = (0, 3, b"frame a")
B: BlockSpec = (1, 5, b"the frame b")
C: BlockSpec = (0, 1, b"c")


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


# --- bounds -----------------------------------------------------------------------------------


async def test_a_pusher_waits_while_the_memory_is_full(tmp_path: Path) -> None:
    first = output(attempt(0), (0, 1, bytes(1000)))
    second = output(attempt(1), (0, 1, bytes(1000)), complete=Totals(1, 1, 1000))
    async with serving(tmp_path, Limits(memory_bytes=1500)) as client, asyncio.TaskGroup() as tasks:
        await client.store.writer.idle.acquire()  # nothing reaches the disk meanwhile
        await client.push(first)
        pushing = tasks.create_task(client.push(second))
        done, _ = await asyncio.wait([pushing], timeout=0.1)
        assert not done
        assert client.store.budget.used == 1044
        client.store.writer.idle.release()
        assert await pushing == [(attempt(1), COMPLETE, "")]


async def test_pushes_are_refused_above_the_watermark_and_what_was_accepted_stays(
    tmp_path: Path,
) -> None:
    limits = Limits(storage_bytes=20_000, high_watermark=0.5)
    frame = bytes(4000)
    async with serving(tmp_path, limits) as client:
        await client.write_and_seal(attempt(0), (0, 1, frame))
        await client.write(attempt(1), (0, 1, frame))
        (refused, other) = await client.push(
            output(attempt(2), (0, 1, frame)),
            output(attempt(2), (0, 1, frame), complete=Totals(2, 2, 8000)),
            output(attempt(3), complete=NOTHING),
        )
        who, status, message = refused
        assert (who, status) == (attempt(2), DISK_FULL)
        assert str(tmp_path) in message
        assert "of 20,000 bytes" in message
        assert other == (attempt(3), COMPLETE, "")  # it needs no room
        stat = await client.stub.Stat(partition_pb2.StatRequest(), metadata=client.metadata)
        assert stat.disk_limit_bytes == 20_000
        assert stat.full  # although a smaller push may still find room
        assert f"{tmp_path} has " in stat.full_reason
        assert await client.seal(attempt(1), Totals(1, 1, 4000)) == SEALED
        await client.store.writer.commit()
        found, total = await client.fetch(0)
        assert [who.task for who, _ in found] == [0, 1]
        assert total == Totals(2, 2, 8000)


async def test_5000_tiny_blocks_of_500_labels_make_one_file_and_few_extents(tmp_path: Path) -> None:
    labels, tasks = 500, 10
    limits = Limits(memory_bytes=100_000)
    async with serving(tmp_path, limits) as client:
        for task in range(tasks):
            blocks = [(label, 1, b"%d of %d" % (label, task)) for label in range(labels)]
            await client.write_and_seal(attempt(task), *blocks)
        await client.store.writer.commit()
        assert sorted(os.listdir(tmp_path)) == ["journal", "stage-1.by-label.log"]
        for label in (0, 250, 499):
            found, _ = await client.fetch(label)
            assert [spec for _, spec in found] == [
                (label, 1, b"%d of %d" % (label, task)) for task in range(tasks)
            ]


# --- dropping ---------------------------------------------------------------------------------


async def test_dropped_attempts_are_gone_and_their_numbers_are_never_accepted_again(
    tmp_path: Path,
) -> None:
    request = partition_pb2.DropRequest(
        job_uid=JOB, epoch=1, attempts=[wire.attempt_to_wire(attempt(0))]
    )
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, B)
        await client.write_and_seal(attempt(1), C)
        await client.stub.Drop(request, metadata=client.metadata)
        assert await client.fetch(0) == ([(attempt(1), C)], totals([C]))
        ((_, status, _),) = await client.push(output(attempt(0), A, complete=totals([A])))
        assert status == REFUSED
    async with serving(tmp_path) as client:
        assert await client.fetch(0) == ([(attempt(1), C)], totals([C]))
        assert await client.fetch(1) == ([], NOTHING)


async def test_after_dropping_everything_files_are_gone_and_nothing_is_accepted(
    tmp_path: Path,
) -> None:
    request = partition_pb2.DropRequest(job_uid=JOB, epoch=1, all=True)
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A)
        await client.store.writer.commit()
        await client.write(attempt(1), A)
        await client.stub.Drop(request, metadata=client.metadata)
        assert os.listdir(tmp_path) == ["journal"]
        assert client.store.budget.used == 0
    for _ in range(2):
        async with serving(tmp_path) as client:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await client.fetch(0)
            assert status_of(error)[0] is grpc.StatusCode.NOT_FOUND
            ((_, status, _),) = await client.push(output(attempt(2), A))
            assert status == REFUSED


# --- damage -----------------------------------------------------------------------------------


async def test_a_flipped_byte_in_a_header_costs_exactly_the_attempt_it_belongs_to(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as client:
        for task, block in enumerate((A, C, (0, 2, b"third"))):
            await client.write_and_seal(attempt(task), block)
        await client.store.writer.commit()
        with (tmp_path / "stage-1.by-label.log").open("r+b") as log:
            log.seek(44 + len(A[2]) + 30)  # in the second block's header
            log.write(b"\xff")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.fetch(0)
        code, message = status_of(error)
        assert code is grpc.StatusCode.DATA_LOSS
        assert str(attempt(1)) in message
        assert str(attempt(0)) not in message
        _, reply = await client.attach()
        assert [s.attempt.task for s in reply.sealed] == [0, 2]
        await client.write_and_seal(attempt(1, 2), C)
        found, total = await client.fetch(0)
        assert [who.task for who, _ in found] == [0, 2, 1]
        assert total.blocks == 3


async def test_a_log_that_lost_its_end_costs_the_attempts_that_were_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, layout=Layout.BY_TASK)
        await client.write_and_seal(attempt(1), C, layout=Layout.BY_TASK)
        await client.store.writer.commit()
        path = tmp_path / "stage-1.by-task.log"
        with path.open("r+b") as log:
            log.truncate(path.stat().st_size - 1)
        assert (await client.fetch(tasks=[0]))[1] == totals([A])
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.fetch(tasks=[0, 1])
        code, message = status_of(error)
        assert code is grpc.StatusCode.DATA_LOSS
        assert str(attempt(1)) in message
        assert (await client.fetch(tasks=[0]))[1] == totals([A])


# --- a new process ----------------------------------------------------------------------------


async def test_a_new_process_goes_on_with_all_that_reached_the_disk(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, B)
        await client.write_and_seal(attempt(0, stage=2), C, layout=Layout.BY_TASK)
        await client.seal(attempt(1), NOTHING)
        await client.write(attempt(2), A)
    async with serving(tmp_path, attach=False) as client:
        first, reply = await client.attach()
        assert first.state.epoch == 1
        assert [(s.attempt.stage, s.attempt.task) for s in reply.sealed] == [(1, 0), (2, 0), (1, 1)]
        assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
        assert (await client.fetch(tasks=[0], stage=2))[1] == totals([C])
        await client.write_and_seal(attempt(3), C)
        assert (await client.fetch(0))[1] == totals([A, C])


async def test_an_attempt_that_a_new_process_finds_in_part_is_never_accepted_again(
    tmp_path: Path,
) -> None:
    """Else blocks that are pushed again would be there twice."""
    async with serving(tmp_path) as client:
        await client.push(output(attempt(0), A))
    async with serving(tmp_path) as client:
        ((_, status, _),) = await client.push(output(attempt(0), A, complete=totals([A])))
        assert status == REFUSED


async def test_seals_that_did_not_reach_the_disk_are_forgotten_by_a_new_process(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, forget=True) as client:
        await client.write_and_seal(attempt(0), A)
        await client.store.writer.commit()
        async with client.store.writer.idle:
            await client.write_and_seal(attempt(1), C)
            client.store.writer.stop()
    async with serving(tmp_path) as client:
        assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
        assert await client.seal(attempt(1), totals([C])) == UNKNOWN


async def test_a_new_process_does_not_believe_a_seal_whose_blocks_are_gone(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A)
        await client.write_and_seal(attempt(1), C)
    path = tmp_path / "stage-1.by-label.log"
    with path.open("r+b") as log:
        log.truncate(path.stat().st_size - 1)
    for _ in range(2):
        async with serving(tmp_path) as client:
            _, reply = await client.attach()
            assert [s.attempt.task for s in reply.sealed] == [0]
            assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
            assert await client.seal(attempt(1), totals([C])) == DISCARDED


async def test_a_torn_end_of_the_journal_costs_what_it_said(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A)
        await client.store.writer.commit()
        await client.write_and_seal(attempt(1), C)
    journal = tmp_path / "journal"
    with journal.open("r+b") as file:
        file.truncate(journal.stat().st_size - 3)
    for _ in range(2):
        async with serving(tmp_path) as client:
            assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
            assert await client.seal(attempt(1), totals([C])) == DISCARDED
