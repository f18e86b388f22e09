"""What the processes that a benchmark has started need: time, memory, descriptors, by role."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_ROLES = {
    "disco_engine.coordinator": "coordinator",
    "disco_engine.partition": "partition service",
    "disco_engine.worker": "worker",
    "disco_engine.worker.slot": "slot",
}


@dataclass(slots=True)
class Usage:
    """One process, as far as it was seen.

    Attributes:
        role: What it is; empty: something else.
        cpu_s: Processor time, the system's included.
        peak_bytes: Most resident memory.
        descriptors: Most open files.
    """

    role: str
    cpu_s: float = 0.0
    peak_bytes: int = 0
    descriptors: int = 0

    def update(self, pid: int) -> None:
        """Look again.

        Raises:
            OSError: It is gone.
        """
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        self.cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                self.peak_bytes = int(line.split()[1]) * 1024
        self.descriptors = max(self.descriptors, len(os.listdir(f"/proc/{pid}/fd")))


class Sampler:
    """Looks at a process and all its descendants, again and again, while it is entered.

    Args:
        root: The process; None: this one.
        interval_s: Between two looks, which take some milliseconds of a processor each.
    """

    def __init__(self, root: int | None = None, *, interval_s: float = 0.1) -> None:
        self._interval_s = interval_s
        self._root = os.getpid() if root is None else root
        self._usages: dict[int, Usage] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def of(self, role: str | None) -> list[Usage]:
        """Return the processes of a role; None: all."""
        return [usage for usage in list(self._usages.values()) if role in (None, usage.role)]

    def cpu_s(self, role: str) -> float:
        """Return the processor time of all processes of a role."""
        return sum(usage.cpu_s for usage in self.of(role))

    def peak_bytes(self, role: str | None = None) -> int:
        """Return the most memory that one process of a role had; None: that any had."""
        return max((usage.peak_bytes for usage in self.of(role)), default=0)

    def descriptors(self, role: str) -> int:
        """Return the most files that one process of a role had open."""
        return max((usage.descriptors for usage in self.of(role)), default=0)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            for pid in _tree_of(self._root):
                try:
                    if pid not in self._usages or not self._usages[pid].role:
                        self._usages[pid] = Usage(_role_of(pid))  # it may just have been forked
                    self._usages[pid].update(pid)
                except OSError:
                    continue  # it has ended


def _role_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return next((role for module, role in _ROLES.items() if module in words), "")


def _tree_of(root: int) -> list[int]:
    """Return *root* and the processes below it, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found
