"""What the pods of all roles have in common: security, identity, placement, probes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from disco.manifest import PodSettings
from disco_operator import names
from disco_operator.model import DiscoJob, Json, OperatorSettings
from disco_operator.names import Role

USER = 65532
LOST_NODE_TOLERATION_S = 15
"""How long a pod stays bound to a node that does not answer; Kubernetes' default is 5 minutes."""

IDENTITY_DIR = "/job/identity"
TOKEN_VARIABLE = "DISCO_JOB_TOKEN"
TLS_VARIABLE = "DISCO_TLS_DIR"

_NEEDED = (TOKEN_VARIABLE, TLS_VARIABLE, "POD_NAME", "NODE_NAME", "PYTHONPATH")

DEFAULT_REQUESTS: Mapping[Role, Mapping[str, str]] = {
    Role.COORDINATOR: {"cpu": "100m", "memory": "128Mi"},
    Role.PARTITION_SERVICE: {"cpu": "100m", "memory": "256Mi"},
    Role.WORKER: {"cpu": "100m", "memory": "256Mi"},
}
"""Small, so that a first job runs on any cluster; limits are the author's to set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a role puts into its pods.

    Attributes:
        arguments: Of Python, such as "-m", "disco_engine.worker".
        port: That it serves gRPC on; None: none.
        env: Beyond what every role has.
        volumes: Of the pod.
        mounts: Of its container.
        init: Containers that run first, without what every container has.
        grace_s: Between SIGTERM and SIGKILL.
        group: Label of their group of workers; None: they are no workers.
    """

    arguments: Sequence[str]
    port: int | None = None
    env: Sequence[Json] = ()
    volumes: Sequence[Json] = ()
    mounts: Sequence[Json] = ()
    init: Sequence[Json] = ()
    grace_s: int
    group: str | None = None


def pod_template(
    job: DiscoJob,
    role: Role,
    given: PodSettings,
    parts: Parts,
    operator: OperatorSettings,
) -> Json:
    """Return the pod template of one role.

    Args:
        job: The job.
        role: Of the pods.
        given: What the manifest says about them.
        parts: What the role is.
        operator: Defaults.
    """
    image = _image(job, operator)
    container: Json = {
        "name": role.value,
        **image,
        "command": ["python", "-P", *parts.arguments],
        "env": _environment_with(job, parts, given),
        "envFrom": list(given.env_from),
        "resources": _resources(role, given),
        "volumeMounts": [
            {"name": "identity", "mountPath": IDENTITY_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            *parts.mounts,
            *given.volume_mounts,
        ],
        "ports": _ports(parts.port),
        **_probes(),
        **_container_defaults(),
    }
    spec: Json = {
        "containers": [container],
        "initContainers": [
            {
                **image,
                "env": _by_name(parts.env, map(_env, given.env)),
                "envFrom": list(given.env_from),
                "resources": _resources(role, given),
                **_container_defaults(),
                **init,
            }
            for init in parts.init
        ],
        "volumes": [
            {"name": "identity", "secret": {"secretName": names.identity_secret(job)}},
            {"name": "tmp", "emptyDir": {}},
            *parts.volumes,
            *given.volumes,
        ],
        "terminationGracePeriodSeconds": parts.grace_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_placement(job, given),
    }
    template = {
        "metadata": {"labels": names.labels(job, role, parts.group)},
        "spec": _without_empty(spec),
    }
    result: Json = merged(template, given.pod_template or {})
    return result


def merged(base: Any, over: Any) -> Any:
    """Return *base* with *over* laid on top.

    Objects are merged field by field, lists of named objects by name; every other value of *over*
    replaces the one below, and null removes it.
    """
    if isinstance(base, dict) and isinstance(over, dict):
        result = {**base}
        for name, value in over.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = merged(base[name], value) if name in base else value
        return result
    if _named(base) and _named(over):
        ours = {entry["name"]: entry for entry in base}
        for entry in over:
            ours[entry["name"]] = merged(ours.get(entry["name"], {}), entry)
        return list(ours.values())
    return over


def _named(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in value
    )


def _image(job: DiscoJob, operator: OperatorSettings) -> Json:
    assert job.spec is not None
    policy = job.spec.image_pull_policy
    return {
        "image": job.spec.image or operator.job_image,
        **({"imagePullPolicy": policy} if policy else {}),
    }


def _environment(job: DiscoJob) -> list[Json]:
    secret = names.identity_secret(job)
    return [
        {
            "name": TOKEN_VARIABLE,
            "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}},
        },
        {"name": TLS_VARIABLE, "value": IDENTITY_DIR},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "HOME", "value": "/tmp"},
    ]


def _environment_with(job: DiscoJob, parts: Parts, given: PodSettings) -> list[Json]:
    """Return the environment: the author's variables replace ours, but for those we rely on."""
    ours = _environment(job)
    needed = [variable for variable in (*ours, *parts.env) if variable["name"] in _NEEDED]
    return _by_name(ours, parts.env, map(_env, given.env), needed)


def _by_name(*groups: Iterable[Json]) -> list[Json]:
    """Return named objects, of those with the same name the last, where the first one stood."""
    found: Json = {}
    for entry in chain.from_iterable(groups):
        found[entry["name"]] = entry
    return list(found.values())


def _env(variable: Any) -> Json:
    return {
        "name": variable.name,
        **({} if variable.value is None else {"value": variable.value}),
        **({} if variable.value_from is None else {"valueFrom": variable.value_from}),
    }


def _resources(role: Role, given: PodSettings) -> Json:
    limits = dict(given.resources.limits) if given.resources else {}
    requests = dict(given.resources.requests) if given.resources else {}
    # A request beyond the limit is refused, so the defaults give way.
    defaults = {name: value for name, value in DEFAULT_REQUESTS[role].items() if name not in limits}
    return _without_empty(
        {
            "requests": {**defaults, **requests},
            "limits": limits,
            "claims": list(given.resources.claims) if given.resources else [],
        }
    )


def _ports(port: int | None) -> list[Json]:
    found: list[Json] = [{"name": "health", "containerPort": names.HEALTH_PORT}]
    if port is not None:
        found.insert(0, {"name": "grpc", "containerPort": port})
    return found


def _probes() -> Json:
    alive = {"port": names.HEALTH_PORT}
    ready = {"port": names.HEALTH_PORT, "service": "ready"}
    return {
        # Python starts in about a second on an idle machine, and in tens on a busy one.
        "startupProbe": {"grpc": alive, "periodSeconds": 2, "failureThreshold": 150},
        "livenessProbe": {
            "grpc": alive,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "readinessProbe": {
            "grpc": ready,
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        },
    }


def _container_defaults() -> Json:
    return {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The end of its log is what a person wants to read when a container fails.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _placement(job: DiscoJob, given: PodSettings) -> Json:
    assert job.spec is not None
    return {
        "imagePullSecrets": [{"name": secret.name} for secret in job.spec.image_pull_secrets],
        "nodeSelector": dict(given.node_selector),
        "tolerations": [*given.tolerations, *_lost_node_tolerations()],
        "affinity": given.affinity,
        "topologySpreadConstraints": list(given.topology_spread_constraints),
        "priorityClassName": given.priority_class_name,
        "serviceAccountName": given.service_account_name,
        "schedulerName": given.scheduler_name,
        "runtimeClassName": given.runtime_class_name,
    }


def _lost_node_tolerations() -> list[Json]:
    return [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": LOST_NODE_TOLERATION_S,
        }
        for taint in ("not-ready", "unreachable")
    ]


def mark_run(template: Json, run: int) -> None:
    """Have pods of an earlier run of a job replaced."""
    if run:
        annotations = template["metadata"].setdefault("annotations", {})
        annotations[names.RUN_ANNOTATION] = str(run)


def spread(job: DiscoJob, role: Role) -> Json:
    """Return an affinity that keeps pods of one role on different nodes, where there are some."""
    return {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": selector(job, role)},
                    },
                }
            ]
        }
    }


def selector(job: DiscoJob, role: Role, group: str | None = None) -> Json:
    """Return the labels that tell the pods of a role, or of a group of workers, from all others."""
    found = {names.JOB_LABEL: job.key.name, names.ROLE_LABEL: role.value}
    if group is not None:
        found[names.STAGE_LABEL] = group
    return found


def _without_empty(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {}, ())}
