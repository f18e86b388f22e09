"""Jobs as the rows of ``disco ls``."""

from collections.abc import Iterator, Sequence

import click

from disco.cli.columns import columns
from disco.cli.remote_progress import age_s, elapsed_s, phase_name
from disco.cli.wording import printable
from disco.v1 import coordinator_pb2, jobs_pb2

_COLOURS = {
    coordinator_pb2.JOB_PHASE_SUCCEEDED: "green",
    coordinator_pb2.JOB_PHASE_FAILED: "red",
    coordinator_pb2.JOB_PHASE_CANCELLED: "red",
    coordinator_pb2.JOB_PHASE_PENDING: "yellow",
    coordinator_pb2.JOB_PHASE_SUSPENDED: "yellow",
}
_HEAD = ("NAME", "PHASE", "PROGRESS", "AGE", "DURATION", "USER")
_GAP = "   "


def job_rows(jobs: Sequence[jobs_pb2.Job], now_s: float, *, namespaces: bool) -> Iterator[str]:
    """Yield a line for the heads, then one per job.

    Args:
        jobs: In the order wanted.
        now_s: Seconds since 1970-01-01 UTC.
        namespaces: Whether to show them.
    """
    rows = [_cells(job, now_s) for job in jobs]
    head: tuple[str, ...] = _HEAD
    if namespaces:
        head = ("NAMESPACE", *head)
        rows = [(printable(job.namespace), *row) for job, row in zip(jobs, rows, strict=True)]
    phase_at = head.index("PHASE")
    padded = columns([head, *rows])
    yield _GAP.join(next(padded)).rstrip()
    for job, cells in zip(jobs, padded, strict=True):
        cells[phase_at] = click.style(cells[phase_at], fg=_COLOURS.get(job.phase))
        yield _GAP.join(cells).rstrip()


def _cells(job: jobs_pb2.Job, now_s: float) -> tuple[str, ...]:
    return (
        printable(job.name),
        phase_name(job.phase),
        f"{job.tasks_done}/{job.tasks_total}" if job.tasks_total else "-",
        brief_duration(age_s(job, now_s)),
        brief_duration(elapsed_s(job, now_s)) if job.HasField("started") else "-",
        printable(job.submitted_by) or "-",  # who may edit a job can write anything there
    )


def brief_duration(seconds: float) -> str:
    """Return *seconds* for a column, as kubectl does: "42s", "5m10s", "3h12m", "4d2h"."""
    whole = int(seconds)
    for unit, size, part, part_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            rest = whole % size // part_size
            return f"{whole // size}{unit}{f'{rest}{part}' if rest else ''}"
    if whole >= 600:
        return f"{whole // 60}m"
    if whole >= 60:
        return f"{whole // 60}m{f'{whole % 60}s' if whole % 60 else ''}"
    return f"{whole}s"
