"""The stages of a job as rows with bars, for displays that redraw and for ``disco status``."""

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from disco.cli import wording
from disco.manifest.quantities import duration_text
from disco.v1 import coordinator_pb2

WIDE = 100
"""Columns from which there is room for everything."""


def stage_table(
    progress: coordinator_pb2.JobProgress, now_s: float, *, width: int, over: bool
) -> Table:
    """Return a row per stage: a bar, tasks, records, rate, retries and rivals, time.

    Args:
        progress: Of the job.
        now_s: Seconds since the coordinator's start.
        width: Columns there are.
        over: The job has ended.
    """
    wide = width >= WIDE
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True, max_width=24, overflow="ellipsis")
    table.add_column(width=30 if wide else 16)
    for _ in range(5 if wide else 4):
        table.add_column(justify="right", no_wrap=True)
    for stage in progress.stages:
        row = _row(stage, now_s, over=over)
        table.add_row(*(row if wide else (*row[:3], *row[4:])))
    return table


def _row(
    stage: coordinator_pb2.StageProgress, now_s: float, *, over: bool
) -> tuple[RenderableType, ...]:
    bar = ProgressBar(total=max(stage.tasks_total, 1), completed=stage.tasks_done)
    name = Text(f"  {wording.printable(stage.name)}")
    if not stage.started_s:
        return name, bar, Text("not run" if over else "waiting", style="dim"), "", "", "", ""
    done = f"{stage.tasks_done}/{stage.tasks_total}"
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
        Text(wording.repeats_text(stage), style="yellow"),
        when,
    )
