"""DiscoJobs: building them, and following what becomes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.kubectl import Api, Object, kubectl
from harness.volumes import CLAIM, MOUNT, Volume
from harness.waiting import PATIENCE_S, wait_for

JOB_LABEL = "discoproject.org/job"
ROLE_LABEL = "discoproject.org/role"
STAGE_LABEL = "discoproject.org/stage"
_CHILDREN = (
    *("pods", "deployments", "replicasets", "statefulsets", "services", "secrets", "configmaps"),
    *("networkpolicies", "persistentvolumeclaims"),
)


def discojob(
    name: str,
    *,
    job: str,
    code: str | Mapping[str, Any] | None = None,
    workers: Mapping[str, Any] | None = None,
    shared: bool = True,
    **spec: Any,
) -> Object:
    """Return a DiscoJob's manifest.

    Args:
        name: Of the job.
        job: "module:attribute".
        code: Text of the module, or the field as it is; None: the image.
        workers: Over two replicas with one slot each.
        shared: Mount the namespace's shared volume into the workers.
        spec: All other fields.
    """
    ours: Object = {"replicas": 2, "slots": 1}
    if shared:
        ours["volumes"] = [{"name": "shared", "persistentVolumeClaim": {"claimName": CLAIM}}]
        ours["volumeMounts"] = [{"name": "shared", "mountPath": MOUNT}]
    if code is not None:
        spec["code"] = {"inline": code} if isinstance(code, str) else code
    return {
        "apiVersion": "discoproject.org/v1alpha1",
        "kind": "DiscoJob",
        "metadata": {"name": name},
        "spec": {"job": job, "workers": {**ours, **(workers or {})}, **spec},
    }


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A DiscoJob in the cluster, whatever its state."""

    api: Api
    namespace: str
    name: str

    def get(self) -> Object:
        """Return the object as the API server has it."""
        found = self.api.get("discojobs", self.namespace, self.name)
        assert found is not None, f"DiscoJob {self.name} is gone"
        return found

    def status(self) -> Object:
        """Return its status, {} before there is one."""
        found: Object = self.get().get("status", {})
        return found

    def condition(self, kind: str) -> Object:
        """Return one of its conditions, {} while it is not there."""
        for condition in self.status().get("conditions", ()):
            if condition["type"] == kind:
                found: Object = condition
                return found
        return {}

    def wait_for_condition(
        self, kind: str, status: str = "True", reason: str = "", timeout: float = PATIENCE_S
    ) -> Object:
        """Return a condition once it has this status, and this reason if one is given.

        Raises:
            AssertionError: It does not get it in time, or the job ended otherwise.
        """

        def there() -> Object:
            conditions = {c["type"]: c for c in self.status().get("conditions", ())}
            found: Object = conditions.get(kind, {})
            if found.get("status") == status and reason in ("", found.get("reason")):
                return found
            for end in ("Succeeded", "Failed"):
                ended = conditions.get(end, {})
                assert end == kind or ended.get("status") != "True", (
                    f"job {self.name} has {end} ({ended.get('reason')}: {ended.get('message')})"
                    f" while {kind}={status} {reason} was awaited"
                )
            return {}

        wanted = f"{kind}={status}{f' ({reason})' if reason else ''}"
        return wait_for(f"job {self.name} to get {wanted}", there, timeout)

    def wait_for_reason(self, reason: str, timeout: float = PATIENCE_S) -> Object:
        """Return the first condition that has this reason, whatever its type, once there is one."""

        def there() -> Object:
            conditions: Sequence[Object] = self.status().get("conditions", ())
            return next((c for c in conditions if c["reason"] == reason), {})

        return wait_for(f"a condition of job {self.name} with reason {reason}", there, timeout)

    def wait_until_succeeded(self, timeout: float = PATIENCE_S) -> None:
        """Return once the job has succeeded; fail as soon as it cannot any more."""
        self.wait_for_condition("Succeeded", timeout=timeout)

    def wait_until_failed(self, timeout: float = PATIENCE_S) -> Object:
        """Return the condition Failed once it is true."""
        return self.wait_for_condition("Failed", timeout=timeout)

    def wait_for_phase(self, phase: str, timeout: float = PATIENCE_S) -> None:
        """Return once the status has this phase."""
        wait_for(
            f"job {self.name} to be {phase}",
            lambda: self.status().get("phase") == phase,
            timeout,
        )

    def patch(self, **spec: Any) -> None:
        """Change fields of the spec."""
        self.api.patch("discojobs", self.namespace, self.name, {"spec": spec})

    def delete(self) -> None:
        """Ask for its deletion."""
        self.api.delete("discojobs", self.namespace, self.name)

    def pods(self, role: str | None = None) -> Sequence[Object]:
        """Return its pods that nobody has asked to leave, those of one role if one is given."""
        selector = f"{JOB_LABEL}={self.name}" + (f",{ROLE_LABEL}={role}" if role else "")
        found = self.api.list("pods", self.namespace, selector)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def wait_for_pods(self, role: str, count: int, timeout: float = PATIENCE_S) -> Sequence[Object]:
        """Return the pods of a role once exactly *count* of them are ready."""
        return wait_for(
            f"{count} ready pods of job {self.name} with role {role}",
            lambda: pods if len(pods := self.pods(role)) == count and all(map(ready, pods)) else (),
            timeout,
        )

    def wait_until_no_pods(self, timeout: float = PATIENCE_S) -> None:
        """Return once not one pod of it is left, not even one that is about to end."""
        wait_for(
            f"all pods of job {self.name} to be gone",
            lambda: not self.api.list("pods", self.namespace, f"{JOB_LABEL}={self.name}"),
            timeout,
        )

    def identity(self) -> Object:
        """Return the Secret with its token and certificates."""
        secrets = self.api.list("secrets", self.namespace, f"{JOB_LABEL}={self.name}")
        assert len(secrets) == 1, f"job {self.name} has {len(secrets)} Secrets"
        return secrets[0]

    def children(self) -> Sequence[str]:
        """Return what there is of it beside the DiscoJob, as "kind/name"."""
        return children(self.api, self.namespace, self.name)

    def wait_until_nothing_is_left(self, timeout: float = PATIENCE_S) -> None:
        """Return once the DiscoJob and all that was made for it are gone."""
        wait_for(
            f"job {self.name} to be gone",
            lambda: self.api.get("discojobs", self.namespace, self.name) is None,
            timeout,
        )
        wait_until_childless(self.api, self.namespace, self.name, timeout)

    def events(self) -> Sequence[Object]:
        """Return the events about the DiscoJob itself."""
        return [
            event
            for event in self.api.list("events", self.namespace)
            if event.get("regarding", {}).get("kind") == "DiscoJob"
            and event["regarding"]["name"] == self.name
        ]

    def logs(self, role: str, lines: int = 100) -> str:
        """Return the end of the logs of a role's pods."""
        selector = f"{JOB_LABEL}={self.name},{ROLE_LABEL}={role}"
        options = ("--prefix", f"--tail={lines}", "--ignore-errors")
        logs = kubectl("-n", self.namespace, "logs", "-l", selector, *options, check=False)
        return logs.stdout + logs.stderr


def children(api: Api, namespace: str, job: str | None = None) -> Sequence[str]:
    """Return what there is in a namespace of a job, or of all jobs, as "kind/name"."""
    selector = JOB_LABEL if job is None else f"{JOB_LABEL}={job}"
    return [
        f"{kind}/{found['metadata']['name']}"
        for kind in _CHILDREN
        for found in api.list(kind, namespace, selector)
    ]


def wait_until_childless(
    api: Api, namespace: str, job: str | None = None, timeout: float = PATIENCE_S
) -> None:
    """Return once nothing is left of a job, or of all jobs of a namespace."""
    left: Sequence[str] = ()

    def none_left() -> bool:
        nonlocal left
        left = children(api, namespace, job)
        return not left

    try:
        wait_for(f"nothing to be left of {job or 'all jobs'} in {namespace}", none_left, timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}; left: {', '.join(left)}") from None


def ready(pod: Object) -> bool:
    """Return whether a pod is ready."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def node_of(pod: Object) -> str:
    """Return the node a pod was bound to, "" before."""
    name: str = pod["spec"].get("nodeName", "")
    return name


def results(volume: Volume, folder: str = "results") -> dict[str, str]:
    """Return the records of an output in the text format: key to value, each key once."""
    names = volume.names(folder)
    assert "_SUCCESS" in names, f"{folder} has no _SUCCESS: {names}"
    found: dict[str, str] = {}
    for name in names:
        if name.startswith("_"):
            continue
        for line in volume.read(f"{folder}/{name}").splitlines():
            key, _, value = line.partition("\t")
            assert key not in found, f"{key} is twice in {folder}"
            found[key] = value
    return found
