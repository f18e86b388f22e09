"""An event loop whose time, order and threads are the world's.

Every simulated process has a loop of its own, so that it can be frozen, slowed down, or killed
between any two steps, like a process: what is killed is never stepped again, and no ``finally`` of
it runs.
"""

import asyncio
import itertools
import sys
from asyncio import events
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from simulator.disk import PowerCut

if TYPE_CHECKING:
    from simulator.world import Process

T = TypeVar("T")

_numbers = itertools.count()


class _NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set depends on when it was made, not on where in memory it is."""

    def __init__(self, coro: Any, **kwargs: Any) -> None:
        self._number = next(_numbers)
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _NumberedFuture(asyncio.Future[Any]):
    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        self._number = next(_numbers)
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _NoSelector:
    """Nothing comes from outside: what others send is delivered by the world."""

    def select(self, timeout: float | None) -> list[Any]:
        return []


def number_from_zero() -> None:
    """Begin to count tasks anew, so that a seed's run does not depend on those before it."""
    global _numbers
    _numbers = itertools.count()


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop of one process.

    Args:
        process: Whose it is; it knows the time, and how long threads take.
    """

    def __init__(self, process: "Process") -> None:
        super().__init__()
        self.process = process
        self._selector = _NoSelector()
        self._clock_resolution = 1e-6  # clocks of different speed are converted back and forth
        self.set_task_factory(lambda loop, coro, **more: _NumberedTask(coro, loop=loop, **more))
        self.set_exception_handler(self._note_exception)

    def time(self) -> float:
        """Return the seconds on this process's clock."""
        return self.process.clock()

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return _NumberedFuture(loop=self)

    def due(self) -> float | None:
        """Return when there is something to do, on this loop's clock; None: never."""
        if self._ready:  # type: ignore[attr-defined]
            return float("-inf")
        scheduled = self._scheduled  # type: ignore[attr-defined]
        return float(scheduled[0].when()) if scheduled else None

    def step(self) -> None:
        """Run what is ready now, once."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook,  # type: ignore[attr-defined]
            finalizer=self._asyncgen_finalizer_hook,  # type: ignore[attr-defined]
        )
        events._set_running_loop(self)
        try:
            self._run_once()  # type: ignore[attr-defined]
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call *func* after the time that a thread would take, as one step."""
        future: asyncio.Future[T] = self.create_future()

        def call() -> None:
            try:
                result = func(*args)
            except PowerCut:
                return  # the process has died in the middle of it
            except Exception as error:
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(result)

        self.process.in_thread(call)
        return future

    def _note_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.process.note_bug(context.get("message", "?"), context.get("exception"))

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call *callback* soon; there is only one thread."""
        return self.call_soon(callback, *args, context=context)

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def discard(self) -> None:
        """Forget everything, running nothing of it."""
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self.close()
