"""The connection to the coordinator: kept up, made again when it breaks, given up in the end."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

import grpc.aio

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc

log = logging.getLogger(__name__)

_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_WELCOME_S = 10.0
_LINGER_S = 0.02  # between sendings, so that what happens meanwhile travels together

WorkCall: TypeAlias = "grpc.aio.StreamStreamCall[Any, Any]"


class CoordinatorError(Exception):
    """The coordinator is gone for good, or does not want this worker."""


class Desk(Protocol):
    """Who talks over the connection."""

    def hello(self) -> coordinator_pb2.Hello:
        """Return what a conversation opens with."""

    async def welcome(self, message: coordinator_pb2.Welcome) -> None:
        """Take the answer to that."""

    def handle(self, message: coordinator_pb2.CoordinatorMessage) -> None:
        """Take any other message."""

    def outgoing(self) -> Iterator[coordinator_pb2.WorkerMessage]:
        """Yield what there is to say now."""

    def heartbeat(self) -> coordinator_pb2.Heartbeat:
        """Return what to say at regular intervals."""


class CoordinatorLink:
    """The worker's ``Work`` stream."""

    def __init__(
        self,
        address: str,
        channel: grpc.aio.Channel,
        metadata: tuple[tuple[str, str], ...],
        desk: Desk,
        *,
        give_up_s: float,
    ) -> None:
        self._address = address
        self._stub = coordinator_pb2_grpc.CoordinatorStub(channel)
        self._metadata = metadata
        self._desk = desk
        self._give_up_s = give_up_s
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._heard_at = 0.0  # when the last conversation ended, or we were told to come again
        self._welcomed = False
        self._put_off = False
        self.connected = False
        self._over = False
        self._refused = False

    def wake(self) -> None:
        """Have ``Desk.outgoing`` asked soon."""
        self._wake.set()

    def close(self) -> None:
        """Have ``run`` end the conversation: say what there is to say, then goodbye."""
        self._over = True
        self._wake.set()

    async def run(self) -> None:
        """Converse until the link is closed.

        Raises:
            CoordinatorError: It could not be reached for too long, or refuses our token.
        """
        self._heard_at = self._clock()
        failures = 0
        while not self._over:
            self._welcomed = self._put_off = False
            problem = await self._converse()
            if self._refused:
                raise CoordinatorError(
                    f"the coordinator at {self._address} refuses this worker: {problem}"
                )
            if self._over:
                return
            if self._welcomed:
                failures = 0
                self._heard_at = self._clock()
                log.warning("lost the coordinator", extra={"reason": problem})
            elif self._put_off:
                self._heard_at = self._clock()
                if not failures:
                    log.info("not wanted yet", extra={"reason": problem})
            silence = self._clock() - self._heard_at
            if silence >= self._give_up_s:
                raise CoordinatorError(
                    f"the coordinator at {self._address} could not be reached for {silence:.0f} s"
                    f" ({problem}); is it still running, and is the address right?"
                )
            await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            failures += 1

    async def _converse(self) -> str:
        """Use one stream until it ends, and return why it did."""
        call: WorkCall = self._stub.Work(metadata=self._metadata)
        try:
            async with asyncio.timeout(_WELCOME_S):
                await call.write(coordinator_pb2.WorkerMessage(hello=self._desk.hello()))
                first: Any = await call.read()
            if first is grpc.aio.EOF or first.WhichOneof("body") != "welcome":
                return "it did not answer with a welcome"
            self._welcomed = True
            await self._desk.welcome(first.welcome)
            self.connected = True
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send(call, first.welcome.heartbeat_s))
                problem = await self._receive(call)
                sending.cancel()
        except grpc.aio.AioRpcError as error:
            return self._why(error.code(), error.details())
        except asyncio.InvalidStateError:  # the stream had ended before we wrote
            return self._why(await call.code(), await call.details())
        except TimeoutError:
            return f"it did not answer within {_WELCOME_S:.0f} s"
        else:
            return problem
        finally:
            self.connected = False
            call.cancel()

    async def _receive(self, call: WorkCall) -> str:
        try:
            while True:
                message: Any = await call.read()
                if message is grpc.aio.EOF:
                    return "it ended the conversation"
                self._desk.handle(message)
        except grpc.aio.AioRpcError as error:
            return self._why(error.code(), error.details())

    async def _send(self, call: WorkCall, heartbeat_s: float) -> None:
        beat_at = self._clock() + heartbeat_s
        self._wake.set()
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(beat_at):
                        await self._wake.wait()
                self._wake.clear()
                if self._clock() >= beat_at:
                    beat_at = self._clock() + heartbeat_s
                    beat = self._desk.heartbeat()
                    await call.write(coordinator_pb2.WorkerMessage(heartbeat=beat))
                for message in self._desk.outgoing():
                    await call.write(message)
                if self._over:
                    await call.done_writing()
                    return
                await asyncio.sleep(_LINGER_S)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the receiver learns why

    def _why(self, code: grpc.StatusCode, details: str | None) -> str:
        self._refused = code is grpc.StatusCode.UNAUTHENTICATED
        self._put_off = code is grpc.StatusCode.FAILED_PRECONDITION
        return f"{code.name}: {details}"
