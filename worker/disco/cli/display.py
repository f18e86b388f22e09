"""Shows a running job: live bars on a terminal, lines in a log, JSON for programs, or nothing."""

import json
import sys
import time
from collections.abc import Callable
from typing import IO, Protocol

from disco.cli import wording
from disco.cli.plain_messages import plain
from disco.v1 import coordinator_pb2

_LINE_INTERVAL_S = 10.0


class Display(Protocol):
    """Something that shows a job while it runs."""

    def show(self, reply: coordinator_pb2.WatchReply) -> None:
        """Show how far the job is, and what has happened since the last time."""
        ...

    def tick(self) -> None:
        """Notice that time has passed; called about once a second."""
        ...

    def note(self, text: str) -> None:
        """Show a line of our own."""
        ...

    def lose(self, text: str) -> None:
        """Show why there is no news now, and, until there is, nothing that could be wrong."""
        ...

    def close(self) -> None:
        """Leave the screen as the last thing shown."""
        ...


class QuietDisplay:
    """Shows nothing."""

    def show(self, reply: coordinator_pb2.WatchReply) -> None:
        """Do nothing."""

    def tick(self) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def lose(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class JsonDisplay:
    """Writes one JSON object per line: everything, for programs.

    ``{"type": "progress", …}`` has the fields of disco.v1.JobProgress, ``{"type": "event", …}``
    those of disco.v1.JobEvent; ``disco run`` adds a last ``{"type": "result", …}``.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def show(self, reply: coordinator_pb2.WatchReply) -> None:
        """Write the events, then the progress."""
        for event in reply.events:
            self.write("event", plain(event))
        if reply.HasField("progress"):
            self.write("progress", plain(reply.progress))

    def tick(self) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Write a note."""
        self.write("note", {"text": text})

    def lose(self, text: str) -> None:
        """Write it as a note."""
        self.note(text)

    def close(self) -> None:
        """Do nothing: every line has been flushed."""

    def write(self, kind: str, fields: dict[str, object]) -> None:
        """Write one object."""
        line = json.dumps({"type": kind, **fields}, ensure_ascii=False, default=str)
        print(line, file=self._stream, flush=True)


class LineDisplay:
    """Writes lines with times, for logs: starts, ends, what went wrong, and now and then progress.

    Args:
        stream: Where to.
        clock: Seconds, monotonic.
    """

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started: set[str] = set()
        self._finished: set[str] = set()
        self._spoke = clock()
        self._progress = coordinator_pb2.JobProgress()
        self._heard = self._spoke  # when _progress was news
        self._lost = False

    def show(self, reply: coordinator_pb2.WatchReply) -> None:
        """Write what is new, in the order in which it happened."""
        if self._lost:
            self._lost = False
            self.note(wording.HEARD_AGAIN)
        self._progress, self._heard = reply.progress, self._clock()
        stages = {stage.name: stage for stage in reply.progress.stages}
        for event in reply.events:
            if event.kind == "stage-started" and event.stage_name in stages:
                self._tell_start(stages[event.stage_name])
            elif event.kind == "stage-finished" and event.stage_name in stages:
                self._tell_end(stages[event.stage_name])
            for line in wording.event_lines(event):
                self.note(line)
        for stage in reply.progress.stages:  # a restarted coordinator forgets old events
            if stage.started_s:
                self._tell_start(stage)
            if stage.finished_s:
                self._tell_end(stage)
        self.tick()

    def tick(self) -> None:
        """Write how far the running stages are, if nothing was written for a while."""
        now = self._clock()
        if self._lost or now - self._spoke < _LINE_INTERVAL_S:
            return
        elapsed_s = self._progress.elapsed_s + now - self._heard
        for stage in filter(wording.is_running, self._progress.stages):
            self.note(wording.progress_line(stage, elapsed_s))

    def note(self, text: str) -> None:
        """Write a line."""
        self._spoke = self._clock()
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=self._stream, flush=True)

    def lose(self, text: str) -> None:
        """Write it, and nothing more until there is news."""
        self._lost = True
        self.note(text)

    def close(self) -> None:
        """Do nothing: every line has been flushed."""

    def _tell_start(self, stage: coordinator_pb2.StageProgress) -> None:
        if stage.name not in self._started:
            self._started.add(stage.name)
            tasks = wording.plural(stage.tasks_total, "task")
            self.note(f"{wording.printable(stage.name)}: started, {tasks}")

    def _tell_end(self, stage: coordinator_pb2.StageProgress) -> None:
        if stage.name not in self._finished:
            self._finished.add(stage.name)
            self.note(wording.finished_line(stage))


def display_for(*, quiet: bool, as_json: bool, title: str, age_s: float = 0.0) -> Display:
    """Return the display that fits what the user asked for and where the output goes.

    Args:
        quiet: Show nothing.
        as_json: For programs.
        title: Name of the job.
        age_s: Seconds since it was made.
    """
    if as_json:
        return JsonDisplay(sys.stdout)
    if quiet or sys.stderr is None:  # as after "2>&-"
        return QuietDisplay()
    if sys.stderr.isatty():
        from disco.cli.live_display import LiveDisplay  # rich is slow to import: only if used

        return LiveDisplay(title, age_s=age_s)
    return LineDisplay(sys.stderr)
