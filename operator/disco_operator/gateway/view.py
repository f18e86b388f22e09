"""A DiscoJob as the gateway shows it: from the API object, and what its coordinator told last."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from disco.v1 import common_pb2, coordinator_pb2, jobs_pb2
from disco_engine.core.model import PLAN_STAGE
from disco_engine.passwords import without_passwords
from disco_engine.phases import ENDED
from disco_operator.conditions import Condition, Phase, condition_of
from disco_operator.model import GROUP, Json, read_time

REQUEST_ANNOTATION = f"{GROUP}/request-id"
SUBMITTER_ANNOTATION = f"{GROUP}/submitted-by"
"""For people: whoever may edit the job can change it."""
CODE_ANNOTATION = f"{GROUP}/code-sha256"

MAX_DEPTH = 30
"""Of a spec: each level is three messages in a Struct, and protobuf reads no more than 100."""

_PHASES = {
    Phase.PENDING: coordinator_pb2.JOB_PHASE_PENDING,
    Phase.PLANNING: coordinator_pb2.JOB_PHASE_PLANNING,
    Phase.RUNNING: coordinator_pb2.JOB_PHASE_RUNNING,
    Phase.COMMITTING: coordinator_pb2.JOB_PHASE_COMMITTING,
    Phase.SUSPENDED: coordinator_pb2.JOB_PHASE_SUSPENDED,
    Phase.SUCCEEDED: coordinator_pb2.JOB_PHASE_SUCCEEDED,
    Phase.FAILED: coordinator_pb2.JOB_PHASE_FAILED,
    Phase.CANCELLED: coordinator_pb2.JOB_PHASE_CANCELLED,
}
_FAILURES = {
    "User": common_pb2.FAILURE_KIND_USER,
    "Data": common_pb2.FAILURE_KIND_DATA,
    "Infrastructure": common_pb2.FAILURE_KIND_INFRASTRUCTURE,
    "Fatal": common_pb2.FAILURE_KIND_FATAL,
}


def ended(body: Json) -> bool:
    """Return whether a DiscoJob has ended, and is not about to run again."""
    return "completionTime" in body.get("status", {}) and not runs_again(body)


def runs_again(body: Json) -> bool:
    """Return whether a failed DiscoJob was asked to run again, and the operator has yet to see it.

    Whoever asked and then watches wants to hear of the run that comes, not of the one before.
    """
    spec, status = body.get("spec", {}), body.get("status", {})
    if status.get("phase") != Phase.FAILED or spec.get("cancel"):
        return False
    return bool(spec.get("retry", 0) > status.get("observedRetry", 0))


def has_coordinator(body: Json) -> bool:
    """Return whether a DiscoJob should have a coordinator now."""
    status = body.get("status", {})
    at_rest = status.get("phase") == Phase.SUSPENDED or "completionTime" in status
    return "startTime" in status and not at_rest


def phase_of(body: Json) -> coordinator_pb2.JobPhase.ValueType:
    """Return the phase of a DiscoJob; one that nobody has looked at yet is pending."""
    if runs_again(body):
        return coordinator_pb2.JOB_PHASE_PENDING
    text = body.get("status", {}).get("phase", "")
    known = text in Phase.__members__.values()
    return _PHASES[Phase(text)] if known else coordinator_pb2.JOB_PHASE_PENDING


def outline_of(body: Json) -> jobs_pb2.Job:
    """Return a job as lists show it: without spec, stages and failures."""
    metadata, status = body["metadata"], body.get("status", {})
    annotations = metadata.get("annotations") or {}
    job = jobs_pb2.Job(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        labels=metadata.get("labels") or {},
        created=_stamp(metadata.get("creationTimestamp")),
        started=_stamp(status.get("startTime")),
        finished=_stamp(status.get("completionTime")),
        submitted_by=annotations.get(SUBMITTER_ANNOTATION, ""),
        phase=phase_of(body),
        reason=status.get("reason", ""),
        message=status.get("observedMessage", ""),
        workers=status.get("workers", 0),
        slots=status.get("slots", 0),
        retries=status.get("retries", 0),
    )
    done, _, total = status.get("progress", "").partition("/")  # stages may be left out
    if total:
        job.tasks_done, job.tasks_total = int(done), int(total)
    if runs_again(body):
        job.ClearField("finished")
        job.reason, job.message = "Retrying", "the tasks that failed are about to be run again"
    if "results" in status:
        job.results.CopyFrom(_results(status))
    return job


def job_of(
    body: Json, progress: coordinator_pb2.JobProgress | None = None, *, spec: bool = True
) -> jobs_pb2.Job:
    """Return a job with everything.

    Args:
        body: The API object.
        progress: What its coordinator told last, if it has one: newer than the status.
        spec: Whether to say what it runs.
    """
    job = outline_of(body)
    status = body.get("status", {})
    job.stages.extend(_stages(status))
    job.failures.extend(_failures(status))
    if spec and _deeper_than(body.get("spec", {}), MAX_DEPTH):
        job.warnings.append("the spec is nested too deeply to be shown here: kubectl shows it")
    elif spec:
        job.spec.CopyFrom(_struct(_shown(body.get("spec", {}))))
    if progress is not None and has_coordinator(body):
        _take_over(job, progress)
    return job


def _shown(spec: Json) -> Json:
    """Return a spec without the passwords for which the operator has refused it."""
    return {
        name: json.loads(without_passwords(json.dumps(value)))
        if name in ("inputs", "output")
        else value
        for name, value in spec.items()
    }


def _take_over(job: jobs_pb2.Job, progress: coordinator_pb2.JobProgress) -> None:
    if progress.stages or not job.stages:
        del job.stages[:]
        job.stages.extend(progress.stages)
        job.retries = sum(stage.retries for stage in progress.stages)
        job.tasks_done = sum(stage.tasks_done for stage in progress.stages)
        job.tasks_total = sum(stage.tasks_total for stage in progress.stages)
    job.workers, job.slots = progress.workers, progress.slots
    if progress.failures:
        del job.failures[:]
        job.failures.extend(progress.failures)
    # That it is over, the status says, with all that then holds; a moment later.
    if progress.phase not in ENDED:
        job.phase = progress.phase


def _results(status: Json) -> jobs_pb2.ResultsInfo:
    results = status["results"]
    info = jobs_pb2.ResultsInfo(
        records=results.get("records", 0),
        bytes=results.get("bytes", 0),
        parts=results.get("parts", 0),
        output_url=results.get("url", ""),
        output_format=results.get("format", ""),
        expires=_stamp(results.get("expiresAt")),
    )
    available = condition_of(status, Condition.RESULTS_AVAILABLE)
    if available is not None and available["status"] == "False":
        info.lost = available["message"]
    return info


def _stages(status: Json) -> Iterable[coordinator_pb2.StageProgress]:
    began = status.get("startTime")
    for stage in status.get("stages", ()):
        tasks = stage.get("tasks", {})
        yield coordinator_pb2.StageProgress(
            name=stage["name"],
            tasks_total=tasks.get("total", 0),
            tasks_waiting=tasks.get("waiting", 0),
            tasks_running=tasks.get("running", 0),
            tasks_done=tasks.get("done", 0),
            retries=stage.get("retries", 0),
            records_in=stage.get("recordsIn", 0),
            bytes_in=stage.get("bytesIn", 0),
            records_out=stage.get("recordsOut", 0),
            bytes_out=stage.get("bytesOut", 0),
            started_s=_seconds_between(began, stage.get("startTime")),
            finished_s=_seconds_between(began, stage.get("completionTime")),
            largest_labels=[
                common_pb2.LabelTotals(
                    label=entry.get("label", 0),
                    totals=common_pb2.Totals(
                        records=entry.get("records", 0), bytes=entry.get("bytes", 0)
                    ),
                )
                for entry in stage.get("largestLabels", ())
            ],
        )


def _failures(status: Json) -> Iterable[coordinator_pb2.FailureReport]:
    names = [stage["name"] for stage in status.get("stages", ())]
    for failure in status.get("failures", ()):
        stage = failure.get("stage", "")
        yield coordinator_pb2.FailureReport(
            attempt=common_pb2.AttemptRef(
                stage=names.index(stage) + PLAN_STAGE + 1 if stage in names else PLAN_STAGE,
                task=failure.get("task", 0),
                epoch=failure.get("epoch", 0),
                attempt=failure.get("attempt", 0),
            ),
            stage_name=stage,
            failure=common_pb2.Failure(
                kind=_FAILURES.get(failure.get("kind", ""), common_pb2.FAILURE_KIND_UNSPECIFIED),
                message=failure.get("message", ""),
                traceback=failure.get("traceback", ""),
                record=failure.get("record", ""),
                input=failure.get("input", ""),
            ),
            worker_id=failure.get("worker", ""),
            node=failure.get("node", ""),
        )


def _deeper_than(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper_than(item, levels - 1) for item in inner)


def _struct(plain: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(plain)
    return struct


def _seconds_between(began: str | None, moment: str | None) -> float:
    """Return seconds, more than 0 if there are both: 0 says that it has not happened."""
    if began is None or moment is None:
        return 0.0
    return max((read_time(moment) - read_time(began)).total_seconds(), 0.001)


def _stamp(text: str | None) -> Timestamp | None:
    if text is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(read_time(text))
    return stamp
