"""A partition service that tests drive: it only hands out results, over a real socket.

Its blocks may be made when they are asked for, so that a result can be larger than memory.
"""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from disco.v1 import partition_pb2
from disco_engine import rpc, wire
from disco_engine.core.model import NOTHING, AttemptId, Totals
from disco_gateway.backend import Part, ResultSource

Blocks = Sequence[tuple[int, bytes]]
"""Number of records, and frame, of each block of a part."""

STAGE = 2
_TOKEN = "token-of-the-job"
_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True, kw_only=True)
class FakePartition:
    """What a service keeps, and what was asked of it.

    Attributes:
        service_id: Its name.
        tasks: The blocks of each task.
        address: Where it listens.
        incarnation: Changes when it is started again; older cursors are worthless then.
        sent: Blocks that were handed out.
        fetches: The streams that were asked for.
        break_after: Streams break after so many blocks each; None: they do not.
        refusal: What every stream is answered with; None: with what it asks for.
        lie: Blocks are left out, as if they had never been there.
    """

    service_id: str
    tasks: Sequence[Blocks]
    address: str = ""
    incarnation: bytes = field(default_factory=lambda: os.urandom(8))
    sent: int = 0
    fetches: list[partition_pb2.FetchRequest] = field(default_factory=list)
    break_after: int | None = None
    refusal: tuple[grpc.StatusCode, str] | None = None
    lie: int = 0

    def restart(self) -> None:
        """Forget who has read what, as a new process does."""
        self.incarnation = os.urandom(8)

    def parts(self) -> list[Part]:
        """Return what it has as parts of a result, in the order of its tasks."""
        return [
            Part(service=self.service_id, stage=STAGE, task=task, totals=_totals(blocks))
            for task, blocks in enumerate(self.tasks)
        ]

    def line(self) -> rpc.Line:
        """Open a connection to it."""
        return rpc.Line(channel=rpc.aio_channel(self.address), metadata=rpc.credentials_of(_TOKEN))

    async def Fetch(
        self, request: partition_pb2.FetchRequest, context: _Context
    ) -> AsyncIterator[partition_pb2.FetchReply]:
        """Hand out the blocks of some tasks, one in each message."""
        self.fetches.append(request)
        if self.refusal is not None:
            await context.abort(*self.refusal)
        wanted = [(task, block) for task in request.tasks.tasks for block in self._of(task)]
        start = 0
        if request.cursor:
            if request.cursor[:8] != self.incarnation:
                await context.abort(grpc.StatusCode.ABORTED, "started again since")
            start = int.from_bytes(request.cursor[8:])
        for number, (task, (records, frame)) in enumerate(wanted[start:], start=1):
            if self.break_after is not None and number > self.break_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            self.sent += 1
            reply = partition_pb2.FetchReply(cursor=self.incarnation + (start + number).to_bytes(8))
            fetched = reply.blocks.add()
            fetched.attempt.CopyFrom(wire.attempt_to_wire(AttemptId(STAGE, task, 1, 1)))
            fetched.block.records, fetched.block.frame = records, frame
            yield reply
        total = _totals([block for _, block in wanted])
        yield partition_pb2.FetchReply(
            cursor=self.incarnation + len(wanted).to_bytes(8), total=wire.totals_to_wire(total)
        )

    def _of(self, task: int) -> Blocks:
        blocks = self.tasks[task]
        return blocks[: len(blocks) - self.lie]


@asynccontextmanager
async def serving_partition(
    tasks: Sequence[Blocks], *, service_id: str = "ps-0"
) -> AsyncIterator[FakePartition]:
    """Give a service that has the results of some tasks, while the block runs."""
    partition = FakePartition(service_id=service_id, tasks=tasks)
    server = rpc.aio_server(_TOKEN)
    fetch = grpc.unary_stream_rpc_method_handler(
        partition.Fetch,
        request_deserializer=partition_pb2.FetchRequest.FromString,
        response_serializer=partition_pb2.FetchReply.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("disco.v1.Partition", {"Fetch": fetch}),)
    )
    partition.address = f"127.0.0.1:{rpc.listen(server, '127.0.0.1', 0, plaintext=True)}"
    await server.start()
    try:
        yield partition
    finally:
        await server.stop(None)


def source_of(
    *partitions: FakePartition, order: Callable[[Part], Any] | None = None
) -> ResultSource:
    """Return the results that some services have together, one service's after the other's.

    Args:
        partitions: The services.
        order: Sorts the parts, for results whose parts are spread over the services.
    """
    parts = [part for partition in partitions for part in partition.parts()]
    if order is not None:
        parts.sort(key=order)
    by_id = {partition.service_id: partition for partition in partitions}
    return ResultSource(
        job_uid="job-of-the-fake", parts=parts, connect=lambda service: by_id[service].line()
    )


def _totals(blocks: Blocks) -> Totals:
    total = NOTHING
    for records, frame in blocks:
        total = total.plus(Totals(1, records, len(frame)))
    return total
