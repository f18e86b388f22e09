"""Bars on a terminal: one line per stage, redrawn in place, with what happens above them."""

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from disco.cli import wording
from disco.cli.stage_table import stage_table
from disco.manifest.quantities import duration_text
from disco.v1 import coordinator_pb2

_REDRAWS_PER_S = 8
_ENDS = {
    coordinator_pb2.JOB_PHASE_SUCCEEDED: ("succeeded", "green"),
    coordinator_pb2.JOB_PHASE_FAILED: ("failed", "red"),
    coordinator_pb2.JOB_PHASE_CANCELLED: ("cancelled", "red"),
}


class LiveDisplay:
    """Redraws the stages of a job in place.

    Args:
        title: The job's name.
        console: Where to; None: standard error.
        age_s: Seconds since the job was made.
    """

    def __init__(self, title: str, console: Console | None = None, *, age_s: float = 0.0) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._title = title
        self._started = time.monotonic() - age_s
        self._progress: coordinator_pb2.JobProgress | None = None
        self._heard = time.monotonic()  # when _progress was news
        self._lost_since: float | None = None
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=_REDRAWS_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def show(self, reply: coordinator_pb2.WatchReply) -> None:
        """Print the events above the bars; the bars follow with the next redraw."""
        if self._lost_since is not None:
            self._lost_since = None
            self.note(wording.HEARD_AGAIN)
        for event in reply.events:
            style = "yellow" if event.kind in wording.WARNINGS else "dim"
            for line in wording.event_lines(event):
                self._live.console.print(Text(line, style=style))
        if reply.HasField("progress"):
            self._progress = reply.progress
            self._heard = time.monotonic()

    def tick(self) -> None:
        """Do nothing: it redraws itself."""

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._live.console.print(Text(text, style="bold"))

    def lose(self, text: str) -> None:
        """Print it above the bars, and let these stand still until there is news."""
        self._lost_since = time.monotonic()
        self.note(text)

    def close(self) -> None:
        """Draw the last state and stop."""
        self._live.stop()

    def _render(self) -> RenderableType:
        elapsed_s = self._now() - self._started
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(no_wrap=True)
        head.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        head.add_column(justify="right", no_wrap=True)
        head.add_row(f"[bold]{escape(self._title)}[/bold]", self._state(), duration_text(elapsed_s))
        if self._progress is None or not self._progress.stages:
            return head
        return Group(head, self._stages(self._progress))

    def _now(self) -> float:
        """Return the time, or when the news ended: what comes then, nobody knows."""
        return time.monotonic() if self._lost_since is None else self._lost_since

    def _state(self) -> RenderableType:
        progress = self._progress
        if self._lost_since is not None:
            silent_s = time.monotonic() - self._heard
            self._spinner.update(text=f"no news for {duration_text(silent_s)}")
            return self._spinner
        if progress is None:
            self._spinner.update(text="starting")
            return self._spinner
        if progress.phase in _ENDS:
            return Text(*_ENDS[progress.phase])
        phase = coordinator_pb2.JobPhase.Name(progress.phase).removeprefix("JOB_PHASE_").lower()
        workers = wording.plural(progress.workers, "worker")
        where = progress.message or f"{workers}, {wording.plural(progress.slots, 'slot')}"
        self._spinner.update(text=f"{phase}  [dim]{escape(wording.printable(where))}[/dim]")
        return self._spinner

    def _stages(self, progress: coordinator_pb2.JobProgress) -> Table:
        now_s = progress.elapsed_s
        over = progress.phase in _ENDS
        if not over:
            now_s += self._now() - self._heard
        return stage_table(progress, now_s, width=self._console.width, over=over)
