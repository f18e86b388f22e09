"""The processes of pods and machines, as this side sees them: to be frozen and killed by their pid.

They are found through the control group of their container, so no other process is ever meant.
"""

import io
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.kubectl import Object

_HIERARCHIES = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
"""Where control groups are: in version 1, where every controller has the same, and in version 2."""
_LARGEST_BYTES = 1 << 30


class NoProcessError(Exception):
    """There is no such process now: its container starts, or has ended."""


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of one control group.

    Attributes:
        folder: Of the control group.
    """

    folder: Path

    def pids(self) -> Sequence[int]:
        """Return their pids, lowest first."""
        with suppress(OSError):
            return sorted(map(int, (self.folder / "cgroup.procs").read_text().split()))
        return ()

    def main(self) -> int:
        """Return the process that is the first one in its container.

        Raises:
            NoProcessError: There is none.
        """
        for pid in self.pids():
            if _pid_inside(pid) == "1":
                return pid
        raise NoProcessError(f"nothing runs in {self.folder}")

    def named(self, text: str) -> Sequence[int]:
        """Return those with a word on their command line that ends with *text*."""
        return [pid for pid in self.pids() if any(w.endswith(text) for w in _command_line(pid))]

    def send(self, pid: int, what: signal.Signals) -> None:
        """Send a signal to one of them, if it is still there."""
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                # The number may have become another's before it was opened, but not after that.
                if pid in self.pids():
                    signal.pidfd_send_signal(handle, what)
            finally:
                os.close(handle)


def of_pod(cluster: str, pod: Object) -> Group:
    """Return the processes of a pod's first container.

    Args:
        cluster: Of ``kube/``.
        pod: As the API server has it.

    Raises:
        NoProcessError: It does not run.
    """
    statuses = pod.get("status", {}).get("containerStatuses", ())
    container = statuses[0].get("containerID", "").rpartition("/")[2] if statuses else ""
    found = next(_folders(f"{cluster}/*/kubepods/**/{container}"), None) if container else None
    if found is None:
        raise NoProcessError(f"pod {pod['metadata']['name']} does not run")
    return Group(found)


def of_control_plane(cluster: str) -> Group:
    """Return the processes of the control plane's machine."""
    return Group(next(_folders(f"{cluster}/control/system")))


def fill(pid: int, folder: str) -> io.FileIO:
    """Fill the file system that a process sees at *folder* until the answer is closed.

    Raises:
        AssertionError: It is too large to be one that was made to be filled.
        NoProcessError: The process is gone.
    """
    path = Path(f"/proc/{pid}/root{folder}")
    try:
        room = os.statvfs(path)
        size = room.f_blocks * room.f_frsize
        assert size <= _LARGEST_BYTES, f"{folder} has {size} bytes: that is not a pod's own"
        ballast = io.FileIO(path / "ballast", "w")
        (path / "ballast").unlink()  # so that there is room again, whatever becomes of the pod
    except FileNotFoundError as error:
        raise NoProcessError(f"process {pid} has ended") from error
    with suppress(OSError):
        while ballast.write(bytes(1 << 16)):
            pass
    return ballast


def _folders(pattern: str) -> Iterator[Path]:
    for base in _HIERARCHIES:
        yield from base.glob(f"disco-kube/{pattern}")


def _pid_inside(pid: int) -> str:
    """Return the pid that a process has in the innermost namespace it is in, "" if it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1]
    return ""


def _command_line(pid: int) -> Sequence[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return ()
