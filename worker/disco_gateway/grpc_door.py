"""``disco.v1.Jobs`` over gRPC: messages in and out, errors as rich status, nothing else."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status  # type: ignore[import-untyped]

from disco_gateway.answers import status_of
from disco_gateway.backend import Caller
from disco_gateway.calls import Calls
from disco_gateway.errors import InvalidRequestError
from disco_gateway.methods import METHODS, SERVICE, Method
from disco_gateway.metrics import Metrics
from disco_gateway.service import Service

DOOR = "grpc"

_BREAK_NOTICED_S = 5.0

_Context = grpc.aio.ServicerContext[Any, Any]
_Body = Callable[[Caller | None], Awaitable[Message | None]]


def add_door(server: grpc.aio.Server, service: Service, calls: Calls, metrics: Metrics) -> None:
    """Have *server* answer the calls of ``disco.v1.Jobs``."""
    door = _Door(service, calls, metrics)
    handlers = {method.name: door.handler(method) for method in METHODS}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),)
    )


class _Door:
    def __init__(self, service: Service, calls: Calls, metrics: Metrics) -> None:
        self._service = service
        self._calls = calls
        self._metrics = metrics

    def handler(self, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return what gRPC calls; requests are parsed here, so that errors in them are told."""
        does = getattr(self._service, method.attribute)

        async def unary(data: bytes, context: _Context) -> Message | None:
            async def body(caller: Caller | None) -> Message | None:
                async with self._calls.holding(method, len(data)):
                    reply: Message = await does(caller, _parsed(method, data))
                    return reply

            return await self._answer(method, context, body)

        async def upload(chunks: AsyncIterator[bytes], context: _Context) -> Message | None:
            async def body(caller: Caller | None) -> Message | None:
                async with aclosing(_all_parsed(method, chunks)) as requests:
                    reply: Message = await does(caller, requests)
                    return reply

            return await self._answer(method, context, body)

        async def stream(data: bytes, context: _Context) -> None:
            async def body(caller: Caller | None) -> None:
                async with (
                    self._calls.holding(method, len(data)),
                    aclosing(does(caller, _parsed(method, data))) as replies,
                ):
                    async for reply in replies:
                        await _sent(context.write(reply))

            # Before anything may end the call: the headers would go with the first reply, and gRPC
            # tells no error to whom they are on their way.
            await _sent(context.send_initial_metadata(()))
            await self._answer(method, context, body)

        # It writes, instead of yielding: so what ends a call ends it while a slow reader is waited
        # for, too.
        if method.gives_stream:
            return grpc.unary_stream_rpc_method_handler(
                stream,
                response_serializer=method.reply.SerializeToString,
            )
        if method.takes_stream:
            return grpc.stream_unary_rpc_method_handler(
                upload,
                response_serializer=method.reply.SerializeToString,
            )
        return grpc.unary_unary_rpc_method_handler(
            unary,
            response_serializer=method.reply.SerializeToString,
        )

    async def _answer(self, method: Method, context: _Context, body: _Body) -> Message | None:
        with self._metrics.call(DOOR, method) as outcome:
            try:
                async with self._calls.entered(
                    method, _authorization(context), patience_s=context.time_remaining()
                ) as caller:
                    return await body(caller)
            except Exception as error:
                status = status_of(error, method.name)
                outcome.code = status.code
        await context.abort_with_status(rpc_status.to_status(status))
        return None


async def _sent(sending: Awaitable[None]) -> None:
    """Wait until something is sent.

    To a caller who has vanished nothing can be, which is not our fault: gRPC notices it a moment
    later, and cancels the call.
    """
    try:
        await sending
    except grpc.aio.BaseError:
        await asyncio.sleep(_BREAK_NOTICED_S)
        raise


def _authorization(context: _Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None


def _parsed(method: Method, data: bytes) -> Message:
    try:
        return method.request.FromString(data)
    except DecodeError as error:
        raise InvalidRequestError.of(
            "", f"the request is no {method.request.DESCRIPTOR.full_name}, or nested too deeply"
        ) from error


async def _all_parsed(
    method: Method, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[Message, None]:
    async for data in chunks:
        yield _parsed(method, data)
