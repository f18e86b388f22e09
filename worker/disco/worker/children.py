"""A program that a task starts: a child of the slot that leaves nothing running when it is ended.

It is in the slot's process group and has the slot's limit on memory, so what ends the attempt from
outside, ends it and all that it has started. What it has started and left behind when the attempt
ends by itself, is found here: orphans become children of the slot while a program runs.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from disco_engine.worker.orphans import adopt_orphans, children, end_children
from disco_engine.worker.slot.limits import die_with_parent


class Child:
    """A running program; a context manager that ends it.

    Its pipes never block: reads and writes are for whoever asks first whether they can be done.

    Args:
        command: The path of the program, and its arguments.
        home: The directory to start it in.
        environment: Variables that it has besides those of the slot.

    Attributes:
        stdin: Unbuffered, as the next two.
        stdout: What it prints.
        stderr: What it reports.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self, command: Sequence[str], *, home: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._others = children()
        self._process = subprocess.Popen(
            command,
            cwd=home,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            preexec_fn=die_with_parent,
        )
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self.stdin: IO[bytes] = self._process.stdin
        self.stdout: IO[bytes] = self._process.stdout
        self.stderr: IO[bytes] = self._process.stderr
        for pipe in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(pipe.fileno(), False)
        adopt_orphans(True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    @property
    def has_ended(self) -> bool:
        """The program itself is gone; something that it has started may have its pipes."""
        return self._process.poll() is not None

    def how_it_ended(self, within_s: float) -> str:
        """Return "it exited with status 3", or "" if it runs on after *within_s* seconds."""
        try:
            status = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return ""
        if status >= 0:
            return f"it exited with status {status}"
        reason = f"it was killed by signal {-status} ({signal.strsignal(-status)})"
        return f"{reason}: perhaps for want of memory" if -status == signal.SIGKILL else reason

    def end(self) -> None:
        """End the program at once, and all that it has started."""
        self._process.kill()
        self._process.wait()
        end_children(but=self._others)
        adopt_orphans(False)
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
