"""A partition service in this process, behind a real socket, and few words for what it is told."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest

from disco.v1 import common_pb2, partition_pb2, partition_pb2_grpc
from disco_engine import rpc, wire
from disco_engine.core.model import AttemptId, Layout, Totals
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
