"""One run of a job: its engine, whose calls block, as the event loop sees it."""

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.local.engine import LocalEngine

log = logging.getLogger(__name__)

T = TypeVar("T")
Hear = Callable[[coordinator_pb2.WatchReply], None]


class Threads:
    """Threads for what blocks: as many as may be needed at once, so that nothing waits for one.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="serve")

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what *function* returns, called in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Wait until all threads have ended."""
        self._pool.shutdown()


class Run:
    """An engine, from before its start to after its end.

    Args:
        make: Makes the engine; called in a thread.
        workers: How many workers it starts with.

    Attributes:
        keeps: Workers that it has, or is about to have, and that are not to end.
        leaving: Workers that were told to end, and perhaps have not.
        over: All of its workers are gone.
    """

    def __init__(self, threads: Threads, make: Callable[[int], LocalEngine], workers: int) -> None:
        self.keeps = workers
        self.leaving = 0
        self.over = False
        self._threads = threads
        self._make = make
        self._engine: LocalEngine | None = None
        self._started = asyncio.Event()  # or failed to
        self._in_order = asyncio.Lock()

    @property
    def holds(self) -> int:
        """How many workers it may have now."""
        return 0 if self.over else self.keeps + self.leaving

    async def start(self) -> None:
        """Start the engine's processes.

        Raises:
            OSError: A process cannot be started.
            ValueError: The engine takes no such numbers.
        """
        try:
            self._engine = await self._threads.call(self._start, self.keeps)
        finally:
            self._started.set()

    def _start(self, workers: int) -> LocalEngine:
        return self._make(workers).start()

    async def follow(self, hear: Hear) -> None:
        """Pass on all that the engine tells, to its end.

        Raises:
            EngineError: A process does not stay alive.
        """
        assert self._engine is not None
        loop = asyncio.get_running_loop()

        def pump(engine: LocalEngine) -> None:
            for reply in engine.watch():
                loop.call_soon_threadsafe(hear, reply)

        await self._threads.call(pump, self._engine)

    def resize(self, workers: int) -> Coroutine[Any, Any, None]:
        """Count with another number of workers from now on.

        Returns:
            What makes it so, and ends when those that are too many are gone.
        """
        leaving = max(0, self.keeps - workers)
        self.keeps = workers
        self.leaving += leaving
        return self._resized(workers, leaving)

    async def _resized(self, workers: int, leaving: int) -> None:
        try:
            async with self._in_order:
                engine = await self._running()
                if engine is None:
                    return
                surplus = await self._threads.call(engine.scale, workers)
            await self._threads.call(engine.see_off, surplus)
        except OSError as error:
            log.warning("workers cannot be started", extra={"reason": str(error)})
        finally:
            self.leaving -= leaving

    async def cancel(self, reason: str) -> None:
        """Have the job end; ``follow`` tells when it has."""
        engine = await self._running()
        if engine is not None:
            await self._threads.call(engine.cancel, reason)

    async def values(self, wanted: coordinator_pb2.ValuesRequest) -> list[common_pb2.NamedValue]:
        """Return what finished tasks left beside their records, ascending by key.

        Raises:
            EngineError: They are not there.
        """
        engine = await self._running()
        if engine is None:
            return []
        ask = partial(engine.values, wanted.key, wanted.prefix, keys_only=wanted.keys_only)
        return await self._threads.call(ask)

    async def reduced(self) -> None:
        """Wait until only processes are left that hold results."""
        engine = await self._running()
        if engine is not None:
            await self._threads.call(engine.stop_workers)
        self.over = True

    async def close(self) -> None:
        """End all processes and remove all files, but logs that say why it could not go on."""
        engine = await self._running()
        if engine is not None:
            await self._threads.call(engine.close)

    async def remove(self) -> None:
        """End all processes and remove all files."""
        await self.close()
        if self._engine is not None:
            await self._threads.call(shutil.rmtree, self._engine.run_dir, True)

    def kill(self) -> None:
        """End all processes at once; blocks for a moment."""
        if self._engine is not None:
            self._engine.kill()

    async def _running(self) -> LocalEngine | None:
        """Wait until the engine is there, and return it; None: it could not be started."""
        await self._started.wait()
        return self._engine
