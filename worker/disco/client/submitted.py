"""Remembers which jobs this user has submitted: their records may be unpickled, others' not.

A file in the user's state directory has one job uid per line, the newest last, at most a thousand
or two. It is a memory, not a proof: who can write it can run code as this user anyway.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import platformdirs

try:
    import fcntl
except ImportError:  # without it, two programs at once may forget one of two jobs
    fcntl = None  # type: ignore[assignment]

KEPT = 1_000
_BYTES_OF_UID = 80

_here: set[str] = set()  # by this process, in case the file cannot be written


def state_file() -> Path:
    """Return where the file is: ``DISCO_STATE``, or in the user's state directory."""
    given = os.environ.get("DISCO_STATE", "")
    return Path(given) if given else platformdirs.user_state_path("disco") / "submitted"


def remember(uid: str) -> None:
    """Note that this user has submitted the job."""
    if not uid or uid in _here:
        return
    _here.add(uid)
    try:
        with _locked(state_file()) as file:
            file.seek(0)
            lines = file.read().split()
            if len(lines) >= 2 * KEPT:
                file.truncate(0)
                file.write("".join(f"{line}\n" for line in lines[-KEPT:]))
            file.write(f"{uid[:_BYTES_OF_UID]}\n")
    except OSError:
        return  # this process knows; a later one will ask for trust


def is_ours(uid: str) -> bool:
    """Return whether this user has submitted the job, as far as anybody remembers."""
    if uid in _here:
        return True
    try:
        return bool(uid) and uid in state_file().read_text(errors="replace").split()
    except OSError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with open(descriptor, "r+") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file
