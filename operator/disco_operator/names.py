"""Names and labels of a job's children: computed from the job, never random.

A job's name has at most 45 characters, so that the names, and the labels that controllers make of
them, stay within 63.
"""

import hashlib
import re
from enum import StrEnum

from disco_operator.model import GROUP, MANAGER, DiscoJob, JobKey, Json

JOB_LABEL = f"{GROUP}/job"
ROLE_LABEL = f"{GROUP}/role"
STAGE_LABEL = f"{GROUP}/stage"
MADE_FOR_ANNOTATION = f"{GROUP}/made-for"
"""Of a workload: image, run of the job, and what else its pods are replaced for if it changes."""
RUN_ANNOTATION = f"{GROUP}/run"
"""How often the job had been started again when a pod was made."""

CODE_KEY = "code.pb"
"""Where submitted code is in its Secrets."""

COORDINATOR_PORT = 7071
PARTITION_PORT = 7072
HEALTH_PORT = 7080


_SUFFIXES = frozenset({"ps", "workers"})
"""Last parts of other names: the stage "workers" of job "a" and the workers of job "a-stage" would
be one."""


class Role(StrEnum):
    """What a pod of a job does; the value is its label."""

    COORDINATOR = "coordinator"
    PARTITION_SERVICE = "partition-service"
    WORKER = "worker"


def identity_secret(job: DiscoJob) -> str:
    """Return the name of the Secret with the job's token and certificates.

    Here and in the next, a part of the job's uid keeps a job that was deleted and made again from
    using what its predecessor left for a moment longer.
    """
    return f"{job.key.name}-identity-{job.uid[:8]}"


def spec_config_map(job: DiscoJob) -> str:
    """Return the name of the ConfigMap with what the coordinator is started with."""
    return f"{job.key.name}-spec-{job.uid[:8]}"


def events_config_map(key: JobKey, uid: str) -> str:
    """Return the name of the ConfigMap with what was heard of a job that has ended."""
    return f"{key.name}-events-{uid[:8]}"


def code_secret(name: str, index: int) -> str:
    """Return the name of one of the Secrets with submitted code; *name* is that of the first."""
    return f"{name}-{index}" if index else name


def code_file(index: int) -> str:
    """Return how a piece of submitted code is called in the coordinator's pod."""
    return f"{CODE_KEY}.{index}" if index else CODE_KEY


def coordinator(key: JobKey) -> str:
    """Return the name of the coordinator's Deployment and Service."""
    return f"{key.name}-coordinator"


def partition_service(key: JobKey) -> str:
    """Return the name of the partition services' StatefulSet and Service."""
    return f"{key.name}-ps"


def network_policy(key: JobKey) -> str:
    """Return the name of the job's NetworkPolicy."""
    return key.name


def shared_workers(key: JobKey) -> str:
    """Return the name of the Deployment that serves all stages without settings of their own."""
    return f"{key.name}-workers"


def stage_workers(key: JobKey, stage: str) -> str:
    """Return the name of the Deployment of a stage with settings of its own."""
    return f"{key.name}-{slug(stage)}"


def slug(stage: str) -> str:
    """Return a label value for a stage, which may have any name: "stage-" and 8 digits."""
    if re.fullmatch(r"[a-z0-9]{1,8}", stage) and stage not in _SUFFIXES:
        return f"stage-{stage}"
    return f"stage-{hashlib.sha256(stage.encode()).hexdigest()[:8]}"


def coordinator_address(key: JobKey) -> str:
    """Return host:port of the coordinator, as seen in the cluster."""
    return f"{coordinator(key)}.{key.namespace}.svc:{COORDINATOR_PORT}"


def partition_address(key: JobKey, index: int) -> tuple[str, str]:
    """Return id and host:port of one partition service."""
    service = partition_service(key)
    pod = f"{service}-{index}"
    return pod, f"{pod}.{service}.{key.namespace}.svc:{PARTITION_PORT}"


def labels(job: DiscoJob, role: Role | None = None, group: str | None = None) -> Json:
    """Return the labels of a child.

    Args:
        job: Its job.
        role: Of its pods; None: it has none.
        group: Label of the group of workers it belongs to; None: it is no worker.
    """
    found = {
        "app.kubernetes.io/name": "disco",
        "app.kubernetes.io/managed-by": MANAGER,
        JOB_LABEL: job.key.name,
    }
    if role is not None:
        found[ROLE_LABEL] = role.value
    if group is not None:
        found[STAGE_LABEL] = group
    return found


def metadata(job: DiscoJob, name: str, labels: Json) -> Json:
    """Return the metadata of a child, with the owner reference."""
    return {
        "name": name,
        "namespace": job.key.namespace,
        "labels": labels,
        "ownerReferences": [job.owner],
    }
