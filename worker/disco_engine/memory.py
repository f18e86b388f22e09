"""What our processes must know of memory: how to keep it, and whether the container ran out."""

import asyncio
import ctypes
import gc
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = 64 * 1024 * 1024
_LARGEST_BYTES = 32 * 1024 * 1024  # the most that glibc accepts
_COLLECT_EVERY_S = 600.0

SELDOM = (50_000, 20, 1_000_000)
"""The collector's thresholds in processes that have very many objects."""

_OOM_COUNTERS = (  # of the container that this process is in, as cgroups v2 and v1 have it
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)


def keep_freed_memory() -> None:
    """Reuse freed megabytes instead of returning each of them to the operating system.

    By default glibc gets every large buffer as fresh pages, which the kernel must clear first: of
    the time to pass 1 GiB on over gRPC in messages of 1 MiB that was two thirds (2.2 s of CPU
    instead of 0.4 s to send, 1.2 s instead of 0.4 s to receive). The price is up to 64 MiB that
    are free and not returned. Without glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


@asynccontextmanager
async def seldom_collected() -> AsyncIterator[None]:
    """Have Python's collector look at young objects only, and at all of them every ten minutes.

    By default it looks at everything whenever there is a quarter more, as when a job gets its tasks
    or lists of thousands of objects are decoded: more than half of the time that took was the
    collector's, up to a second at a stretch in which nothing else ran. Reference counts free almost
    everything; what is in circles and old is little.
    """
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    collecting = asyncio.create_task(_keep_collecting(), name="collect garbage")
    try:
        yield
    finally:
        collecting.cancel()
        gc.set_threshold(*before)


async def _keep_collecting() -> None:
    while True:
        await asyncio.sleep(_COLLECT_EVERY_S)
        gc.collect()


class OomWatch:
    """Tells whether the kernel has killed processes of this container for want of memory.

    With cgroups v2 Kubernetes has the whole container killed, with v1 only its largest process: a
    slot that dies by SIGKILL then looks like one that killed itself.

    Args:
        counters: Files that may have a line "oom_kill NUMBER"; the first that does is used.

    Source:
        Linux kernel documentation: cgroup-v2.rst (memory.events), cgroup-v1/memory.rst.
    """

    def __init__(self, counters: Sequence[Path] = _OOM_COUNTERS) -> None:
        self._counters = counters
        self._known = self._count()

    def killed(self) -> bool:
        """Return whether that has happened since the last call, or since this was made."""
        before, self._known = self._known, self._count()
        return self._known > before

    def _count(self) -> int:
        for path in self._counters:
            try:
                found = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
            except OSError:
                continue
            if found is not None:
                return int(found[1])
        return 0
