"""The coordinator's gRPC methods: doors that unpack a call, pass it on and translate the answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import grpc
import grpc.aio

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.coordinator.driver import Driver
from disco_engine.coordinator.hearing import Hearing
from disco_engine.coordinator.progress import Progress
from disco_engine.coordinator.workers import Session
from disco_engine.core.events import CancelRequested

HELLO_DEADLINE_S = 10.0
BREAK_NOTICED_S = 0.2


class CoordinatorServicer(coordinator_pb2_grpc.CoordinatorServicer):
    """Serves workers, watchers and whoever wants to cancel."""

    def __init__(self, driver: Driver, hearing: Hearing, progress: Progress) -> None:
        self._driver = driver
        self._hearing = hearing
        self._progress = progress

    # These two write to their context: grpc.aio takes that as well as generators, and a cancelled
    # call then ends at an await of ours, not whenever a generator is collected.
    async def Work(  # type: ignore[override]  # noqa: D102  (coordinator.proto says it)
        self,
        request_iterator: AsyncIterator[coordinator_pb2.WorkerMessage],
        context: grpc.aio.ServicerContext[
            coordinator_pb2.WorkerMessage, coordinator_pb2.CoordinatorMessage
        ],
    ) -> None:
        hello = await _hello(request_iterator)
        if hello is None or not hello.worker_id:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "a worker must say hello first, with its worker_id",
            )
        session = self._hearing.join(hello)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(session, request_iterator))
                # Never cancelled: gRPC cannot end a stream while a write is under way. It ends
                # when the worker reads again, or when its connection is found to be dead.
                tasks.create_task(_write(session, context))
                await session.closed.wait()
                reading.cancel()
                self._hearing.leave(session)
        finally:
            self._hearing.leave(session)
        if not session.ended_well:
            await context.abort(grpc.StatusCode.UNAVAILABLE, session.closed_because)

    async def Watch(  # type: ignore[override]  # noqa: D102
        self,
        request: coordinator_pb2.WatchRequest,
        context: grpc.aio.ServicerContext[coordinator_pb2.WatchRequest, coordinator_pb2.WatchReply],
    ) -> None:
        async with aclosing(self._progress.watch(request.after_event)) as replies:
            with _until_broken():
                async for reply in replies:
                    await context.write(reply)

    async def Cancel(  # noqa: D102
        self, request: coordinator_pb2.CancelRequest, context: Any
    ) -> coordinator_pb2.CancelReply:
        already_over = self._driver.finished is not None
        self._driver.feed(CancelRequested(reason=request.reason))
        return coordinator_pb2.CancelReply(already_over=already_over)

    async def _read(
        self, session: Session, messages: AsyncIterator[coordinator_pb2.WorkerMessage]
    ) -> None:
        async for message in messages:
            self._hearing.hear(session, message)
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
