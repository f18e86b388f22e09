"""Standard output, standard error and logging of the slot: everything goes into the parent's pipe.

The parent has to know which attempt wrote what, also when short attempts follow each other faster
than it reads. So the first thing an attempt prints is preceded by a mark with the attempt's number
(they are counted from 1 in each slot). What C code or child processes print has no mark of its own
and counts as the attempt's that printed last, or that runs when the parent sees it.
"""

import faulthandler
import io
import logging
import os
import select
import signal
import sys
from contextlib import suppress

MARK = b"\0\0disco attempt %016d\0\0"


class Printer:
    """The slot's standard streams, and the marks: at most one for each attempt.

    Both streams are flushed at each line, so that the last words of a process that is killed are
    not lost, and the two stay in order.
    """

    def __init__(self) -> None:
        self._mark = b""
        self._pipe = os.dup(1)
        self._poll = select.poll()  # one system call, after every task
        for descriptor in (1, 2):
            self._poll.register(descriptor, 0)
        self._streams = self._open()

    def install(self, stack_pipe: int) -> None:
        """Take over the process's streams, logging and crash dumps.

        Args:
            stack_pipe: Where it says, before it is killed or crashes, where it was. That has no
                mark, and the parent could take it for what the attempt before has printed.
        """
        sys.stdout, sys.stderr = self._streams
        faulthandler.enable(file=stack_pipe)
        # The parent asks a task that has run too long where it is, before it kills it.
        faulthandler.register(signal.SIGUSR2, file=stack_pipe)
        # A process that user code forks may crash, and the attempt go on.
        os.register_at_fork(after_in_child=lambda: faulthandler.enable(file=2))
        logging.basicConfig(
            level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
        )

    def begin(self, number: int) -> None:
        """Make everything that is printed from now on that of attempt *number*."""
        self._mark = MARK % number

    def end(self) -> None:
        """Bring everything that was printed into the pipe, and undo what user code did to it."""
        for descriptor, state in self._poll.poll(0):
            if state & select.POLLNVAL:  # closed by user code
                os.dup2(self._pipe, descriptor)
        if (sys.stdout, sys.stderr) != self._streams:  # user code has replaced them
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            sys.stdout, sys.stderr = self._streams
        for stream in self._streams:
            if stream.closed:  # by user code
                self._streams = sys.stdout, sys.stderr = self._open()
                return
            with suppress(OSError):
                stream.flush()

    def mark(self) -> None:
        """Write the mark, unless this attempt has it."""
        mark, self._mark = self._mark, b""
        if mark:
            os.write(1, mark)  # shorter than PIPE_BUF, so nothing comes between its bytes

    def _open(self) -> tuple[io.TextIOWrapper, io.TextIOWrapper]:
        stdout, stderr = (
            io.TextIOWrapper(
                io.BufferedWriter(_MarkedFile(descriptor, self)),  # type: ignore[type-var]
                encoding="utf-8",
                errors="backslashreplace",
                line_buffering=True,
            )
            for descriptor in (1, 2)
        )
        return stdout, stderr


class _MarkedFile(io.FileIO):
    def __init__(self, descriptor: int, printer: Printer) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._printer = printer

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self._printer.mark()
        return super().write(data)
