"""What of a coordinator's progress goes into a job's status: bounded, and steady.

Steady means that the same progress gives the same status, so that nothing is written when nothing
has happened.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate

from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.failures import worth_telling
from disco_operator.conditions import Phase
from disco_operator.model import DiscoJob, Json, written_time
from disco_operator.sizes import first_of, last_of, written_bytes

MAX_STAGES = 100
MAX_STAGES_BYTES = 6_000
MAX_FAILURES = 5
MAX_FAILURES_BYTES = 5_000
MAX_NAME = 200
MAX_BYTES = {"message": 800, "traceback": 1_200, "record": 300, "input": 300}

_PHASES = {
    coordinator_pb2.JOB_PHASE_PLANNING: Phase.PLANNING,
    coordinator_pb2.JOB_PHASE_RUNNING: Phase.RUNNING,
    coordinator_pb2.JOB_PHASE_COMMITTING: Phase.COMMITTING,
}
_KINDS = {
    common_pb2.FAILURE_KIND_USER: "User",
    common_pb2.FAILURE_KIND_DATA: "Data",
    common_pb2.FAILURE_KIND_INFRASTRUCTURE: "Infrastructure",
    common_pb2.FAILURE_KIND_FATAL: "Fatal",
}


def phase_of(progress: coordinator_pb2.JobProgress) -> Phase:
    """Return the phase of a job that has not ended."""
    return _PHASES.get(progress.phase, Phase.RUNNING)


def retries_of(progress: coordinator_pb2.JobProgress) -> int:
    """Return how many attempts there were beyond the first of each task."""
    return sum(stage.retries for stage in progress.stages)


def note_progress(status: Json, progress: coordinator_pb2.JobProgress, now: datetime) -> None:
    """Take a coordinator's newest progress over into *status*."""
    if progress.epoch:  # 0: it does not know yet which it is
        status["coordinator"] = {"epoch": progress.epoch, "lastEvent": progress.last_event}
    if not_yet_informed(progress, status):
        return
    before = {stage["name"]: stage for stage in status.get("stages", ())}
    began = now - timedelta(seconds=progress.elapsed_s)
    status["stages"] = _stages(progress.stages, before, began)
    status["workers"] = progress.workers
    status["slots"] = progress.slots
    status["retries"] = retries_of(progress)
    done = sum(stage.tasks_done for stage in progress.stages)
    total = sum(stage.tasks_total for stage in progress.stages)
    if total:
        status["progress"] = f"{done}/{total}"
    if current := current_stage(progress.stages):
        status["stage"] = first_of(current, MAX_NAME)
    known = {_identity(failure): failure for failure in status.get("failures", ())}
    status["failures"] = _newest(
        [_failure(report, known, now) for report in worth_telling(progress)[-MAX_FAILURES:]]
    )


def not_yet_informed(progress: coordinator_pb2.JobProgress, status: Json) -> bool:
    """Return whether a coordinator knows less than the status: it has only just started.

    Until it has heard from the partition services what its predecessor did, it knows no stages.
    """
    return not progress.stages and bool(status.get("stages"))


def plan_of(job: DiscoJob, progress: coordinator_pb2.JobProgress) -> str:
    """Return what is planned, and what the spec expects in vain; "" before there is a plan."""
    if not progress.stages:
        return ""
    first = progress.stages[0]
    tasks = counted(first.tasks_total, "task")
    planned = f"{counted(len(progress.stages), 'stage')}; {first.name} has {tasks}"
    return "; ".join(filter(None, (planned, unknown_stages(job, progress))))


def unknown_stages(job: DiscoJob, progress: coordinator_pb2.JobProgress) -> str:
    """Return a sentence about stages that the spec names and the job has not; "" if all is well."""
    there = [stage.name for stage in progress.stages]
    unknown = sorted(job.spec.stages.keys() - set(there)) if job.spec is not None else []
    if not unknown:
        return ""
    return (
        f"spec.stages names {', '.join(map(repr, unknown))}, which the job does not have:"
        f" its stages are {', '.join(map(repr, there[:20]))}"
    )[:600]


def counted(number: int, what: str) -> str:
    """Return a number of things, with an s if they are many."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def current_stage(stages: Sequence[coordinator_pb2.StageProgress]) -> str:
    """Return the first stage that is not done; the last one if all are; "" if there are none."""
    return stages[_current(stages)].name if stages else ""


def _current(stages: Sequence[coordinator_pb2.StageProgress]) -> int:
    for index, stage in enumerate(stages):
        if not stage.tasks_total or stage.tasks_done < stage.tasks_total:
            return index
    return len(stages) - 1


def _stages(
    stages: Sequence[coordinator_pb2.StageProgress], before: dict[str, Json], began: datetime
) -> list[Json]:
    """Return the stages, in order, as far as there is room.

    All is told of the one that runs and of the last one, which has the result. The nearer to the
    former another one is, the more is told of it: all; or how many of its tasks are done; or
    nothing.
    """
    here, last = _current(stages), len(stages) - 1
    nearest = sorted(
        range(len(stages)), key=lambda index: (index not in (here, last), abs(index - here), index)
    )
    told: dict[int, Json] = {}
    room = MAX_STAGES_BYTES

    def tell(index: int, found: Json) -> None:
        nonlocal room
        more = written_bytes(found) - (written_bytes(told[index]) if index in told else 0)
        if more <= room:
            told[index] = found
            room -= more

    for index in nearest[:MAX_STAGES]:
        in_full = index in (here, last)
        stage = stages[index]
        tell(index, _stage(stage, before, began) if in_full else _in_brief(stage))
    for index in [index for index in nearest if index in told]:
        tell(index, _stage(stages[index], before, began))
    return [told[index] for index in sorted(told)]


def _in_brief(stage: coordinator_pb2.StageProgress) -> Json:
    return {
        "name": first_of(stage.name, MAX_NAME),
        "tasks": {"total": stage.tasks_total, "done": stage.tasks_done},
    }


def _stage(stage: coordinator_pb2.StageProgress, before: dict[str, Json], began: datetime) -> Json:
    found: Json = {
        "name": first_of(stage.name, MAX_NAME),
        "tasks": {
            "total": stage.tasks_total,
            "waiting": stage.tasks_waiting,
            "running": stage.tasks_running,
            "done": stage.tasks_done,
        },
        "retries": stage.retries,
        "recordsIn": stage.records_in,
        "bytesIn": stage.bytes_in,
        "recordsOut": stage.records_out,
        "bytesOut": stage.bytes_out,
    }
    # The coordinator counts from its own start. What was derived from that once is kept, since
    # deriving it again would give another second now and then.
    for name, seconds in (("startTime", stage.started_s), ("completionTime", stage.finished_s)):
        if seconds:
            known = before.get(found["name"], {}).get(name)
            found[name] = known or written_time(began + timedelta(seconds=seconds))
    if stage.largest_labels:
        found["largestLabels"] = [
            {"label": entry.label, "bytes": entry.totals.bytes, "records": entry.totals.records}
            for entry in stage.largest_labels[:5]
        ]
    return found


def _newest(failures: list[Json]) -> list[Json]:
    """Return as many of the newest failures as there is room for, oldest first."""
    sizes = accumulate(written_bytes(failure) for failure in reversed(failures))
    fitting = sum(size <= MAX_FAILURES_BYTES for size in sizes)
    return failures[len(failures) - fitting :]


def _identity(failure: Json) -> tuple[object, ...]:
    return tuple(failure.get(name) for name in ("stage", "task", "epoch", "attempt", "message"))


def _failure(
    report: coordinator_pb2.FailureReport, known: dict[tuple[object, ...], Json], now: datetime
) -> Json:
    failure = report.failure
    found: Json = {
        "stage": first_of(report.stage_name, MAX_NAME),
        "task": report.attempt.task,
        "attempt": report.attempt.attempt,
        "epoch": report.attempt.epoch,
        "kind": _KINDS.get(failure.kind, "Unknown"),
        "message": _end_of(failure.message, "message"),
    }
    for name, text in (
        ("traceback", failure.traceback),
        ("record", failure.record),
        ("input", failure.input),
    ):
        if text:
            found[name] = _end_of(text, name)
    for name, text in (("worker", report.worker_id), ("node", report.node)):
        if text:
            found[name] = first_of(text, MAX_NAME)
    found["time"] = known.get(_identity(found), {}).get("time") or written_time(now)
    return found


def _end_of(text: str, name: str) -> str:
    """Return what is kept of a text: of a traceback the end, else the beginning."""
    return (last_of if name == "traceback" else first_of)(text, MAX_BYTES[name])
