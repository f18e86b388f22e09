"""Back-pressure: how many bytes of blocks may wait in memory for the disk."""

import asyncio
from collections.abc import Callable


def _never() -> bool:
    return False


def _nothing() -> None:
    pass


class ByteBudget:
    """A number of bytes that all pushes share, first come, first served.

    A push that finds too few bytes free waits, and reads nothing from its stream meanwhile: HTTP/2
    flow control then stops its sender, so memory stays bounded without any message. Bytes are
    given back by whoever wrote them to disk, not by the push that took them.

    Attributes:
        limit: How many bytes there are.
        used: How many are taken. Above the limit only while one oversized request has them all.
        on_wait: Called whenever somebody begins to wait, or waits on.
    """

    def __init__(self, limit: int) -> None:
        """Start with *limit* free bytes, at least 1."""
        if limit < 1:
            raise ValueError(f"a budget of {limit} bytes holds nothing; give it at least 1")
        self.limit = limit
        self.used = 0
        self.on_wait = _nothing
        self._wanted = 0
        self._turn = asyncio.Lock()  # held by the one that waits; grants turns in order of arrival
        self._changed = asyncio.Event()

    @property
    def short(self) -> bool:
        """Whether somebody waits, and too few bytes are free for it."""
        return self.used > 0 and self._wanted > 0 and self.used + self._wanted > self.limit

    async def take(self, size: int, *, give_up: Callable[[], bool] = _never) -> bool:
        """Take *size* bytes, waiting for them if necessary.

        A request larger than the whole budget (one record can be that large) waits until it is
        alone: to refuse it would fail a job for the sake of a number.

        Args:
            size: Bytes wanted.
            give_up: Asked before each wait and again after ``nudge``; True ends the waiting.

        Returns:
            Whether the bytes were taken; False only because *give_up* said so.
        """
        async with self._turn:
            self._wanted = size
            try:
                while self.short:
                    if give_up():
                        return False
                    self.on_wait()
                    self._changed.clear()
                    await self._changed.wait()
                self.used += size  # no await since the check: nobody came between
                return True
            finally:
                self._wanted = 0

    def give(self, size: int) -> None:
        """Give back *size* bytes that were taken."""
        self.used -= size
        self._changed.set()

    def nudge(self) -> None:
        """Have those who wait ask ``give_up`` again."""
        self._changed.set()
