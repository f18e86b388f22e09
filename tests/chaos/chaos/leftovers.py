"""Finds processes that outlive what started them."""

from pathlib import Path


def processes_with(mark: str) -> list[str]:
    """Return the command lines of the processes that have *mark* in their environment.

    Those that have ended and wait to be noticed have none.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
