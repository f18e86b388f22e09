"""Looks at jobs, several at a time, as the schedule says."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from disco_operator import metrics
from disco_operator.cluster import ClusterError, FencedError, UnavailableError
from disco_operator.model import JobKey
from disco_operator.schedule import Schedule

log = logging.getLogger(__name__)

PARALLEL = 16

LOOK_LIMIT_S = 120.0
"""A look that takes longer hangs; every call in it has a much shorter limit of its own."""

Look = Callable[[JobKey], Awaitable[float | None]]
"""Looks at a job; returns after how many seconds to look again (None: when something happens)."""


class Loop:
    """Reconciles the jobs it is told of.

    Args:
        look: Called for one job at a time, and for up to ``PARALLEL`` different ones.
        clock: Monotonic seconds.
        jitter: Returns random numbers from 0 to 1.
    """

    def __init__(
        self,
        look: Look,
        *,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._look = look
        self._clock = clock
        self._jitter = jitter
        self._schedule = Schedule()
        self._added = asyncio.Event()
        self._began_at = clock()  # the last look

    def add(self, key: JobKey, *, delay_s: float = 0.0) -> None:
        """Ask for a look at a job, *delay_s* from now or earlier."""
        self._schedule.add(key, self._clock(), delay_s=delay_s)
        self._added.set()

    def waiting(self) -> int:
        """Return how many jobs are due and not being looked at."""
        return self._schedule.waiting(self._clock())

    def stalled_s(self) -> float:
        """Return for how long jobs have waited and none was looked at; a long queue that moves: 0.

        Who is due longest comes first, so a queue that moves forgets nobody.
        """
        now = self._clock()
        return min(self._schedule.oldest_wait_s(now), now - self._began_at)

    def remembered(self) -> int:
        """Return of how many jobs it knows anything."""
        return len(self._schedule)

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            FencedError: (in a group) We do not lead any more.
        """
        free = asyncio.Semaphore(PARALLEL)
        async with asyncio.TaskGroup() as looks:
            while True:
                await free.acquire()
                key = await self._next()
                self._began_at = self._clock()
                looks.create_task(self._run_one(key, free), name=f"look at {key}")

    async def _next(self) -> JobKey:
        while True:
            self._added.clear()
            now = self._clock()
            if (key := self._schedule.start(now)) is not None:
                return key
            due = self._schedule.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                    await self._added.wait()
            except TimeoutError:
                pass

    async def _run_one(self, key: JobKey, free: asyncio.Semaphore) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                again_in_s = await self._look(key)
        except FencedError:
            raise
        except Exception as error:
            retry_s = self._schedule.failed(key, self._clock(), jitter=self._jitter())
            _report(key, error, retry_s)
        else:
            self._schedule.done(key, self._clock(), again_in_s=again_in_s)
        finally:
            free.release()
            self._added.set()
        metrics.looked(self._clock() - began)


def _report(key: JobKey, error: Exception, retry_s: float) -> None:
    fields = {"job": str(key), "retry_s": round(retry_s, 1)}
    if isinstance(error, UnavailableError):
        log.warning("job not reconciled", extra=fields | {"error": str(error)})
    elif isinstance(error, ClusterError):
        log.error("job not reconciled", extra=fields | {"error": str(error)})
    else:  # a bug, or a look that hangs: the traceback says where
        log.error("reconciling has a bug", extra=fields, exc_info=error)
    metrics.failed(type(error).__name__)
