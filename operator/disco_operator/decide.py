"""Decides what should become of a DiscoJob: ``decide(job, observed) -> decision``, and no more.

    (new) ──> Pending ──> Planning ──> Running ──> Committing ──> Succeeded
                 │            │           │            │
                 │            └───────────┴────────────┴──> Failed (retry: back to Pending),
                 │            │           │                 Cancelled
                 └────────────┴───────────┴──> Suspended (and back)

What the job has become is in its status; everything else is observed anew each time, so deciding
twice is the same as deciding once. Coordinators know how far a job is; this module knows when it
starts, pauses, has to stop, and what it leaves.
"""

from datetime import datetime, timedelta

from disco.v1 import coordinator_pb2
from disco_operator import endings, names, working
from disco_operator.conditions import Condition, Phase, drop_condition, is_true
from disco_operator.lost import lost_pods
from disco_operator.model import IN_LINE, DiscoJob, Json, read_time, written_time
from disco_operator.notes import active_seconds, note
from disco_operator.wanted import Announcement, Decision, Observed, Wanted

CLEANUP_RETRY_S = 1.0
STOP_PATIENCE = timedelta(seconds=30)
"""For a coordinator to end a job, and to have its temporary output removed."""
UNHEARD_PATIENCE = timedelta(seconds=10)
"""For a coordinator that nobody has heard of yet: it may be about to start."""

_OVER = {
    coordinator_pb2.JOB_PHASE_SUCCEEDED: Phase.SUCCEEDED,
    coordinator_pb2.JOB_PHASE_FAILED: Phase.FAILED,
    coordinator_pb2.JOB_PHASE_CANCELLED: Phase.CANCELLED,
}


def decide(job: DiscoJob, observed: Observed, now: datetime) -> Decision:
    """Return what is to be done about *job* now."""
    status = {**job.status, "observedGeneration": job.generation}
    if job.finished:
        if endings.retry_wanted(job) and not endings.retry_has_to_wait(job, observed):
            return _start(job, endings.reopened(job, status), observed, now, again=True)
        return endings.over(job, status, observed, now)
    if job.spec is None:
        return _refused(job, status, "InvalidSpec", job.problem, None, now)
    if not job.started:
        return _not_started(job, status, observed, now)
    return _started(job, status, observed, now)


def _not_started(job: DiscoJob, status: Json, observed: Observed, now: datetime) -> Decision:
    spec = job.spec
    assert spec is not None
    if spec.cancel:
        return endings.finish(
            job, status, observed, Phase.CANCELLED, "Cancelled", "cancelled before it started", now
        )
    if observed.code_problem and not spec.suspend:
        problem = observed.code_problem
        return _refused(job, status, "CodeNotFound", problem, endings.CODE_RETRY_S, now)
    if strangers := _strangers(job, observed):
        return _refused(job, status, *strangers, CLEANUP_RETRY_S, now)
    note(job, status, Condition.ACCEPTED, True, "Accepted", "the spec makes sense", now)
    if spec.suspend:
        first = not is_true(status, Condition.SUSPENDED)
        message = "not started: set spec.suspend to false to start it"
        note(job, status, Condition.SUSPENDED, True, "NotStarted", message, now)
        status["phase"] = Phase.SUSPENDED.value
        said = (Announcement(kind="Normal", reason="Suspended", message=message),) if first else ()
        return Decision(status=status, announcements=said)
    return _start(job, status, observed, now, again=False)


def _start(
    job: DiscoJob, status: Json, observed: Observed, now: datetime, *, again: bool
) -> Decision:
    assert job.spec is not None
    status["startTime"] = status.get("startTime") or written_time(now)
    status["runSince"] = written_time(now)
    status["activeSeconds"] = 0
    status["inputsHash"] = status.get("inputsHash") or job.inputs_hash
    status["image"] = status.get("image") or endings.image_of(job, observed)
    status["observedRetry"] = job.spec.retry
    status["phase"] = Phase.PENDING.value
    if is_true(status, Condition.SUSPENDED):
        note(job, status, Condition.SUSPENDED, False, "Resumed", "", now)
    note(job, status, Condition.ACCEPTED, True, "Accepted", "the spec makes sense", now)
    message = "its pods are being started"
    note(job, status, Condition.RUNNING, False, "Starting", message, now)
    said = Announcement(
        kind="Normal",
        reason="Retrying" if again else "Started",
        message=endings.what_a_retry_runs(job)
        if again
        else "coordinator, partition services and workers are being started",
    )
    return Decision(
        status=status,
        wanted=working.wanted_children(job, status, observed),
        follow=True,
        announcements=(said,),
        again_in_s=working.look_again_s(observed),
        status_first=True,
    )


def _started(job: DiscoJob, status: Json, observed: Observed, now: datetime) -> Decision:
    spec = job.spec
    assert spec is not None
    progress = observed.news.progress
    if progress is not None and (phase := _OVER.get(progress.phase)) is not None:
        return endings.ended(job, status, observed, phase, now)
    _note_stopping(job, status, now)
    if "stopping" in status:
        return _stopping(job, status, observed, now)
    if is_true(status, Condition.SUSPENDED) and not spec.suspend:
        note(job, status, Condition.SUSPENDED, False, "Resumed", "", now)
        status["runSince"] = written_time(now)
        status["phase"] = Phase.PENDING.value  # until its coordinator says more
    if spec.suspend:
        return _pause(job, status, observed, now)
    return working.work(job, status, observed, now)


def _note_stopping(job: DiscoJob, status: Json, now: datetime) -> None:
    """Note that the job must end, if it must and that is new."""
    assert job.spec is not None
    limit_s = job.spec.active_deadline_seconds
    if "stopping" in status:
        return
    if job.spec.cancel:
        status["stopping"] = {"reason": "Cancelled", "since": written_time(now)}
    elif limit_s is not None and active_seconds(status, now) >= limit_s:
        status["stopping"] = {"reason": "DeadlineExceeded", "since": written_time(now)}


def _stopping(job: DiscoJob, status: Json, observed: Observed, now: datetime) -> Decision:
    """Have the coordinator end the job; end it without, if there is none or it takes too long."""
    if is_true(status, Condition.SUSPENDED):
        patience = timedelta()
    else:
        patience = UNHEARD_PATIENCE if observed.news.progress is None else STOP_PATIENCE
    if now - read_time(status["stopping"]["since"]) >= patience:
        return endings.ended(job, status, observed, Phase.CANCELLED, now)
    return Decision(
        status=status,
        wanted=None,
        follow=True,
        cancel=endings.stop_message(job, status),
        again_in_s=1.0,
    )


def _pause(job: DiscoJob, status: Json, observed: Observed, now: datetime) -> Decision:
    first = not is_true(status, Condition.SUSPENDED)
    if first:
        status["activeSeconds"] = active_seconds(status, now)
        status.pop("runSince", None)
        status.pop(IN_LINE, None)
    wanted, left = working.paused_children(job)
    message = f"paused: {left}; set spec.suspend to false to go on"
    note(job, status, Condition.SUSPENDED, True, "Suspended", message, now)
    note(job, status, Condition.RUNNING, False, "Suspended", "the job is suspended", now)
    status["phase"] = Phase.SUSPENDED.value
    status["workers"] = status["slots"] = 0
    said = (Announcement(kind="Normal", reason="Suspended", message=message),) if first else ()
    return Decision(
        status=status,
        wanted=wanted,
        announcements=said,
        lost_pods=lost_pods(observed, now),
        again_in_s=working.look_again_s(observed),
    )


def _refused(
    job: DiscoJob, status: Json, reason: str, message: str, again_in_s: float | None, now: datetime
) -> Decision:
    """Say why a job is not started; it may be once that is mended."""
    said = endings.not_accepted(job, status, reason, message, now)
    status["phase"] = Phase.PENDING.value
    if is_true(status, Condition.SUSPENDED):
        drop_condition(status, Condition.SUSPENDED)
    return Decision(status=status, wanted=Wanted(), announcements=said, again_in_s=again_in_s)


def _strangers(job: DiscoJob, observed: Observed) -> tuple[str, str] | None:
    """Return reason and message if objects that are not this job's have the names it needs."""
    for child in observed.children:
        if child["kind"] not in ("Deployment", "StatefulSet") or job.owns(child):
            continue
        owners = child["metadata"].get("ownerReferences", ())
        name = f"{child['kind']} {child['metadata']['name']}"
        if any(owner["kind"] == "DiscoJob" for owner in owners):
            return "CleaningUp", f"{name} of an earlier job of this name is still being removed"
        return (
            "NameTaken",
            f"{name} has the label {names.JOB_LABEL}={job.key.name} but does not belong to this"
            " job: delete it, or give the job another name",
        )
    return None
