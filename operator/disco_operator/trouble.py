"""What is wrong with a job's pods, in words its author can act on.

Pods say why they do not run in half a dozen places; this reads them all. Only what has lasted a
while is trouble: every pod waits for a moment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from disco_engine.process import EXIT_OUT_OF_MEMORY
from disco_operator import names
from disco_operator.children.workers import PREPARE
from disco_operator.model import Json, read_time

PATIENCE = timedelta(seconds=15)
"""How long pods may wait to be scheduled, or workloads for their pods, before anybody is told."""
STUCK = timedelta(seconds=60)
EVICTED_LATELY = timedelta(minutes=5)
"""An evicted pod stays for somebody to look at it; another has long taken its place."""
SETUP_ATTEMPTS = 3
"""After so many failures to install a job's code or requirements, it will not work."""
MAX_MESSAGE = 700

_IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_CONFIG_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that keeps pods from working.

    Attributes:
        reason: One of those in docs/operating.md.
        message: Names the pod, the cause and the remedy.
        role: Of the pods.
        fatal: It will not get better by itself.
        crowded: It may get better when pods of others go.
    """

    reason: str
    message: str
    role: str
    fatal: bool = False
    crowded: bool = False


def troubles_of(children: Sequence[Json], now: datetime) -> tuple[Trouble, ...]:
    """Return what is wrong, one entry for each reason and role.

    Args:
        children: The job's pods, Deployments and StatefulSets.
        now: To see what has lasted long.
    """
    found: dict[tuple[str, str], Trouble] = {}
    for child in children:
        kind = child.get("kind", "")
        if kind == "Pod":
            entries = _of_pod(child, now)
        elif kind in ("Deployment", "StatefulSet"):
            entries = _of_workload(child, children, now)
        else:
            continue
        for trouble in entries:
            found.setdefault((trouble.reason, trouble.role), trouble)
    return tuple(found.values())


def _was_oom_killed(ended: Json) -> bool:
    return ended.get("reason") == "OOMKilled" or ended.get("exitCode") == EXIT_OUT_OF_MEMORY


def oom_killed(pods: Sequence[Json]) -> Iterator[tuple[Json, str]]:
    """Yield pods that were killed for want of memory, and their limit ("" if there is none)."""
    for pod in pods:
        for status in _statuses(pod):
            ended = _ended(status)
            if _was_oom_killed(ended):
                yield pod, _memory_limit(pod, status["name"])


def _of_pod(pod: Json, now: datetime) -> Iterator[Trouble]:
    if "deletionTimestamp" in pod["metadata"]:
        return
    name, role = pod["metadata"]["name"], pod["metadata"]["labels"].get(names.ROLE_LABEL, "")
    yield from _unscheduled(pod, name, role, now)
    yield from _evicted(pod, name, role, now)
    for status in pod.get("status", {}).get("initContainerStatuses", ()):
        yield from _setup_failed(status, name, role)
        yield from _waiting(status, name, role)
    for status in _statuses(pod):
        yield from _waiting(status, name, role)
        ended = _ended(status)
        if _was_oom_killed(ended):
            limit = _memory_limit(pod, status["name"])
            yield Trouble(
                reason="OOMKilled",
                message=f"pod {name} was killed because it needed more memory than its limit"
                f"{f' of {limit}' if limit else ''}: raise {_field(role)}.resources.limits.memory",
                role=role,
            )
        elif ended.get("exitCode") and status.get("restartCount", 0) >= 2:
            yield Trouble(
                reason="PodCrashes",
                message=f"pod {name} has ended {status['restartCount']} times with status"
                f" {ended['exitCode']}{_said(ended)}",
                role=role,
            )
    yield from _stuck(pod, name, role, now)


def _unscheduled(pod: Json, name: str, role: str, now: datetime) -> Iterator[Trouble]:
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition["type"] != "PodScheduled" or condition["status"] != "False":
            continue
        if _age(condition.get("lastTransitionTime"), now) >= PATIENCE:
            said = condition.get("message", "")[:400].rstrip(". ")
            yield Trouble(
                reason="Unschedulable",
                message=f"no node takes pod {name}: {said}; {_remedy(said, _field(role))}",
                role=role,
            )


def _evicted(pod: Json, name: str, role: str, now: datetime) -> Iterator[Trouble]:
    """Yield that the kubelet has ended a pod, which took more of its node than it may."""
    status = pod.get("status", {})
    if status.get("phase") != "Failed" or status.get("reason") != "Evicted":
        return
    since = (
        condition.get("lastTransitionTime")
        for condition in status.get("conditions", ())
        if condition["type"] == "DisruptionTarget"
    )
    if _age(next(since, None), now) < EVICTED_LATELY:
        said = " ".join(status.get("message", "").split())[:400].rstrip(". ")
        yield Trouble(
            reason="Evicted",
            message=f"pod {name} was evicted from node {pod['spec'].get('nodeName', '')}: {said};"
            f" let the job keep less there, or give {_field(role)} more (resources, the volume's"
            " sizeLimit)",
            role=role,
        )


def _remedy(said: str, field: str) -> str:
    """Return what to do about a pod that no node takes, from what the scheduler said."""
    if "Insufficient" in said or "Too many pods" in said:
        return f"lower {field}.resources.requests, or add nodes"
    if "persistentvolumeclaim" in said.lower():
        return f"create the claim, or correct {field}.volumes"
    return f"correct nodeSelector, tolerations or affinity in {field}, or add nodes"


def _setup_failed(status: Json, name: str, role: str) -> Iterator[Trouble]:
    """Yield that an init container has failed, unless it is being tried again at this moment."""
    ended = _ended(status)
    if not ended.get("exitCode") or "running" in status.get("state", {}):
        return
    failures = status.get("restartCount", 0) + 1
    if status["name"] != PREPARE:  # the author's own, from podTemplate
        yield Trouble(
            reason="PodCrashes",
            message=f"container {status['name']} of pod {name} has failed {failures} times with"
            f" status {ended['exitCode']}{_said(ended)}",
            role=role,
        )
        return
    yield Trouble(
        reason="SetupFailed",
        message=f"the code or requirements could not be installed in pod {name}"
        f" ({failures} times){_said(ended)}",
        role=role,
        fatal=failures >= SETUP_ATTEMPTS,
    )


def _waiting(status: Json, name: str, role: str) -> Iterator[Trouble]:
    waiting = status.get("state", {}).get("waiting", {})
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE_REASONS:
        yield Trouble(
            reason="ImagePullFailed",
            message=f"image {status.get('image', '')} of pod {name} cannot be pulled ({reason}):"
            f" {said[:300]}; correct spec.image (of jobs without one: the chart's"
            " jobImage) or spec.imagePullSecrets",
            role=role,
        )
    elif reason in _CONFIG_REASONS:
        yield Trouble(
            reason="ContainerConfigFailed",
            message=f"pod {name} cannot be started ({reason}): {said[:400]}",
            role=role,
        )


def _stuck(pod: Json, name: str, role: str, now: datetime) -> Iterator[Trouble]:
    status = pod.get("status", {})
    if status.get("phase") != "Pending" or _age(status.get("startTime"), now) < STUCK:
        return
    reasons = {entry.get("state", {}).get("waiting", {}).get("reason") for entry in _statuses(pod)}
    if reasons & {"ContainerCreating"}:
        yield Trouble(
            reason="PodStuck",
            message=f"pod {name} has been starting for over {STUCK.seconds} s: a volume or Secret"
            f" it mounts may be missing; see kubectl describe pod {name}",
            role=role,
        )


def _of_workload(workload: Json, children: Sequence[Json], now: datetime) -> Iterator[Trouble]:
    name = workload["metadata"]["name"]
    role = workload["metadata"]["labels"].get(names.ROLE_LABEL, "")
    for condition in workload.get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            said = condition.get("message", "")
            quota = "exceeded quota" in said
            yield Trouble(
                reason="QuotaExceeded" if quota else "PodsRefused",
                message=f"pods of {name} are not admitted: {said[:400]};"
                f" {_remedy_of_refusal(said, _field(role))}",
                role=role,
                crowded=quota,
            )
    if workload["kind"] == "StatefulSet" and workload["spec"].get("replicas"):
        mine = [child for child in children if _controlled_by(child, workload)]
        # Else Kubernetes has not come to it yet, as happens when thousands are created at once.
        tried = "observedGeneration" in workload.get("status", {})
        age = _age(workload["metadata"]["creationTimestamp"], now)
        if not mine and tried and age >= PATIENCE:
            yield Trouble(
                reason="PodsRefused",
                message=f"pods of {name} are not created: a quota or an admission rule refuses"
                f" them; see kubectl describe statefulset {name}",
                role=role,
                crowded=True,
            )


def _remedy_of_refusal(said: str, field: str) -> str:
    """Return what to do about pods that are not admitted, from what the API server said."""
    if "exceeded quota" in said:
        return "free some, raise the quota, or lower the requests and replicas"
    if "failed quota" in said or "usage per" in said or ".resources." in said:
        return f"set {field}.resources as the quota and the LimitRange of the namespace ask for"
    return "an admission rule refuses them"


def _controlled_by(child: Json, workload: Json) -> bool:
    owners = child["metadata"].get("ownerReferences", ())
    return any(owner["uid"] == workload["metadata"]["uid"] for owner in owners)


def _statuses(pod: Json) -> Sequence[Json]:
    found: Sequence[Json] = pod.get("status", {}).get("containerStatuses", ())
    return found


def _ended(status: Json) -> Json:
    """Return how a container ended last, or {}."""
    found: Json = (
        status.get("state", {}).get("terminated")
        or status.get("lastState", {}).get("terminated")
        or {}
    )
    return found


def _said(ended: Json) -> str:
    text = (ended.get("message") or "").strip()
    return f": {text[-MAX_MESSAGE:]}" if text else ""


def _memory_limit(pod: Json, container: str) -> str:
    for entry in pod.get("spec", {}).get("containers", ()):
        if entry["name"] == container:
            return str(entry.get("resources", {}).get("limits", {}).get("memory", ""))
    return ""


def _field(role: str) -> str:
    """Return the part of the spec that says how pods of *role* are."""
    fields = {
        names.Role.COORDINATOR.value: "spec.coordinator",
        names.Role.PARTITION_SERVICE.value: "spec.partitionService",
    }
    return fields.get(role, "spec.workers")


def _age(since: Any, now: datetime) -> timedelta:
    return now - read_time(since) if since else timedelta()
