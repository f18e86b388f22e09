"""Bars on a terminal: one line per stage, redrawn in place, with what happens above them."""

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from disco.cli import wording
from disco.manifest.quantities import duration_text
from disco.v1 import coordinator_pb2

_REDRAWS_PER_S = 8
_ENDS = {
    coordinator_pb2.JOB_PHASE_SUCCEEDED: ("succeeded", "green"),
    coordinator_pb2.JOB_PHASE_FAILED: ("failed", "red"),
    coordinator_pb2.JOB_PHASE_CANCELLED: ("cancelled", "red"),
}
_WIDE = 100  # columns from which there is room for everything


class LiveDisplay:
    """Redraws the stages of a job in place.

    Args:
        title: The job's name.
        console: Where to; None: standard error.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._title = title
        self._started = time.monotonic()
        self._progress: coordinator_pb2.JobProgress | None = None
        self._heard = self._started  # when _progress was news
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

    def close(self) -> None:
        """Draw the last state and stop."""
        self._live.stop()

    def _render(self) -> RenderableType:
        elapsed_s = time.monotonic() - self._started
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(no_wrap=True)
        head.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        head.add_column(justify="right", no_wrap=True)
        head.add_row(f"[bold]{escape(self._title)}[/bold]", self._state(), duration_text(elapsed_s))
        if self._progress is None or not self._progress.stages:
            return head
        return Group(head, self._stages(self._progress))

    def _state(self) -> RenderableType:
        progress = self._progress
        if progress is None:
            self._spinner.update(text="starting")
            return self._spinner
        if progress.phase in _ENDS:
            return Text(*_ENDS[progress.phase])
        phase = coordinator_pb2.JobPhase.Name(progress.phase).removeprefix("JOB_PHASE_").lower()
        workers = wording.plural(progress.workers, "worker")
        where = progress.message or f"{workers}, {wording.plural(progress.slots, 'slot')}"
        self._spinner.update(text=f"{phase}  [dim]{escape(where)}[/dim]")
        return self._spinner

    def _stages(self, progress: coordinator_pb2.JobProgress) -> Table:
        now_s = progress.elapsed_s
        over = progress.phase in _ENDS
        if not over:
            now_s += time.monotonic() - self._heard
        wide = self._console.width >= _WIDE
        table = Table.grid(padding=(0, 2), pad_edge=False)
        table.add_column(no_wrap=True, max_width=24, overflow="ellipsis")
        table.add_column(width=30 if wide else 16)
        for _ in range(5 if wide else 4):
            table.add_column(justify="right", no_wrap=True)
        for stage in progress.stages:
            row = self._row(stage, now_s, over=over)
            table.add_row(*(row if wide else (*row[:3], *row[4:])))
        return table

    def _row(
        self, stage: coordinator_pb2.StageProgress, now_s: float, *, over: bool
    ) -> tuple[RenderableType, ...]:
        bar = ProgressBar(total=max(stage.tasks_total, 1), completed=stage.tasks_done)
        name = Text(f"  {stage.name}")
        if not stage.started_s:
            return name, bar, Text("not run" if over else "waiting", style="dim"), "", "", "", ""
        done = f"{stage.tasks_done}/{stage.tasks_total}"
        retries = wording.retries_text(stage.retries) if stage.retries else ""
        if stage.finished_s or over:
            when = Text(duration_text(wording.seconds_of(stage, now_s)), style="dim")
        else:
            left = wording.left_s(stage, now_s)
            when = Text("" if left is None else f"{duration_text(left)} left")
        return (
            name,
            bar,
            done,
            wording.plural(stage.records_in, "record"),
            wording.rate_text(stage, now_s),
            Text(retries, style="yellow"),
            when,
        )
