"""What a process of a job answers in several messages, or that it does not answer."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from disco_engine.rpc import Line
from disco_gateway.errors import UnavailableError

PATIENCE_S = 15.0
"""For the next part of an answer."""

Reply = TypeVar("Reply", bound=Message)


async def replies(
    who: str, line: Line, call: "grpc.aio.UnaryStreamCall[Any, Reply]"
) -> AsyncGenerator[Reply, None]:
    """Yield what is answered to a call; close what yields it, so that the call ends with you.

    Args:
        who: What is asked, for messages.
        line: To it; closed afterwards.
        call: Begun over the line; cancelled afterwards.

    Raises:
        UnavailableError: It does not answer, or falls silent.
    """
    try:
        while True:
            async with asyncio.timeout(PATIENCE_S):
                reply = await call.read()
            if reply is grpc.aio.EOF:
                return
            yield reply  # type: ignore[misc]  # the other possibility was the end
    except (TimeoutError, grpc.aio.AioRpcError) as error:
        said = error.details() or "" if isinstance(error, grpc.aio.AioRpcError) else "it is silent"
        raise UnavailableError(f"{who} does not answer: {said}", retry_after_s=2.0) from error
    finally:
        call.cancel()
        await line.channel.close()
