"""A job's events in Disco's form: (time, host, message), and offsets to go on at.

What a task prints is a message per line, "MSG: [map:0] text"; what goes wrong begins with
"WARNING: [map:0]" if it is tried again, and with "FATAL: [map:0]" if it has ended the job.

An offset says how many events were told as a whole, and how many lines of the one after them.
"""

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from disco.v1 import coordinator_pb2
from disco_engine.worker.capture import BINARY

Event: TypeAlias = coordinator_pb2.JobEvent
Message: TypeAlias = tuple[str, str, str]
"""Local time ("2026/01/31 23:59:59"), who speaks (a worker, or "master"), what."""

_LINES = 1 << 16  # more than there are in the 16 KiB that are kept of an attempt's output


def first_number(offset: int) -> int:
    """Return after which event somebody goes on who was told everything up to *offset*."""
    return offset // _LINES


def told_from(offset: int, events: Iterable[tuple[int, Event]]) -> Iterator[tuple[int, Message]]:
    """Yield (offset behind it, message) of everything behind *offset*.

    Args:
        offset: 0, or one that was yielded before.
        events: Those that are kept, with ascending numbers that begin with 1, from the one after
            ``first_number(offset)`` on.
    """
    number, lines = divmod(offset, _LINES)
    for at, event in events:
        if at > number + 1:
            text = f"WARNING: {at - number - 1:,} events before this are not kept any more"
            yield (at - 1) * _LINES, (_moment(event), "master", text)
            lines = 0
        number = at
        messages = list(messages_of(event))
        for line, message in enumerate(messages[lines:], start=lines + 1):
            yield at * _LINES - (_LINES - line if line < len(messages) else 0), message
        lines = 0


def messages_of(event: Event) -> Iterator[Message]:
    """Yield the messages that an event is told in, at least one."""
    moment, host = _moment(event), event.worker_id or "master"
    for text in _texts(event):
        yield moment, host, text


def _texts(event: Event) -> Iterator[str]:
    where = event.stage_name
    if event.HasField("attempt"):
        where = f"{where}:{event.attempt.task}"
    place = f"[{where}] " if where else ""
    match event.kind:
        case "output" | "status":
            for line in event.text.splitlines() or [""]:
                level = "WARNING" if line.startswith(BINARY) else "MSG"
                yield f"{level}: {place}{line}"
        case "task-failed":
            yield f"WARNING: {place}{_trouble(event)}"
        case "job-finished" if event.HasField("failure"):
            yield f"FATAL: {place}{_trouble(event)}"
        case _:
            yield f"{place}{event.kind}: {event.text}"


def _trouble(event: Event) -> str:
    """Return what went wrong, with the traceback of the user's code if there is one."""
    traceback = event.failure.traceback.rstrip()
    return f"{event.text}\n{traceback}" if traceback else event.text


def _moment(event: Event) -> str:
    return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(event.time_s))


@contextmanager
def shown(events: Iterator[Event], how: str | bool) -> Iterator[None]:
    """Print events to standard error until the block ends.

    Args:
        events: Those of one job, to its end.
        how: "json": as JSON; "nocolor": as text; anything else: in colours if that is a terminal.
    """
    over = threading.Event()

    def show() -> None:
        for event in events:
            if over.is_set():
                return
            for message in messages_of(event):
                print(_line(message, how), file=sys.stderr)

    thread = threading.Thread(target=show, name="show-events", daemon=True)
    thread.start()
    try:
        yield
        thread.join()  # the job has ended: what is left to show is there already
    finally:
        over.set()


_COLOURS = {"WARNING": "\x1b[33m", "FATAL": "\x1b[31m"}


def _line(message: Message, how: str | bool) -> str:
    if how == "json":
        return json.dumps(message)
    text = "  ".join(message)
    colour = _COLOURS.get(message[2].partition(":")[0], "")
    if not colour or how == "nocolor" or not sys.stderr.isatty():
        return text
    return f"{colour}{text}\x1b[0m"
