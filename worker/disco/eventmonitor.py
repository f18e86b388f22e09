"""Shows a job's events and how far it is, for programs that watch it themselves.

``Job.wait(show=True)`` does as much.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from disco.job import Job

__all__ = [
    "EventMonitor",
    "EventWriter",
    "JSONEventWriter",
    "OutputStream",
    "TextEventWriter",
]


class EventWriter:
    """Writes nothing; the others write to *handle*."""

    def __init__(self, handle: TextIO) -> None:
        self.handle = handle

    def write(
        self,
        status: str | None = None,
        timestamp: str | None = None,
        host: str | None = None,
        message: str | None = None,
    ) -> None:
        """Write an event if there is a *timestamp*, else the *status* if there is one."""

    def cleanup(self) -> None:
        """Do nothing: nothing is left to do."""


class TextEventWriter(EventWriter):
    """Writes lines of text."""

    def write(
        self,
        status: str | None = None,
        timestamp: str | None = None,
        host: str | None = None,
        message: str | None = None,
    ) -> None:
        """Write a line."""
        if timestamp:
            print(timestamp, host, message, file=self.handle)
        elif status:
            print(status, file=self.handle)


class JSONEventWriter(EventWriter):
    """Writes events, and nothing else, as JSON, one per line."""

    def write(
        self,
        status: str | None = None,
        timestamp: str | None = None,
        host: str | None = None,
        message: str | None = None,
    ) -> None:
        """Write a line, if it is an event."""
        if timestamp:
            print(json.dumps([timestamp, host, message]), file=self.handle)


class OutputStream:
    """Writes in a format: "json", "" (nothing), or anything else (text)."""

    def __init__(self, format: str | bool | None, handle: TextIO | None = None) -> None:
        self.isenabled = bool(format)
        writer: type[EventWriter] = TextEventWriter if format else EventWriter
        if format == "json":
            writer = JSONEventWriter
        self.writer = writer(handle or sys.stderr)

    def write(self, **what: Any) -> None:
        """Write an event or a status."""
        self.writer.write(**what)

    def cleanup(self) -> None:
        """End the writing."""
        self.writer.cleanup()


class EventMonitor:
    """Follows a job.

    Args:
        job: Which.
        format: As for ``OutputStream``.
        poll_interval: Seconds that ``refresh`` takes.
    """

    def __init__(
        self, job: "Job", format: str | bool | None = None, poll_interval: float = 2
    ) -> None:
        self.job = job
        self.offset = 0
        self.poll_interval = poll_interval
        self.prev_status: str | None = None
        self.output = OutputStream(format)

    @property
    def events(self) -> Iterator[tuple[int, tuple[str, str, str]]]:
        """What has happened since ``log_events`` was called last."""
        return self.job.events(self.offset)

    @property
    def isenabled(self) -> bool:
        """Whether anything is written."""
        return self.output.isenabled

    @property
    def stats(self) -> list[Any]:
        """Name and counts of the last stage that has begun; see ``Job.jobinfo``."""
        pipeline: list[list[Any]] = self.job.jobinfo()["pipeline"]
        begun = [stage for stage in pipeline if any(stage[1:])]
        return (begun or pipeline[:1] or [["", 0, 0, 0, 0, 0]])[-1]

    @property
    def status(self) -> str:
        """The same in words."""
        stage, pending, waiting, running, done, failed = self.stats
        return (
            f"Status: [{stage}] {pending} pending, {waiting} waiting, {running} running,"
            f" {done} done, {failed} failed"
        )

    def log_events(self) -> None:
        """Write the events that were not written yet."""
        for offset, (timestamp, host, message) in self.events:
            self.offset = offset
            self.output.write(timestamp=timestamp, host=host, message=message)

    def refresh(self) -> None:
        """Write the events and, if it has changed, the status; then wait a while."""
        if not self.isenabled:
            return
        status = self.status
        self.log_events()
        if status != self.prev_status:
            self.output.write(status=status)
            self.prev_status = status
        time.sleep(self.poll_interval)

    def cleanup(self) -> None:
        """End the writing."""
        self.output.cleanup()
