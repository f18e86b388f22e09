"""The loop behind blocking clients, and its end."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from disco.client.background import BackgroundLoop


async def _endless() -> AsyncGenerator[int, None]:
    yield 1
    await asyncio.Event().wait()
    yield 2


def test_the_end_of_the_loop_is_quiet_while_something_is_read_there() -> None:
    """Ctrl-C in the middle of a watch told the user that a generator "is already running"."""
    complaints: list[dict[str, Any]] = []
    reading = asyncio.Event()

    async def read() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        async for _ in _endless():
            reading.set()

    loop = BackgroundLoop()
    future = loop.start(read())
    loop.run(reading.wait())
    loop.stop()

    assert future.cancelled()
    assert complaints == []
