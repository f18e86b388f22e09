"""What all long-running processes do alike: say that they are ready, notice that they must stop."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

log = logging.getLogger(__name__)

EXIT_PORT_TAKEN = 3
EXIT_FENCED = 4
EXIT_OUT_OF_MEMORY = 5


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that coordinator, partition service and worker share."""
    parser.add_argument(
        "--ready-file",
        type=Path,
        help='where to write {"port": …, "pid": …} once the process serves',
    )
    parser.add_argument(
        "--exit-on-stdin-eof",
        action="store_true",
        help="end when standard input is closed: the supervisor is gone",
    )
    parser.add_argument(
        "--health-port",
        type=int,
        help="where to answer grpc.health.v1, in plaintext, for anybody who asks;"
        ' the service "ready" is SERVING once the process does its work (default: nowhere)',
    )
    parser.add_argument("--log-level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Yield what really went wrong: the errors in a group of groups, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves_of(inner)
    else:
        yield error


def write_ready(path: Path | None, port: int) -> None:
    """Tell the supervisor, in one atomic step, that the process serves on *port*."""
    if path is None:
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps({"port": port, "pid": os.getpid()}))
        temporary.replace(path)
    except OSError as error:
        # A process that came back while the disk is full has better things to do than to end again.
        log.warning("cannot tell that the process serves", extra={"reason": str(error)})


@asynccontextmanager
async def stop_requested(
    *, exit_on_stdin_eof: bool, on_eof: Callable[[], None] | None = None
) -> AsyncIterator[asyncio.Event]:
    """Give an event that is set by SIGTERM, SIGINT or, if asked, the end of standard input.

    Args:
        exit_on_stdin_eof: Whether to look at standard input at all.
        on_eof: Called at its end instead: by a process that has more to do on SIGTERM than makes
            sense without a supervisor.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    stdin = sys.stdin.fileno() if exit_on_stdin_eof else None

    def on_input() -> None:
        assert stdin is not None
        if not os.read(stdin, 4096):
            loop.remove_reader(stdin)
            (on_eof or stop.set)()

    if stdin is not None:
        loop.add_reader(stdin, on_input)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        if stdin is not None:
            loop.remove_reader(stdin)
