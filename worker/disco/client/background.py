"""An event loop on a thread of its own, for programs without one.

All clients of a process share it: gRPC has one poller for all loops of a process, and several loops
would wake each other up for nothing.
"""

import asyncio
import functools
import os
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from disco.client.errors import ClientError

T = TypeVar("T")

_STOP_S = 5.0


class BackgroundLoop:
    """A running event loop; it ends when Python exits."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = runner.get_loop()
        # A daemon: Python would otherwise wait for it before it lets anybody stop it.
        self._thread = threading.Thread(
            target=_run, args=(runner,), name="disco-client", daemon=True
        )
        self._thread.start()
        self._stop = weakref.finalize(self, _stop, self._loop, self._thread)

    @property
    def is_of_parent(self) -> bool:
        """It was made before this process was forked, and its thread stayed behind."""
        return self._pid != os.getpid()

    @property
    def is_here(self) -> bool:
        """This code runs on the loop's own thread, which must not wait for itself."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End all that runs there, and the loop, as happens when Python exits."""
        self._stop()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start a coroutine there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns; when this is interrupted, it is cancelled."""
        future = self.start(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def background_loop() -> BackgroundLoop:
    """Return this process's loop.

    Raises:
        ClientError: It is that of the process that this one was forked from.
    """
    with _made:
        loop = _loop_of_process()
    if loop.is_of_parent:
        raise ClientError(FORKED)
    return loop


FORKED = (
    "this process was forked from one that uses the client, and gRPC does not survive that: start"
    " processes afresh (multiprocessing's spawn), or use the client in the new ones only"
)

_made = threading.Lock()


@functools.cache
def _loop_of_process() -> BackgroundLoop:
    return BackgroundLoop()


def _run(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        runner.close()  # ends the tasks before the generators that they are in the middle of


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if thread.is_alive():
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)
