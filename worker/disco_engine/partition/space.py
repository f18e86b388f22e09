"""Whether there is room on the disk for more blocks, and what to say if there is not."""

import os
import time
from collections.abc import Callable
from pathlib import Path

_LARGEST_RESERVE = 4 * 1024**3
_MEASURE_EVERY_S = 1.0


class DiskFullError(Exception):
    """There is no room for more blocks; trying again later may work."""


class DiskSpace:
    """How much of the disk may be used, and is.

    With a limit only the service's own files count (Kubernetes' ``sizeLimit`` of an ``emptyDir``
    counts the same). Without one, the whole file system does, and a part of it stays free for
    others: what the high watermark leaves, but at most 4 GiB.
    """

    def __init__(
        self, directory: Path, own_bytes: Callable[[], int], limit: int | None, watermark: float
    ) -> None:
        """Begin to watch.

        Args:
            directory: Where the service's files are.
            own_bytes: How many bytes they have.
            limit: How many they may have; None: as many as the file system has.
            watermark: The fraction of the limit from which on there is no room, above 0, at most 1.
        """
        self._directory = directory
        self._own_bytes = own_bytes
        self._limit = limit
        self._watermark = watermark
        self._failure: OSError | None = None
        self._refused = 0  # bytes of the largest push for which there was no room, and is none yet
        self._measured_s = float("-inf")
        self._total = self._free = 0

    @property
    def limit(self) -> int:
        """Bytes there are, for the service's files or for everybody's."""
        if self._limit is not None:
            return self._limit
        self._measure()
        return self._total

    @property
    def used(self) -> int:
        """Bytes of ``limit`` that are taken."""
        if self._limit is not None:
            return self._own_bytes()
        self._measure()
        return self._total - self._free

    def _measure(self) -> None:
        now = time.monotonic()
        if now - self._measured_s >= _MEASURE_EVERY_S:
            state = os.statvfs(self._directory)
            self._total = state.f_blocks * state.f_frsize
            self._free = state.f_bavail * state.f_frsize
            self._measured_s = now

    def note_failure(self, failure: OSError | None) -> None:
        """Remember that the last write failed, or (None) that it did not."""
        self._failure = failure
        self._measured_s = float("-inf")

    def note_refusal(self, size: int) -> None:
        """Remember that a push of *size* bytes was refused."""
        self._refused = max(self._refused, size)

    def shortage(self, waiting: int) -> str | None:
        """Return why a push like those that were refused would be refused again; None: it fits.

        Whether one of no size fits says little: below the limit there is nearly always some room
        left, and who takes that for an invitation pushes in vain, over and over.

        Args:
            waiting: As for ``refusal``.
        """
        problem = self.refusal(waiting + self._refused)
        if problem is None:
            self._refused = 0
        return problem

    def refusal(self, waiting: int) -> str | None:
        """Return why nothing more can be accepted; None: it can.

        Args:
            waiting: Bytes that have been accepted and are not on disk. They must find room too.
        """
        limit, used = self.limit, self.used
        if self._failure is not None:
            problem = f"writing failed: {self._failure.strerror}"
        else:
            usable = int(limit * self._watermark)
            if self._limit is None:
                usable = max(usable, limit - _LARGEST_RESERVE)
            if used + waiting <= usable:
                return None
            problem = f"at most {usable:,} may be used"
        return (
            f"the disk is full: {self._directory} has {used:,} of {limit:,} bytes used and"
            f" {waiting:,} waiting, {problem}; make room there, or give it more"
        )
