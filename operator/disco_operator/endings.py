"""Decides how a job ends, what it leaves, and when that goes, too."""

from datetime import datetime, timedelta

from disco.v1 import coordinator_pb2
from disco_engine.failures import reason_of
from disco_operator import names
from disco_operator.children.partition import keeps_volumes, services_of
from disco_operator.conditions import Condition, Phase, condition_of, drop_condition, is_true
from disco_operator.lost import lost_pods
from disco_operator.model import IN_LINE, DiscoJob, Json, read_time, written_time
from disco_operator.notes import active_seconds, note
from disco_operator.progress import counted, note_progress, plan_of
from disco_operator.saying import events_of
from disco_operator.wanted import Announcement, Decision, Observed, Wanted

MAX_REASON = 1_000
CODE_RETRY_S = 10.0
"""Before somebody may have created the ConfigMap with a job's code."""
LET_GO_S = 1.0
"""After the end of a job, before what is not watched is removed."""
MAX_PODS = 40
_ALL = "All"
"""Of what has been released: even the partition services."""


def stop_message(job: DiscoJob, status: Json) -> str:
    """Return why a job that has to stop has to."""
    assert job.spec is not None
    if status["stopping"]["reason"] == "Cancelled":
        return f"cancelled: {job.cancel_reason[:MAX_REASON] or 'spec.cancel was set'}"
    return (
        f"the job did not end within its {job.spec.active_deadline_seconds} s"
        " (spec.activeDeadlineSeconds): raise them, or give it more workers"
    )


def ended(job: DiscoJob, status: Json, observed: Observed, phase: Phase, now: datetime) -> Decision:
    """Return the decision about a job whose coordinator says that it is over, or has to be."""
    progress = observed.news.progress
    if phase is Phase.SUCCEEDED:
        return finish(job, status, observed, phase, "Succeeded", "", now)
    if "stopping" in status:
        message = stop_message(job, status)
        if status["stopping"]["reason"] == "DeadlineExceeded":
            phase, reason = Phase.FAILED, "DeadlineExceeded"
        else:
            phase, reason = Phase.CANCELLED, "Cancelled"
        return finish(job, status, observed, phase, reason, message, now)
    assert progress is not None
    reason = "Cancelled" if phase is Phase.CANCELLED else reason_of(progress)
    return finish(job, status, observed, phase, reason, progress.message, now)


def finish(
    job: DiscoJob,
    status: Json,
    observed: Observed,
    phase: Phase,
    reason: str,
    message: str,
    now: datetime,
) -> Decision:
    """Return the decision that a job is over.

    Args:
        job: The job.
        status: Its status so far; changed.
        observed: The world around it.
        phase: SUCCEEDED, FAILED or CANCELLED.
        reason: For programs.
        message: For people: why it did not succeed.
        now: The time.
    """
    if (progress := observed.news.progress) is not None:
        note_progress(status, progress, now)
        if plan := plan_of(job, progress):
            note(job, status, Condition.PLANNED, True, "Planned", plan, now)
    status["activeSeconds"] = active_seconds(status, now)
    status["completionTime"] = written_time(now)
    status["phase"] = phase.value
    status["workers"] = status["slots"] = 0
    for name in ("runSince", "stopping", IN_LINE):
        status.pop(name, None)
    if is_true(status, Condition.SUSPENDED):  # else it would say how to go on
        drop_condition(status, Condition.SUSPENDED)
    succeeded = phase is Phase.SUCCEEDED
    note(job, status, Condition.RUNNING, False, "Finished", f"the job has ended: {phase}", now)
    if succeeded:
        message = _summary(status, progress)
        drop_condition(status, Condition.FAILED)
        note(job, status, Condition.SUCCEEDED, True, reason, message, now)
        _note_results(job, status, observed, now)
    else:
        note(job, status, Condition.SUCCEEDED, False, reason, message, now)
        note(job, status, Condition.FAILED, True, reason, message, now)
    said = Announcement(
        kind="Normal" if succeeded else "Warning",
        reason=phase.value,
        message=message[:900],
    )
    return Decision(
        status=status,
        wanted=left_children(job, status, now),
        keep_events=progress is not None,
        announcements=(*events_of(observed.news.events), said),
        again_in_s=LET_GO_S,
        # Whoever takes over in between would find a job that runs and has no children, and run it
        # again.
        status_first=True,
    )


def over(job: DiscoJob, status: Json, observed: Observed, now: datetime) -> Decision:
    """Return what is to be done about a job that has ended: let go of what is no longer needed."""
    if _expired(job, status, now):
        return Decision(status=status, delete_job=True)
    said: tuple[Announcement, ...] = ()
    waiting = retry_wanted(job)  # for the pods of the run before
    if job.spec is not None and job.spec.retry > status.get("observedRetry", 0) and not waiting:
        status["observedRetry"] = job.spec.retry
        message = f"the job has {status['phase'].lower()}: only failed jobs can be retried"
        said = (Announcement(kind="Warning", reason="RetryIgnored", message=message),)
    again_in_s = LET_GO_S if waiting else _next_look(job, status, now)
    if waiting and _code_is_gone(job, observed):
        said = not_accepted(job, status, "CodeNotFound", observed.code_problem, now)
        again_in_s = CODE_RETRY_S
    wanted = left_children(job, status, now)
    if wanted.services is not None:
        said += _check_results(job, status, observed, now)
    status["released"] = _released(wanted)
    return Decision(
        status=status,
        wanted=wanted,
        lost_pods=lost_pods(observed, now),
        announcements=said,
        again_in_s=again_in_s,
    )


def not_accepted(
    job: DiscoJob, status: Json, reason: str, message: str, now: datetime
) -> tuple[Announcement, ...]:
    """Note why a job cannot be started; return what is to be said, if that is new."""
    before = condition_of(status, Condition.ACCEPTED) or {}
    note(job, status, Condition.ACCEPTED, False, reason, message, now)
    if (before.get("reason"), before.get("message")) == (reason, message):
        return ()
    return (Announcement(kind="Warning", reason=reason, message=message),)


def retry_has_to_wait(job: DiscoJob, observed: Observed) -> bool:
    """Return whether a job that is to run again cannot yet."""
    return _still_leaving(job, observed) or _code_is_gone(job, observed)


def _code_is_gone(job: DiscoJob, observed: Observed) -> bool:
    """Return whether neither the code of the start is there any more, nor the one it came from."""
    return job.status.get("released") == _ALL and bool(observed.code_problem)


def image_of(job: DiscoJob, observed: Observed) -> str:
    """Return the image of a job that begins now."""
    assert job.spec is not None
    return job.spec.image or observed.job_image


def what_a_retry_runs(job: DiscoJob) -> str:
    """Return what is run again, and which code, as people may have corrected it meanwhile."""
    everything = job.status.get("released") == _ALL
    what = "everything is run again" if everything else "the tasks that failed are run again"
    if job.spec is None or job.spec.code is None or job.spec.code.config_map is None:
        return what
    when = "as it is now" if everything else "as it was when the job started"
    return f"{what}, with the code of ConfigMap {job.spec.code.config_map.name} {when}"


def _still_leaving(job: DiscoJob, observed: Observed) -> bool:
    """Return whether pods of a run that has ended are still there.

    Its coordinator would tell the operator that the job has failed, and workers that have just
    come that they may rest: under its Service it cannot be told from its successor.
    """
    stays = None if job.spec is None or job.spec.output else names.Role.PARTITION_SERVICE
    return any(
        child["kind"] == "Pod" and child["metadata"]["labels"].get(names.ROLE_LABEL) != stays
        for child in observed.children
    )


def left_children(job: DiscoJob, status: Json, now: datetime) -> Wanted:
    """Return what stays of a job that has ended.

    Partition services stay while they hold results, and for a while after a failure, so that a
    retry runs what is missing only. Of a job with an output nothing stays: what its tasks wrote
    there is removed when it fails, and only planning it anew prepares the output again.
    """
    if job.spec is None or job.spec.output is not None:
        return Wanted()
    if status["phase"] == Phase.SUCCEEDED:
        return Wanted(base=True, services=services_of(job))
    if status["phase"] == Phase.FAILED and now < _kept_until(job, status):
        return Wanted(base=True, services=services_of(job))
    return Wanted()


def _released(wanted: Wanted) -> str:
    """Return what of the job is gone, in a word that the status keeps."""
    return "Workers" if wanted.base else _ALL


def retry_wanted(job: DiscoJob) -> bool:
    """Return whether a job that failed is to run again."""
    if job.spec is None or job.status.get("phase") != Phase.FAILED:
        return False
    return job.spec.retry > job.status.get("observedRetry", 0) and not job.spec.cancel


def reopened(job: DiscoJob, status: Json) -> Json:
    """Return the status of a job that starts again after it failed."""
    gone = ("completionTime", "stopping", "released", "results", "failures", "memoryFactor")
    kept = {name: value for name, value in status.items() if name not in gone}
    if status.get("released") == _ALL:  # nothing is left that pods of another image might not read
        kept.pop("image", None)
    for kind in (Condition.SUCCEEDED, Condition.FAILED, Condition.RESULTS_AVAILABLE):
        drop_condition(kept, kind)
    kept["coordinator"] = {"epoch": 0, "lastEvent": 0}
    kept["runs"] = status.get("runs", 0) + 1
    return kept


def _kept_until(job: DiscoJob, status: Json) -> datetime:
    assert job.spec is not None
    kept = timedelta(seconds=job.spec.partition_service.keep_after_failure)
    return read_time(status["completionTime"]) + kept


def _expires(job: DiscoJob, status: Json) -> datetime | None:
    if job.spec is None or job.spec.ttl_seconds_after_finished is None:
        return None
    lifetime = timedelta(seconds=job.spec.ttl_seconds_after_finished)
    return read_time(status["completionTime"]) + lifetime


def _expired(job: DiscoJob, status: Json, now: datetime) -> bool:
    expires = _expires(job, status)
    return expires is not None and now >= expires


def _next_look(job: DiscoJob, status: Json, now: datetime) -> float | None:
    moments = [_expires(job, status)]
    if status["phase"] == Phase.FAILED and job.spec is not None and job.spec.output is None:
        moments.append(_kept_until(job, status))
    ahead = [(moment - now).total_seconds() for moment in moments if moment and moment > now]
    return max(min(ahead), 0.5) if ahead else None


# --- results -----------------------------------------------------------------------------------


def _summary(status: Json, progress: coordinator_pb2.JobProgress | None) -> str:
    told = status.get("stages", [])  # of a job with many stages, not all
    stages = max(len(told), 0 if progress is None else len(progress.stages))
    tasks = int(status.get("progress", "0").partition("/")[0])
    records = told[-1]["recordsOut"] if told else 0
    done = f"{counted(tasks, 'task')} in {counted(stages, 'stage')}"
    return f"{done}; {counted(records, 'record')} in the result"


def _note_results(job: DiscoJob, status: Json, observed: Observed, now: datetime) -> None:
    assert job.spec is not None
    stages = status.get("stages", [])
    last = stages[-1] if stages else {"recordsOut": 0, "bytesOut": 0, "name": ""}
    results: Json = {
        "stage": last["name"],
        "records": last["recordsOut"],
    }
    if expires := _expires(job, status):
        results["expiresAt"] = written_time(expires)
    if job.spec.output is not None:
        results |= {"url": job.spec.output.url, "format": job.spec.output.format}
        reason, message = "WrittenToOutput", f"{job.spec.output.url} ({job.spec.output.format})"
    else:
        results["bytes"] = last["bytesOut"]
        progress = observed.news.progress
        results["parts"] = len(progress.results) if progress is not None else 0
        results["pods"] = [] if keeps_volumes(job) else _partition_pods(observed)
        reason = "KeptInPartitionServices"
        until = f"until {results['expiresAt']}" if expires else "while the job exists"
        message = f"in the pods of {names.partition_service(job.key)}, {until}"
    status["results"] = results
    note(job, status, Condition.RESULTS_AVAILABLE, True, reason, message, now)


def _partition_pods(observed: Observed) -> list[Json]:
    """Return the pods that keep results; of more than a status has room for, the first."""
    return sorted(
        (
            {"name": child["metadata"]["name"], "uid": child["metadata"]["uid"]}
            for child in observed.children
            if child["kind"] == "Pod"
            and child["metadata"]["labels"].get(names.ROLE_LABEL) == names.Role.PARTITION_SERVICE
        ),
        key=lambda pod: pod["name"],
    )[:MAX_PODS]


def _check_results(
    job: DiscoJob, status: Json, observed: Observed, now: datetime
) -> tuple[Announcement, ...]:
    """Say so if pods that held results on their nodes' disks are gone, and if copies are left."""
    assert job.spec is not None
    before = condition_of(status, Condition.RESULTS_AVAILABLE)
    expected = status.get("results", {}).get("pods", [])
    if before is None or before["status"] != "True" or not expected:
        return ()
    there = {pod["uid"] for pod in _partition_pods(observed)}
    lost = [pod["name"] for pod in expected if pod["uid"] not in there]
    if not lost:
        return ()
    available = len(lost) < job.spec.partition_service.copies
    reason = "ReadFromCopies" if available else "ResultsLost"
    if before["reason"] == reason:
        return ()
    message = f"{', '.join(lost)} held results on the node's disk and was lost with them: "
    message += "they are read from their copies; " if available else "run the job again; "
    message += "spec.output or spec.partitionService.storage.volumeClaimTemplate would keep them"
    note(job, status, Condition.RESULTS_AVAILABLE, available, reason, message, now)
    return (Announcement(kind="Warning", reason=reason, message=message),)
