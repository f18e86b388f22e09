"""One push stream to one partition service, shared by all attempts of this worker."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import grpc.aio

from disco.v1 import common_pb2, coordinator_pb2, partition_pb2, partition_pb2_grpc
from disco_engine.core.model import AttemptId, Totals
from disco_engine.wire import attempt_from_wire, totals_to_wire
from disco_engine.worker.connections import Connections

log = logging.getLogger(__name__)

HIGH_BYTES = 16 * 1024 * 1024
"""Blocks that may wait for the stream; beyond them the slots that bring more are not read."""

_LOW_BYTES = HIGH_BYTES // 2
_MESSAGE_BYTES = 2 * 1024 * 1024
_CONNECT_S = 10.0  # how long a service that is being restarted is waited for
_LINGER_S = 0.003  # between messages, so that small outputs travel together

BROKEN = partition_pb2.PUSH_STATUS_UNSPECIFIED
"""The status of attempts whose stream broke: it is not known what the service has of them."""

PushStatus: TypeAlias = "partition_pb2.PushStatus.ValueType"
OnResult: TypeAlias = "Callable[[AttemptId, PushLink, PushStatus, str], None]"
PushCall: TypeAlias = "grpc.aio.StreamStreamCall[Any, Any]"


class _Entry:
    """Consecutive blocks of one attempt that wait for the stream."""

    __slots__ = ("attempt", "message", "size")

    def __init__(self, attempt: AttemptId, task: coordinator_pb2.TaskAssignment) -> None:
        self.attempt = attempt
        self.message = partition_pb2.AttemptBlocks(attempt=task.attempt, layout=task.run.layout)
        self.size = 0


class BlockSender(Protocol):
    """Who brings blocks, and can be made to wait."""

    def pause(self) -> None:
        """Bring nothing more until ``resume``."""

    def resume(self) -> None:
        """Go on."""


class PushLink:
    """Sends blocks in the order in which they come and tells how each attempt ended.

    An attempt is known from its first block until its result; if the stream breaks, all that are
    known end as BROKEN, and the next block opens a new stream.
    """

    def __init__(
        self,
        service: coordinator_pb2.ServiceAddress,
        connections: Connections,
        job_uid: str,
        on_result: OnResult,
    ) -> None:
        self.service = service.service_id
        self._address = service.address
        self._connections = connections
        self._job_uid = job_uid
        self._on_result = on_result
        self._known: set[AttemptId] = set()
        self._pending: deque[_Entry] = deque()
        self._pending_bytes = 0  # from `add` until the stream has taken them
        self._due = asyncio.Event()
        self._paused: list[BlockSender] = []

    def add(
        self,
        attempt: AttemptId,
        task: coordinator_pb2.TaskAssignment,
        blocks: Iterable[common_pb2.Block],
        size: int,
        sender: BlockSender,
    ) -> None:
        """Send *blocks*, *size* bytes in all; if too much waits already, have *sender* wait."""
        self._known.add(attempt)
        entry = self._entry(attempt, task)
        entry.message.blocks.extend(blocks)
        entry.size += size
        self._pending_bytes += size
        if self._pending_bytes >= HIGH_BYTES:
            sender.pause()
            self._paused.append(sender)

    def complete(
        self, attempt: AttemptId, task: coordinator_pb2.TaskAssignment, totals: Totals
    ) -> None:
        """Say that no more blocks will follow; its result comes later."""
        self._entry(attempt, task).message.complete.CopyFrom(totals_to_wire(totals))

    def abandon(self, attempt: AttemptId) -> None:
        """Send no more of *attempt* and do not tell how it ended."""
        self._known.discard(attempt)
        size = sum(entry.size for entry in self._pending if entry.attempt == attempt)
        self._pending = deque(entry for entry in self._pending if entry.attempt != attempt)
        self._relieve(size)

    async def run(self) -> None:
        """Keep a stream open while there is something to send; ends by cancellation only."""
        while True:
            await self._due.wait()
            reason = await self._converse()
            if self._known:
                log.warning(
                    "push stream broke",
                    extra={"service": self.service, "reason": reason, "attempts": len(self._known)},
                )
            failed, self._known = self._known, set()
            self._pending.clear()
            self._due.clear()
            self._relieve(self._pending_bytes)
            for attempt in failed:
                broke = f"the push to {self.service} broke: {reason}"
                self._on_result(attempt, self, BROKEN, broke)

    def _entry(self, attempt: AttemptId, task: coordinator_pb2.TaskAssignment) -> _Entry:
        self._due.set()
        if self._pending:
            last = self._pending[-1]
            if last.attempt == attempt and last.size < _MESSAGE_BYTES // 2:
                return last
        entry = _Entry(attempt, task)
        self._pending.append(entry)
        return entry

    async def _converse(self) -> str:
        """Use one stream until it breaks, and return why it did."""
        channel = self._connections.channel(self._address)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await channel.channel_ready()
        except TimeoutError:
            self._connections.forget(self._address)
            return f"the service could not be reached for {_CONNECT_S:.0f} s"
        stub = partition_pb2_grpc.PartitionStub(channel)
        call = stub.Push(metadata=self._connections.metadata)
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send(call))
                reason = await self._receive(call)
                sending.cancel()
        finally:
            call.cancel()
        return reason

    async def _send(self, call: PushCall) -> None:
        while True:
            await self._due.wait()
            request, size = self._next_request()
            try:
                await call.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the receiver learns why
            self._relieve(size)
            if self._pending_bytes < _MESSAGE_BYTES:
                await asyncio.sleep(_LINGER_S)

    async def _receive(self, call: PushCall) -> str:
        try:
            async for reply in call:
                for result in reply.results:
                    attempt = attempt_from_wire(result.attempt)
                    if attempt in self._known:
                        self._known.remove(attempt)
                        self._on_result(attempt, self, result.status, result.message)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "the service ended it"

    def _next_request(self) -> tuple[partition_pb2.PushRequest, int]:
        request = partition_pb2.PushRequest(job_uid=self._job_uid)
        size = 0
        while self._pending and size < _MESSAGE_BYTES:
            entry = self._pending.popleft()
            request.outputs.append(entry.message)
            size += entry.size
        if not self._pending:
            self._due.clear()
        return request, size

    def _relieve(self, size: int) -> None:
        self._pending_bytes -= size
        if self._pending_bytes <= _LOW_BYTES and self._paused:
            paused, self._paused = self._paused, []
            for sender in paused:
                sender.resume()


class PushLinks:
    """The links to all services that this worker pushes to."""

    def __init__(self, tasks: asyncio.TaskGroup, connections: Connections) -> None:
        self.job_uid = ""
        self._tasks = tasks
        self._connections = connections
        self._links: dict[tuple[str, str], tuple[PushLink, asyncio.Task[None]]] = {}

    def to(self, service: coordinator_pb2.ServiceAddress, on_result: OnResult) -> PushLink:
        """Return the link to *service*, which tells *on_result* how its attempts end."""
        key = (service.service_id, service.address)
        if key not in self._links:
            link = PushLink(service, self._connections, self.job_uid, on_result)
            self._links[key] = link, self._tasks.create_task(link.run())
        return self._links[key][0]

    def close_all(self) -> None:
        """Push nothing more."""
        for _, task in self._links.values():
            task.cancel()
        self._links.clear()
