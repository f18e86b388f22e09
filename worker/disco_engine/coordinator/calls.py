"""Owns how the coordinator calls a partition service: deadlines, and what each refusal means."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import grpc
import grpc.aio

from disco.v1 import common_pb2, partition_pb2, partition_pb2_grpc
from disco_engine.coordinator.errors import FencedError, ServiceUnusableError
from disco_engine.core.model import NodeName, SealedAttempt, ServiceId
from disco_engine.rpc import aio_channel, credentials_of
from disco_engine.wire import sealed_from_wire

T = TypeVar("T")
_AttachCall: TypeAlias = (
    "grpc.aio.UnaryStreamCall[partition_pb2.AttachRequest, partition_pb2.AttachReply]"
)

CALL_DEADLINE_S = 5.0
PLAN_DEADLINE_S = 30.0  # up to 64 MiB, flushed to disk

_FENCED = frozenset({grpc.StatusCode.FAILED_PRECONDITION})
_HOPELESS = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ALREADY_EXISTS,  # another plan
    }
)


class ServiceSilentError(Exception):
    """A call brought no answer, or one that says to try again: it may have been carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a service told when it was attached.

    Attributes:
        epoch: The newest that the service has seen.
        plan: A serialised plan; None: it keeps none.
    """

    node: NodeName
    incarnation: str
    epoch: int
    plan: bytes | None
    sealed: tuple[SealedAttempt, ...]
    copies: tuple[SealedAttempt, ...]


class PartitionCalls:
    """The calls to one partition service, for one job, each with a deadline.

    Every call raises ServiceSilentError when trying again may help, FencedError when this
    coordinator has been replaced, and ServiceUnusableError when nothing will help.
    """

    def __init__(
        self,
        service: ServiceId,
        address: str,
        *,
        job_uid: str,
        token: str,
        deadline_s: float,
        caller: str,
    ) -> None:
        self.service = service
        self.address = address
        self._job_uid = job_uid
        self._caller = caller  # tells apart coordinators that chose the same epoch
        self._credentials = credentials_of(token)
        self._deadline_s = min(deadline_s, CALL_DEADLINE_S)
        self._connect()

    def _connect(self) -> None:
        self._channel = aio_channel(self.address)
        self._stub = partition_pb2_grpc.PartitionStub(self._channel)

    async def reconnect(self) -> None:
        """Look the service's name up anew; no call may be under way.

        A host that is away for minutes makes gRPC look its name up ever more seldom, at last every
        two minutes, and a channel cannot be told to do it now.
        """
        before = self._channel
        self._connect()
        await before.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def stat(self) -> partition_pb2.StatReply:
        """Return how full the service is, and who it is."""
        return await self._answer(
            self._stub.Stat(
                partition_pb2.StatRequest(), timeout=self._deadline_s, metadata=self._credentials
            )
        )

    async def epoch_seen(self) -> int:
        """Return the newest epoch the service has seen, without changing anything."""
        call = self._attach(epoch=0)
        try:
            return self._first(await self._next(call)).epoch
        finally:
            call.cancel()

    async def attach(self, epoch: int) -> Inventory:
        """Make *epoch* the newest and return what the service holds."""
        call = self._attach(epoch=epoch)
        sealed: list[SealedAttempt] = []
        copies: list[SealedAttempt] = []
        try:
            reply = await self._next(call)
            state = self._first(reply)
            while reply is not None:
                sealed.extend(map(sealed_from_wire, reply.sealed))
                copies.extend(map(sealed_from_wire, reply.copies))
                reply = await self._next(call)
        finally:
            call.cancel()
        return Inventory(
            node=NodeName(state.node),
            incarnation=state.incarnation,
            epoch=state.epoch,
            plan=state.plan if state.HasField("plan") else None,
            sealed=tuple(sealed),
            copies=tuple(copies),
        )

    async def record_plan(self, epoch: int, plan: bytes) -> None:
        """Have the service keep *plan*; one that keeps another is of no use."""
        request = partition_pb2.RecordPlanRequest(job_uid=self._job_uid, epoch=epoch, plan=plan)
        await self._answer(
            self._stub.RecordPlan(request, timeout=PLAN_DEADLINE_S, metadata=self._credentials)
        )

    async def decide(
        self, epoch: int, decisions: Sequence[partition_pb2.Decision]
    ) -> Sequence[partition_pb2.DecisionResult.ValueType]:
        """Have the service seal and discard, in order; return one result for each."""
        request = partition_pb2.DecideRequest(
            job_uid=self._job_uid, epoch=epoch, decisions=decisions
        )
        reply = await self._answer(
            self._stub.Decide(request, timeout=self._deadline_s, metadata=self._credentials)
        )
        if len(reply.results) != len(decisions):
            raise ServiceUnusableError(
                self.service,
                self.address,
                f"it answered {len(decisions)} decisions with {len(reply.results)} results",
            )
        return reply.results

    async def drop(self, epoch: int, attempts: Sequence[common_pb2.AttemptRef]) -> None:
        """Have the service delete *attempts*, sealed or not."""
        request = partition_pb2.DropRequest(job_uid=self._job_uid, epoch=epoch, attempts=attempts)
        await self._answer(
            self._stub.Drop(request, timeout=self._deadline_s, metadata=self._credentials)
        )

    def _attach(self, *, epoch: int) -> _AttachCall:
        request = partition_pb2.AttachRequest(
            job_uid=self._job_uid, epoch=epoch, coordinator=self._caller
        )
        return self._stub.Attach(request, metadata=self._credentials)

    async def _next(self, call: _AttachCall) -> partition_pb2.AttachReply | None:
        """Return the next part of an inventory; None: that was all.

        Each part has its deadline; the whole has none, since it may be as long as the job.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                reply = await self._answer(call.read())
        except TimeoutError as error:
            raise ServiceSilentError("DEADLINE_EXCEEDED: the inventory goes no further") from error
        return reply if isinstance(reply, partition_pb2.AttachReply) else None

    def _first(self, reply: partition_pb2.AttachReply | None) -> partition_pb2.ServiceState:
        if reply is None:
            raise ServiceSilentError("it ended the inventory before it said who it is")
        return reply.state

    async def _answer(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._meaning_of(error) from error

    def _meaning_of(self, error: grpc.aio.AioRpcError) -> Exception:
        code, details = error.code(), error.details() or "no details"
        if code in _FENCED:
            return FencedError(self.service, details)
        if code in _HOPELESS:
            return ServiceUnusableError(self.service, self.address, f"{code.name}: {details}")
        return ServiceSilentError(f"{code.name}: {details}")
