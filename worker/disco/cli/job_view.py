"""Everything about one job, for people: what ``disco status`` prints."""

from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from disco.cli import wording
from disco.cli.remote_progress import (
    age_s,
    elapsed_s,
    phase_name,
    progress_of,
    seconds,
)
from disco.cli.stage_table import stage_table
from disco.manifest.quantities import count_text, duration_text, size_text
from disco.v1 import common_pb2, coordinator_pb2, jobs_pb2
from disco_engine.phases import ENDED

_STYLES = {
    coordinator_pb2.JOB_PHASE_SUCCEEDED: "bold green",
    coordinator_pb2.JOB_PHASE_FAILED: "bold red",
    coordinator_pb2.JOB_PHASE_CANCELLED: "bold red",
    coordinator_pb2.JOB_PHASE_PENDING: "bold yellow",
    coordinator_pb2.JOB_PHASE_SUSPENDED: "bold yellow",
}
_SHOWN_FAILURES = 3
_SHOWN_TRACEBACK = 4
_SKEWED = 2.0
"""A label with this many times its share is told: the task that reads it takes that much longer."""


def job_view(job: jobs_pb2.Job, now_s: float, *, width: int) -> RenderableType:
    """Return the job's phase with its reason, stages, labels, failures and results.

    Args:
        job: With everything.
        now_s: Seconds since 1970-01-01 UTC.
        width: Columns there are.
    """
    parts: list[RenderableType] = [_head(job, now_s), _facts(job, now_s)]
    if job.stages:
        progress = progress_of(job, now_s)
        over = job.phase in ENDED
        table = stage_table(progress, progress.elapsed_s, width=width, over=over)
        parts += [_title("Stages"), table]
    if skew := list(_skew(job)):
        parts += [_title("Largest labels"), *map(Text, skew)]
    if job.failures:
        parts += [_title("Failures, newest last"), *_failures(job)]
    return Group(*parts)


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _head(job: jobs_pb2.Job, now_s: float) -> Text:
    text = Text.assemble(
        (job.name, "bold"), "  ", (phase_name(job.phase), _STYLES.get(job.phase, "bold cyan"))
    )
    if job.HasField("started"):
        word = "after" if job.phase in ENDED else "for"
        text.append(f" {word} {duration_text(elapsed_s(job, now_s))}")
    return text


def _facts(job: jobs_pb2.Job, now_s: float) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for label, text in _facts_of(job, now_s):
        table.add_row(f"  {label}", Text(wording.printable(text)))
    return table


def _facts_of(job: jobs_pb2.Job, now_s: float) -> Iterator[tuple[str, str]]:
    """Yield label and text of each line below the head."""
    why = ": ".join(filter(None, (job.reason, job.message)))
    if why:
        yield "why", why
    yield "namespace", job.namespace
    submitted = (
        f"{wording.local_time(seconds(job.created))}, {duration_text(age_s(job, now_s))} ago"
    )
    yield "submitted", submitted + (f", by {job.submitted_by}" if job.submitted_by else "")
    if job.labels:
        yield "labels", ", ".join(f"{key}={value}" for key, value in sorted(job.labels.items()))
    if job.tasks_total:
        retries = f", {wording.retries_text(job.retries)}" if job.retries else ""
        done = f"{count_text(job.tasks_done)} of {count_text(job.tasks_total)} done"
        yield "tasks", done + retries
    if job.workers and job.phase not in ENDED:
        yield "workers", f"{job.workers} connected, {wording.plural(job.slots, 'slot')}"
    if job.HasField("results"):
        yield "results", results_text(job.name, job.results)
        if job.results.HasField("expires"):
            yield "kept until", wording.local_time(seconds(job.results.expires))
    for warning in job.warnings:
        yield "warning", warning


def results_text(name: str, results: jobs_pb2.ResultsInfo) -> str:
    """Return how many records there are, and where, or how they are read."""
    records = wording.plural(results.records, "record")
    if results.lost:
        return f"lost: {results.lost}"
    if results.output_url:
        return f"{records} in {results.output_url}, as {results.output_format}"
    parts = wording.plural(results.parts, "part")
    return f"{records} in {parts}, {size_text(results.bytes)}: disco results {name}"


def _skew(job: jobs_pb2.Job) -> Iterator[str]:
    """Yield a line for each stage whose largest labels hold much more than the others do."""
    for stage, reader in zip_longest(job.stages, job.stages[1:]):
        labels = [entry for entry in stage.largest_labels if entry.totals.bytes]
        if len(labels) < 2 or not stage.bytes_out:
            continue
        known = len(labels) if len(labels) < 5 else 0  # five are told at most
        tasks = known or (reader.tasks_total if reader is not None else 0)
        mean = stage.bytes_out / tasks if tasks else 0.0
        largest = labels[0].totals.bytes
        if mean and largest < _SKEWED * mean:
            continue
        shares = ", ".join(
            f"label {label.label} {label.totals.bytes / stage.bytes_out:.0%}"
            for label in labels[:3]
        )
        times = f"; the largest has {largest / mean:.1f} times the mean" if mean else ""
        yield f"  {wording.printable(stage.name)}: {shares} of {size_text(stage.bytes_out)}{times}"


def _failures(job: jobs_pb2.Job) -> Iterator[Text]:
    """Yield the newest failures, newest last; those with the same words are told once."""
    alike = Counter(_words(report) for report in job.failures)
    newest = {_words(report): report for report in job.failures}
    last = sorted(newest.values(), key=list(job.failures).index)[-_SHOWN_FAILURES:]
    for report in last:
        yield from _failure(report, others=alike[_words(report)] - 1)
    if len(newest) > len(last):
        yield Text(f"  and {len(newest) - len(last)} older ones: -o yaml tells all", style="dim")


def _words(report: coordinator_pb2.FailureReport) -> tuple[int, str]:
    return report.failure.kind, report.failure.message


def _failure(report: coordinator_pb2.FailureReport, *, others: int) -> Iterator[Text]:
    failure = report.failure
    kind = common_pb2.FailureKind.Name(failure.kind).removeprefix("FAILURE_KIND_").lower()
    where = ""
    if report.HasField("attempt"):
        where = f"{wording.task_name(report.stage_name, report.attempt)} "
        where += f"(attempt {report.attempt.attempt}, {report.worker_id or 'no worker'}) "
    more = f" (and {others} more like it)" if others else ""
    yield Text(f"  {where}{kind}: {wording.printable(failure.message)}{more}", style="yellow")
    for line in failure.traceback.rstrip().splitlines()[-_SHOWN_TRACEBACK:]:
        yield Text(f"    {wording.printable(line)}", style="dim")
    if failure.record:
        yield Text(f"    record: {wording.printable(failure.record)}", style="dim")
