"""The directory of one local run: made private, locked while it is in use, removed afterwards.

A run that was killed outright cannot remove its directory. It does lose its lock, because the
kernel drops that with the last process that holds it, so the next run on the machine finds the
directory unlocked and removes it.
"""

import fcntl
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from disco_engine.local.errors import NoRoomError

_PREFIX = "disco-"
_LOCK = "lock"
_LEAST_FREE_BYTES = 1024 * 1024  # with less, not even logs and journals can be begun


class RunDirectory:
    """A fresh directory that only this user can read.

    Attributes:
        path: The directory.
        lock_fd: Hand it to child processes: the directory counts as in use until all have ended.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Make the directory.

        Args:
            path: Where; it must not exist or be empty. None: under the system's temporary
                directory, where what killed runs left behind is removed first.

        Raises:
            FileExistsError: It has something in it.
            NoRoomError: Its disk is full.
        """
        if path is None:
            _remove_abandoned(Path(tempfile.gettempdir()))
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        else:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise FileExistsError(f"{path} is not empty: a run needs a directory of its own")
            self.path = path
        if problem := self.full():
            with suppress(OSError):
                self.path.rmdir()
            raise NoRoomError(problem)
        self.lock_fd = _locked(self.path)
        self._removing = threading.Lock()
        self.logs.mkdir()

    @property
    def logs(self) -> Path:
        """Where the processes' logs are."""
        return self.path / "logs"

    def full(self) -> str:
        """Return what to tell people if hardly anything more can be written; empty: it can."""
        state = os.statvfs(self.path)
        free, total = state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
        if free >= _LEAST_FREE_BYTES:
            return ""
        return (
            f"the disk is full: {self.path.parent} has {free:,} of {total:,} bytes left; make room"
            " there, or set TMPDIR to a directory on another disk"
        )

    def sub(self, name: str) -> Path:
        """Return a directory within, made if need be."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def remove(self, *, keep_logs: bool = False) -> None:
        """Remove the directory, or everything in it but the logs. Doing it again does nothing."""
        with self._removing:
            if self.lock_fd < 0:
                return
            os.close(self.lock_fd)
            self.lock_fd = -1
        if not keep_logs:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for item in self.path.iterdir():
            if item == self.logs:
                continue
            if item.is_dir():
                shutil.rmtree(item, ignore_errors=True)
            else:
                item.unlink(missing_ok=True)


def _locked(directory: Path) -> int:
    """Return the descriptor of a lock file in *directory*, locked."""
    # Locked under another name first: no one ever sees a lock file that is not locked yet.
    temporary = directory / f"{_LOCK}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    temporary.rename(directory / _LOCK)
    return descriptor


def _remove_abandoned(parent: Path) -> None:
    """Remove the directories of this user's runs whose processes are all gone."""
    for directory in parent.glob(f"{_PREFIX}*"):
        try:
            if directory.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # not a run's, already gone, or only logs that were kept
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(descriptor)
