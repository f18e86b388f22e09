"""What a run looks like in words: one place for the sentences that every display shares."""

from collections.abc import Iterator
from datetime import datetime

from disco.manifest.quantities import count_text, duration_text, size_text
from disco.v1 import common_pb2, coordinator_pb2

WARNINGS = frozenset(
    {"task-failed", "worker-lost", "service-lost", "excluded", "process-restarted"}
)
"""Kinds of events that tell of something that went wrong and was dealt with."""

HEARD_AGAIN = "the server answers again"

_REMEDIES = {
    common_pb2.FAILURE_KIND_USER: (
        "Correct the job where the traceback points, or have it skip such records, and run it"
        " again."
    ),
    common_pb2.FAILURE_KIND_DATA: (
        "Check that the input exists and is what the job's reader expects, and run it again."
    ),
    common_pb2.FAILURE_KIND_FATAL: (
        "No attempt could succeed: correct the job or what it was given, and run it again."
    ),
    common_pb2.FAILURE_KIND_INFRASTRUCTURE: (
        "Run it again; if it happens again, use --keep-logs and read what the processes say."
    ),
}


_ESCAPED = {
    number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160)) if chr(number) != "\t"
}


def printable(text: str) -> str:
    """Return *text* with control characters escaped: what a job says must not move the cursor.

    So are lone surrogates, which no stream takes.
    """
    if text.isprintable():
        return text
    return text.encode(errors="backslashreplace").decode().translate(_ESCAPED)


def printable_lines(text: str) -> Iterator[str]:
    """Yield the lines of *text*, each ``printable``."""
    return map(printable, text.splitlines())


def local_time(seconds: float) -> str:
    """Return a point in time (since 1970-01-01 UTC) as the reader's clock and calendar show it."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def rate_text(stage: coordinator_pb2.StageProgress, now_s: float) -> str:
    """Return how fast *stage* reads: "31.2 MB/s", or records if it reads no bytes, or nothing.

    Args:
        stage: The stage.
        now_s: Seconds since the coordinator's start.
    """
    took_s = seconds_of(stage, now_s)
    if took_s < 0.05:
        return ""
    if stage.bytes_in:
        return f"{size_text(stage.bytes_in / took_s)}/s"
    return f"{count_text(stage.records_in / took_s)} records/s" if stage.records_in else ""


def seconds_of(stage: coordinator_pb2.StageProgress, now_s: float) -> float:
    """Return how long *stage* has run, or took."""
    if not stage.started_s:
        return 0.0
    return max((stage.finished_s or now_s) - stage.started_s, 0.0)


def left_s(stage: coordinator_pb2.StageProgress, now_s: float) -> float | None:
    """Return in how many seconds *stage* should end, going by the tasks so far; None: unknown."""
    if not stage.tasks_done or stage.finished_s:
        return None
    return seconds_of(stage, now_s) / stage.tasks_done * (stage.tasks_total - stage.tasks_done)


def is_running(stage: coordinator_pb2.StageProgress) -> bool:
    """Tell whether *stage* has started and not ended."""
    return bool(stage.started_s) and not stage.finished_s


def plural(count: int, noun: str) -> str:
    """Return "1 task", "2 tasks"."""
    return f"{count_text(count)} {noun}{'' if count == 1 else 's'}"


def retries_text(count: int) -> str:
    """Return "1 retry", "2 retries"."""
    return f"{count_text(count)} {'retry' if count == 1 else 'retries'}"


def repeats_text(stage: coordinator_pb2.StageProgress) -> str:
    """Return "2 retries, 1 rival": the attempts beyond the first of each task; empty if none."""
    retries = [retries_text(stage.retries)] if stage.retries else []
    rivals = [plural(stage.rivals, "rival")] if stage.rivals else []
    return ", ".join(retries + rivals)


def progress_line(stage: coordinator_pb2.StageProgress, now_s: float) -> str:
    """Return a line on a stage that runs: how far, how fast, how long still."""
    parts = [
        f"{printable(stage.name)}: {stage.tasks_done}/{plural(stage.tasks_total, 'task')} done"
    ]
    if stage.tasks_running:
        parts.append(f"{stage.tasks_running} running")
    if rate := rate_text(stage, now_s):
        parts.append(rate)
    if repeats := repeats_text(stage):
        parts.append(repeats)
    if (left := left_s(stage, now_s)) is not None:
        parts.append(f"about {duration_text(left)} left")
    return ", ".join(parts)


def finished_line(stage: coordinator_pb2.StageProgress) -> str:
    """Return a line on a stage that has ended: what it did."""
    took_s = seconds_of(stage, 0.0)
    parts = [
        f"{printable(stage.name)}: finished {plural(stage.tasks_total, 'task')}"
        f" in {duration_text(took_s)}",
        f"{count_text(stage.records_in)} records in, {count_text(stage.records_out)} out",
    ]
    if repeats := repeats_text(stage):
        parts.append(repeats)
    return ", ".join(parts)


def event_lines(event: coordinator_pb2.JobEvent) -> Iterator[str]:
    """Yield the lines that a person should see of an event; none if progress shows it anyway."""
    if event.kind == "output":
        who = task_name(event.stage_name, event.attempt)
        for line in printable_lines(event.text):
            yield f"{who} | {line}"
    elif event.kind == "status":
        yield f"{task_name(event.stage_name, event.attempt)}: {printable(event.text)}"
    elif event.kind in WARNINGS:
        yield printable(event.text)


def task_name(stage_name: str, attempt: common_pb2.AttemptRef) -> str:
    """Return what people call a task: "map:3"."""
    return f"{printable(stage_name)}:{attempt.task}"


def failure_lines(progress: coordinator_pb2.JobProgress) -> Iterator[str]:
    """Yield what a person needs to know of a job that failed: what, where, with which record."""
    yield from printable_lines(progress.message)
    report = decisive_failure(progress)
    if report is None:
        return
    failure = report.failure
    if failure.traceback:
        yield ""
        yield from printable_lines(failure.traceback.rstrip())
    yield ""
    yield from _labelled("record", failure.record)
    yield from _labelled("input", failure.input)
    if report.HasField("attempt"):
        where = f"{report.worker_id} on {report.node}" if report.node else report.worker_id
        yield f"  {'task':<8} {task_name(report.stage_name, report.attempt)}"
        yield f"  {'attempt':<8} {report.attempt.attempt}, by {where or 'no worker'}"
    if failure.traceback or failure.kind != common_pb2.FAILURE_KIND_USER:  # else the message
        yield ""  # itself says what to do: it is about a limit, or what the job wrote
        yield _REMEDIES.get(failure.kind, _REMEDIES[common_pb2.FAILURE_KIND_INFRASTRUCTURE])


def _labelled(label: str, text: str) -> Iterator[str]:
    if text:
        yield f"  {label:<8} {printable(text)}"


def decisive_failure(
    progress: coordinator_pb2.JobProgress,
) -> coordinator_pb2.FailureReport | None:
    """Return the failure that ended the job: the newest whose words are in the job's message.

    One that says which attempt it was is preferred: the job's own last word repeats it without.
    """
    decisive = [
        report
        for report in progress.failures
        if report.failure.message and report.failure.message in progress.message
    ]
    attempts = [report for report in decisive if report.HasField("attempt")]
    return next(reversed(attempts or decisive or progress.failures), None)
