"""Does something to a DDFS and is killed at its n-th storage step. Run as a program.

    killed.py ROOT WHAT

It forks a child per step: the first is killed before its first step, the next before its second,
and so on, until one gets to its end. After each it prints a line and waits for one: whoever started
it then looks at what was left. Steps are what the operating system is asked to do with files below
a root that is a directory, and calls of S3.
"""

import io
import itertools
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from disco.ddfs import DDFS


def push(ddfs: DDFS) -> None:
    ddfs.push("t", [(io.BytesIO(b"one"), "one"), (io.BytesIO(b"two"), "two")])


def chunk(ddfs: DDFS) -> None:
    name = os.environ["TEXT"]
    ddfs.chunk("t", [name, name])


def tag(ddfs: DDFS) -> None:
    ddfs.tag("t", [f"http://example.org/{os.getpid()}"])


def collect(ddfs: DDFS) -> None:
    ddfs.collect(0)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def count(step: int) -> Callable[[], None]:
    """Return a function that kills the process when it is called for the *step*-th time."""
    steps = itertools.count(1)

    def call() -> None:
        if next(steps) == step:
            die()

    return call


class Calls(logging.Handler):
    """Counts what s3fs says it is about to ask the server for."""

    def __init__(self, reached: Callable[[], None]) -> None:
        super().__init__(logging.DEBUG)
        self._reached = reached

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("CALL: "):
            self._reached()


def arm(root: str, step: int) -> None:
    """Have this process killed at the *step*-th storage step."""
    reached = count(step)
    if root.startswith("s3://"):
        logging.raiseExceptions = False
        logger = logging.getLogger("s3fs")
        logger.handlers = [Calls(reached)]
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        return

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.scandir") and (
            str(arguments[0]).startswith(root)
        ):
            reached()

    sys.addaudithook(hear)


def main() -> None:
    """Do as the module's docstring says."""
    root, what = sys.argv[1:]
    if root.startswith("s3://"):
        import aiobotocore  # noqa: F401 # once, not in each child
        import s3fs  # noqa: F401
    import disco.core  # noqa: F401

    for step in itertools.count(1):
        child = os.fork()
        if not child:
            arm(root, step)
            globals()[what](DDFS(root))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status not in (0, signal.SIGKILL):
            sys.exit(f"step {step} ended with {status}")
        print("killed" if status else "done", flush=True)
        sys.stdin.readline()
        if not status:
            return


if __name__ == "__main__":
    main()
