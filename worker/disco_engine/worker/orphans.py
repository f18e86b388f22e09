"""What user code has started and left behind: it becomes this process's child, and ends with it.

A process group ends with its slot; what has left that group, for a session of its own, does not.
Where a worker is a pod, the kernel ends all of it with the pod's first process. Elsewhere nobody
would.
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LOOK_S = 10.0  # who waits for a child of its own does so at once


def children() -> set[int]:
    """Return the ids of this process's children; none where there is no ``/proc``."""
    found: set[int] = set()
    with suppress(OSError):
        for thread in Path("/proc/self/task").iterdir():
            found.update(map(int, (thread / "children").read_text().split()))
    return found


def adopt_orphans(yes: bool) -> None:
    """Let descendants of this process that lose their parents become its children, or no more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


def end_children(but: Collection[int] = ()) -> None:
    """Kill this process's children, and what becomes its child by that, but for some."""
    while left := children().difference(but):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


@contextmanager
def ending_orphans() -> Iterator[None]:
    """Adopt orphans until the block ends, and kill all children then.

    Those that end before are waited for, as nobody else would.
    """
    over = threading.Event()
    burying = threading.Thread(target=_bury, args=(over,), name="bury-orphans", daemon=True)
    adopt_orphans(True)
    burying.start()
    try:
        yield
    finally:
        over.set()
        burying.join()
        end_children()


def _bury(over: threading.Event) -> None:
    ended_before: set[int] = set()
    while not over.wait(_LOOK_S):
        ended = set(filter(_has_ended, children()))
        for pid in ended & ended_before:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        ended_before = ended


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
