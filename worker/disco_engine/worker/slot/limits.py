"""What the operating system enforces on a slot: its memory, and that it dies with its parent."""

import ctypes
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SPARE_BYTES = 8 * 1024 * 1024
_MIB = 1024 * 1024


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, whatever it is doing then.

    Only Linux can do this; elsewhere a slot notices when it next uses its socket.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class MemoryLimit:
    """A limit on everything this process allocates, the interpreter and the imports included.

    It is RLIMIT_DATA, which counts private writable memory (the heap and anonymous mappings) but
    neither files nor shared memory: allocating beyond it raises MemoryError. Not enforced where
    there is no ``/proc``.
    """

    def __init__(self, limit_bytes: int) -> None:
        """Prepare a limit of *limit_bytes*; 0 means none."""
        self.limit_bytes = limit_bytes
        self._hard = resource.getrlimit(resource.RLIMIT_DATA)[1]

    def __str__(self) -> str:
        """Return the limit as people write it."""
        return f"{self.limit_bytes / _MIB:,.0f} MiB"

    def too_small(self) -> str:
        """Return why the process cannot live with the limit, or an empty string."""
        used = _data_bytes()
        if not self.limit_bytes or used + _SPARE_BYTES <= self.limit_bytes:
            return ""
        return (
            f"the memory limit of {self} is too small: the interpreter and the job's imports alone"
            f" take {used / _MIB:,.0f} MiB; raise the limit (--memory)"
        )

    def apply(self) -> None:
        """Put the limit into force."""
        if self.limit_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (self.limit_bytes, self._hard))

    def lift(self) -> None:
        """End the limit, so that a failure can be described when nothing is left."""
        if self.limit_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (self._hard, self._hard))


def _data_bytes() -> int:
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmData:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
