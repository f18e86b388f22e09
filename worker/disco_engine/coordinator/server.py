"""The coordinator's gRPC methods: doors that unpack a call, pass it on and translate the answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.coordinator.driver import Driver
from disco_engine.coordinator.hearing import Hearing
from disco_engine.coordinator.lobby import Lobby
from disco_engine.coordinator.progress import Progress
from disco_engine.coordinator.workers import Session
from disco_engine.core.events import CancelRequested
from disco_engine.core.values import ValueBook
from disco_engine.wire import portions_of_values

HELLO_DEADLINE_S = 10.0
BREAK_NOTICED_S = 0.2


class Remembering(Protocol):
    """The part of ``core.job.JobMachine`` that knows what tasks left beside their records."""

    @property
    def values(self) -> ValueBook:
        """What the tasks that are done left."""
        ...

    @property
    def knows_values(self) -> bool:
        """Whether the services have told what earlier coordinators had sealed, or it is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desks:
    """Who takes what callers say, once there is a job to talk about."""

    driver: Driver
    hearing: Hearing
    progress: Progress
    machine: Remembering


class CoordinatorServicer(coordinator_pb2_grpc.CoordinatorServicer):
    """Serves workers, watchers and whoever wants to cancel.

    Args:
        lobby: Where callers are until there is a machine.
    """

    def __init__(self, lobby: Lobby) -> None:
        self._lobby = lobby
        self._desks: Desks | None = None

    def open(self, desks: Desks) -> None:
        """Let callers through to *desks*."""
        self._desks = desks
        self._lobby.leave()

    # These two write to their context: grpc.aio takes that as well as generators, and a cancelled
    # call then ends at an await of ours, not whenever a generator is collected.
    async def Work(  # type: ignore[override]  # noqa: D102  (coordinator.proto says it)
        self,
        request_iterator: AsyncIterator[coordinator_pb2.WorkerMessage],
        context: grpc.aio.ServicerContext[
            coordinator_pb2.WorkerMessage, coordinator_pb2.CoordinatorMessage
        ],
    ) -> None:
        desks = self._desks
        if desks is None:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the coordinator waits for its partition services: come again",
            )
        hello = await _hello(request_iterator)
        if hello is None or not hello.worker_id:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "a worker must say hello first, with its worker_id",
            )
        session = desks.hearing.join(hello)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(_read(desks.hearing, session, request_iterator))
                # Never cancelled: gRPC cannot end a stream while a write is under way. It ends
                # when the worker reads again, or when its connection is found to be dead.
                tasks.create_task(_write(session, context))
                await session.closed.wait()
                reading.cancel()
                desks.hearing.leave(session)
        finally:
            desks.hearing.leave(session)
        if not session.ended_well:
            await context.abort(grpc.StatusCode.UNAVAILABLE, session.closed_because)

    async def Watch(  # type: ignore[override]  # noqa: D102
        self,
        request: coordinator_pb2.WatchRequest,
        context: grpc.aio.ServicerContext[coordinator_pb2.WatchRequest, coordinator_pb2.WatchReply],
    ) -> None:
        with _until_broken():
            async with aclosing(self._lobby.watch()) as replies:
                async for reply in replies:
                    await context.write(reply)
            if self._desks is None:
                return
            async with aclosing(self._desks.progress.watch(request.after_event)) as replies:
                async for reply in replies:
                    await context.write(reply)

    async def Cancel(  # noqa: D102
        self, request: coordinator_pb2.CancelRequest, context: Any
    ) -> coordinator_pb2.CancelReply:
        if self._desks is None:
            self._lobby.cancel(request.reason)
            return coordinator_pb2.CancelReply()
        driver = self._desks.driver
        already_over = driver.finished is not None
        driver.feed(CancelRequested(reason=request.reason))
        return coordinator_pb2.CancelReply(already_over=already_over)

    async def Values(  # type: ignore[override]  # noqa: D102
        self,
        request: coordinator_pb2.ValuesRequest,
        context: grpc.aio.ServicerContext[
            coordinator_pb2.ValuesRequest, coordinator_pb2.ValuesReply
        ],
    ) -> None:
        if self._desks is None or not self._desks.machine.knows_values:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the coordinator waits for its partition services: come again",
            )
        selected = self._desks.machine.values.select(request.key, request.prefix)
        with _until_broken():
            for values in portions_of_values(selected, keys_only=request.keys_only):
                await context.write(coordinator_pb2.ValuesReply(values=values))


async def _read(
    hearing: Hearing, session: Session, messages: AsyncIterator[coordinator_pb2.WorkerMessage]
) -> None:
    async for message in messages:
        hearing.hear(session, message)
    # A stream that breaks looks like this too, until its handler is cancelled a moment later.
    await asyncio.sleep(BREAK_NOTICED_S)
    session.ended_well = True
    session.close("the worker ended the stream")


async def _write(
    session: Session,
    context: grpc.aio.ServicerContext[
        coordinator_pb2.WorkerMessage, coordinator_pb2.CoordinatorMessage
    ],
) -> None:
    with _until_broken():
        while (message := await session.next_message()) is not None:
            await context.write(message)


def _until_broken() -> suppress:
    """Stop writing when gRPC says that nobody is there; it cancels the call a moment later."""
    return suppress(grpc.aio.InternalError, grpc.aio.UsageError)


async def _hello(
    messages: AsyncIterator[coordinator_pb2.WorkerMessage],
) -> coordinator_pb2.Hello | None:
    try:
        async with asyncio.timeout(HELLO_DEADLINE_S):
            message = await anext(messages)
    except (TimeoutError, StopAsyncIteration):
        return None
    return message.hello if message.HasField("hello") else None
