"""Decides what a running job needs: its children, how many workers, what to say about trouble."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from disco.v1 import coordinator_pb2
from disco_operator import endings, line, names, saying
from disco_operator.children.partition import keeps_volumes, services_of
from disco_operator.conditions import Condition, Phase, condition_of, is_true
from disco_operator.groups import WorkerGroup, groups_of
from disco_operator.lost import lost_pods
from disco_operator.model import DiscoJob, Json, read_time
from disco_operator.notes import active_seconds, note
from disco_operator.progress import (
    not_yet_informed,
    note_progress,
    phase_of,
    plan_of,
    unknown_stages,
)
from disco_operator.scaling import wanted_pods
from disco_operator.trouble import Trouble, oom_killed, troubles_of
from disco_operator.wanted import Announcement, Decision, Observed, Wanted

LOOK_AGAIN_S = 10.0
LOOKS_PER_SECOND = 20
"""About so many looks a second, at most, are at jobs to which nothing has happened."""
SILENCE = 30.0
"""Seconds without a coordinator after which the status says so."""
MEETING_TIME = timedelta(seconds=60)
"""After which pods that run should have found each other, even on a busy machine."""
HOPELESS_RESTARTS = 3


def work(job: DiscoJob, status: Json, observed: Observed, now: datetime) -> Decision:
    """Return what is to be done about a job that should be running."""
    if line.gives_way(status, observed):
        return _give_way(job, status, observed, now)
    progress = observed.news.progress
    said: list[Announcement] = []
    mine = [child for child in observed.children if _concerns(child, job)]
    if not (is_true(status, Condition.PLANNED) or any(map(_running_since, mine))):
        status["image"] = endings.image_of(job, observed)  # pods that never ran have nothing
    troubles = troubles_of(mine, now)
    if progress is not None:
        note_progress(status, progress, now)
        said += _note_planned(job, status, progress, now)
    said += _raise_memory(job, status, mine)
    said += _note_running(job, status, observed, troubles, now)
    line.note_place(job, status, observed, troubles, now)
    fatal = next((trouble for trouble in troubles if trouble.fatal), None)
    fatal = fatal or _out_of_memory(job, status, mine)
    if fatal is not None and not (progress is not None and progress.workers):
        return endings.finish(job, status, observed, Phase.FAILED, fatal.reason, fatal.message, now)
    if job.inputs_hash != status.get("inputsHash"):
        message = (
            "spec.inputs was changed after the start: the job goes on with those it was started"
            " with; delete it and create it again for others"
        )
        said += _first(status, Condition.ACCEPTED, "SpecChanged", message)
        note(job, status, Condition.ACCEPTED, True, "SpecChanged", message, now)
    return Decision(
        status=status,
        wanted=wanted_children(job, status, observed),
        follow=True,
        lost_pods=lost_pods(observed, now),
        announcements=(*saying.events_of(observed.news.events), *said),
        again_in_s=_next_look(job, status, observed, now),
    )


def _give_way(job: DiscoJob, status: Json, observed: Observed, now: datetime) -> Decision:
    message = (
        "the quota of the namespace had no room for all pods of this job, and another job has"
        " waited longer: this one has no pods until that one has started; raise the quota, or"
        " delete finished jobs, whose results are kept in pods"
    )
    note(job, status, Condition.RUNNING, False, "QuotaExceeded", message, now)
    status["phase"] = Phase.PENDING.value
    return Decision(
        status=status,
        wanted=Wanted(base=True, services=0),
        lost_pods=lost_pods(observed, now),
        again_in_s=_next_look(job, status, observed, now),
    )


def look_again_s(observed: Observed, least_s: float = LOOK_AGAIN_S) -> float:
    """Return when to look again though nothing has happened: later, the more jobs there are."""
    return max(least_s, observed.active_jobs / LOOKS_PER_SECOND)


def _next_look(job: DiscoJob, status: Json, observed: Observed, now: datetime) -> float:
    assert job.spec is not None
    running = is_true(status, Condition.RUNNING)
    again_in_s = look_again_s(observed, LOOK_AGAIN_S if running else LOOK_AGAIN_S / 2)
    limit_s = job.spec.active_deadline_seconds
    if limit_s is None:
        return again_in_s
    return min(again_in_s, max(limit_s - active_seconds(status, now), 1.0))


def wanted_children(job: DiscoJob, status: Json, observed: Observed) -> Wanted:
    """Return the children of a job that should be running."""
    assert job.spec is not None
    progress = observed.news.progress
    if progress is not None and not_yet_informed(progress, status):
        progress = None
    current = _current_replicas(job, observed)
    workers: dict[str, int] = {}
    for group in groups_of(job.key, job.spec):
        now = current.get(group.name, 0)
        if progress is None:  # the coordinator is on its way, or away: its workers wait for it
            wanted = now or (group.least if group.stage is None and not status.get("stages") else 0)
        else:
            committing = progress.phase == coordinator_pb2.JOB_PHASE_COMMITTING
            wanted = wanted_pods(group, progress.stages, now, committing=committing)
        if wanted:
            workers[group.name] = wanted
    if progress is None and not workers:  # an earlier run has left nobody to begin with
        shared = groups_of(job.key, job.spec)[0]
        workers[shared.name] = shared.least
    return Wanted(base=True, coordinator=True, services=services_of(job), workers=workers)


def paused_children(job: DiscoJob) -> tuple[Wanted, str]:
    """Return the children of a suspended job, and a phrase about them."""
    if keeps_volumes(job):
        return Wanted(base=True, services=0), "all pods have left, finished work is on its volumes"
    services = services_of(job)
    text = "its pod stays" if services == 1 else f"its {services} pods stay"
    return (
        Wanted(base=True, services=services),
        f"coordinator and workers have left; the partition service keeps finished work on its"
        f" nodes' disks, so {text} (with spec.partitionService.storage.volumeClaimTemplate they"
        " would leave, too)",
    )


def _concerns(child: Json, job: DiscoJob) -> bool:
    """Return whether a workload is this job's, or a pod has the label of its name."""
    if child["kind"] == "Pod":
        return bool(child["metadata"]["labels"].get(names.ROLE_LABEL))
    return job.owns(child)


def _current_replicas(job: DiscoJob, observed: Observed) -> dict[str, int]:
    return {
        child["metadata"]["name"]: child["spec"].get("replicas", 0)
        for child in observed.children
        if child["kind"] == "Deployment" and job.owns(child)
    }


def _note_planned(
    job: DiscoJob, status: Json, progress: coordinator_pb2.JobProgress, now: datetime
) -> list[Announcement]:
    message = plan_of(job, progress)
    if not message:
        return []
    said = _first(status, Condition.PLANNED, "Planned", message, kind="Normal")
    if said:
        note(job, status, Condition.PLANNED, True, "Planned", message, now)
        if unknown := unknown_stages(job, progress):
            said.append(Announcement(kind="Warning", reason="UnknownStage", message=unknown))
    return said


def _note_running(
    job: DiscoJob,
    status: Json,
    observed: Observed,
    troubles: Sequence[Trouble],
    now: datetime,
) -> list[Announcement]:
    """Say whether workers are at work, and if not, why; with what is wrong anyway."""
    news = observed.news
    if news.progress is not None:
        status["phase"] = phase_of(news.progress).value
    text = "; ".join(trouble.message for trouble in troubles)
    if news.progress is not None and news.silent_s < SILENCE and news.progress.workers:
        workers, slots = news.progress.workers, news.progress.slots
        message = f"{workers} worker{'s' * (workers != 1)} with {slots} slots"
        said = _about(status, troubles)
        message = "; ".join(filter(None, (message, news.progress.message, text)))
        reason = troubles[0].reason if troubles else "WorkersConnected"
        note(job, status, Condition.RUNNING, True, reason, message, now)
        return said
    if troubles:
        said = _about(status, troubles)
        note(job, status, Condition.RUNNING, False, troubles[0].reason, text, now)
        return said
    if news.progress is not None and news.silent_s < SILENCE:
        message = news.progress.message or "no worker is connected yet"
        if _apart(status, observed, now):
            message += (
                "; all pods of the job run and do not find each other: look whether a NetworkPolicy"
                f" of namespace {job.key.namespace} keeps them apart (ports"
                f" {names.COORDINATOR_PORT} and {names.PARTITION_PORT}), or from DNS"
            )
        note(job, status, Condition.RUNNING, False, "WaitingForWorkers", message, now)
        return []
    unheard = news.progress is None and not is_true(status, Condition.PLANNED)
    if news.silent_s < SILENCE or unheard:
        note(job, status, Condition.RUNNING, False, "Starting", "its pods are being started", now)
        return []
    message = (
        f"the coordinator does not answer: {news.problem or 'no connection'}; Kubernetes starts it"
        " again if it has died, and it goes on from what is sealed"
    )
    said = _first(status, Condition.RUNNING, "CoordinatorUnreachable", message)
    note(job, status, Condition.RUNNING, False, "CoordinatorUnreachable", message, now)
    return said


def _apart(status: Json, observed: Observed, now: datetime) -> bool:
    """Return whether all pods have been running for so long that they should have met."""
    running = condition_of(status, Condition.RUNNING)
    pods = [child for child in observed.children if child["kind"] == "Pod"]
    if running is None or running["status"] == "True" or not pods:
        return False
    since = [running["lastTransitionTime"], *(_running_since(pod) for pod in pods)]
    return all(time and now - read_time(time) >= MEETING_TIME for time in since)


def _running_since(pod: Json) -> str:
    found = pod.get("status", {})
    return str(found.get("startTime", "")) if found.get("phase") == "Running" else ""


def _about(status: Json, troubles: Sequence[Trouble]) -> list[Announcement]:
    """Return announcements of troubles that the condition does not tell of yet."""
    told = (condition_of(status, Condition.RUNNING) or {}).get("message", "")
    return [
        Announcement(kind="Warning", reason=trouble.reason, message=trouble.message)
        for trouble in troubles
        if trouble.message[:80] not in told
    ]


def _first(
    status: Json,
    condition: Condition,
    reason: str,
    message: str,
    kind: Literal["Normal", "Warning"] = "Warning",
) -> list[Announcement]:
    """Return an announcement, unless the condition has that reason already."""
    if (condition_of(status, condition) or {}).get("reason") == reason:
        return []
    return [Announcement(kind=kind, reason=reason, message=message)]


# --- memory ----------------------------------------------------------------------------------


def _group_of(job: DiscoJob, pod: Json) -> WorkerGroup | None:
    assert job.spec is not None
    label = pod["metadata"]["labels"].get(names.STAGE_LABEL)
    return next((g for g in groups_of(job.key, job.spec) if g.label == label), None)


def _raise_memory(job: DiscoJob, status: Json, children: Sequence[Json]) -> list[Announcement]:
    """Give a group of workers more memory, once, if one of its pods was killed for want of it."""
    said = []
    factors: Json = dict(status.get("memoryFactor", {}))
    pods = [child for child in children if child["kind"] == "Pod"]
    for pod, limit in oom_killed(pods):
        group = _group_of(job, pod)
        if group is None or group.label in factors or not limit:
            continue
        factor = group.workers.oom_retry_factor
        factors[group.label] = factor
        if factor > 1:
            said.append(
                Announcement(
                    kind="Warning",
                    reason="MemoryRaised",
                    message=f"pod {pod['metadata']['name']} was killed at its memory limit of"
                    f" {limit}: its group is given {factor:g} times as much, once"
                    " (oomRetryFactor)",
                )
            )
    if factors:
        status["memoryFactor"] = factors
    return said


def _out_of_memory(job: DiscoJob, status: Json, children: Sequence[Json]) -> Trouble | None:
    """Return why the job cannot go on, if pods with the raised limit are killed again and again."""
    pods = [child for child in children if child["kind"] == "Pod"]
    for pod, limit in oom_killed(pods):
        group = _group_of(job, pod)
        restarts = max(s.get("restartCount", 0) for s in pod["status"]["containerStatuses"])
        if group is None or group.label not in status.get("memoryFactor", {}):
            continue
        if restarts >= HOPELESS_RESTARTS:
            return Trouble(
                reason="OOMKilled",
                message=f"pod {pod['metadata']['name']} was killed {restarts} times at its memory"
                f" limit of {limit}: raise spec.workers.resources.limits.memory, or use less",
                role=names.Role.WORKER.value,
            )
    return None
