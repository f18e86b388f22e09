"""Notices that a child process is there but does nothing: frozen, or hanging in its event loop.

All our programs read their standard input, to notice the end of their supervisor, and do so on the
event loop that does everything else. So a byte that is not taken says that nothing else is done.
It is beats that are counted, not seconds: when this process, or the whole machine, stands still for
a while, nobody is suspected.
"""

import fcntl
import os
import struct
import termios
from contextlib import suppress
from pathlib import Path

BEAT_S = 1.0
START_PATIENCE_S = 300.0
"""Until it serves or has taken a byte: an interpreter starts, a partition service recovers."""


class Pulse:
    """One process's.

    Args:
        pipe: The writing end of its standard input, which belongs to the caller.
        ready_file: The file that it writes once it serves, and so reads. A process that is frozen
            soon after has perhaps not been sent anything before.
        patience_s: How long a process that has begun to read may take no byte.
    """

    def __init__(self, pipe: int, ready_file: Path, patience_s: float) -> None:
        self._pipe = pipe
        self._ready_file = ready_file
        self._patience_s = patience_s
        self._sent = False
        self._begun = False  # it reads
        self._silent_beats = 0

    def beat(self) -> bool:
        """Send a byte, if the last one was taken; return whether the process must be given up."""
        unread = _unread(self._pipe)
        self._begun = self._begun or (self._sent and not unread) or self._ready_file.exists()
        if unread:
            self._silent_beats += 1
        else:
            self._silent_beats = 0
            with suppress(BrokenPipeError):  # it is about to end
                os.write(self._pipe, b"\0")
            self._sent = True
        patience_s = self._patience_s if self._begun else max(START_PATIENCE_S, self._patience_s)
        return self._silent_beats * BEAT_S >= patience_s


def _unread(pipe: int) -> int:
    """Return how many bytes are in a pipe; 0 where the system does not tell."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))
    except OSError:
        return 0
    return int(count)
