"""How the command line fails: which exit status an error means, and how it is said."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

EXIT_FAILED = 1
EXIT_WRONG_USE = 2
EXIT_UNREACHABLE = 3
EXIT_TIMEOUT = 4
EXIT_INTERRUPTED = 130

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

EXIT_STATUS = """
\b
Exit status:
  0  done; the job succeeded      3    the server does not answer, or does not let you
  1  the job failed, or it is     4    it took longer than --timeout
     not in a state for this      130  interrupted by Ctrl-C (the job goes on)
  2  wrong use: flags, names,
     manifest, job file, settings
"""


class CommandError(click.ClickException):
    """Ends the command: a message, without click's usage, and a status."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click's is not only of the class

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message."""
        from disco.cli.wording import printable_lines

        colour = False if os.environ.get("NO_COLOR") else None
        message = "\n".join(printable_lines(self.message))
        click.secho(f"Error: {message}", file=file, err=file is None, fg="red", color=colour)


def reader_gone() -> int:
    """Return the exit status for when whoever reads our output has seen enough, and be quiet."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 # for what is flushed at the exit
    return 128 + signal.SIGPIPE


def output_full(error: OSError) -> int:
    """Return the exit status for when standard output takes no more, and say so.

    Commands say themselves which file of their own they cannot write.

    Raises:
        OSError: *error*, which is about something else.
    """
    if error.errno not in _FULL or error.filename is not None:
        raise error
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 # for what is flushed at the exit
    CommandError(
        f"cannot write all of it to standard output: {error.strerror}; make room there, or send it"
        " elsewhere",
        EXIT_FAILED,
    ).show()
    return EXIT_FAILED


@contextmanager
def wrong_use() -> Iterator[None]:
    """Turn WrongUseError into the end of the command."""
    from disco.cli.request import WrongUseError

    try:
        yield
    except WrongUseError as error:
        raise CommandError(str(error), EXIT_WRONG_USE) from error
