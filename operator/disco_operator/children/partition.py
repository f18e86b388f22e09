"""The partition services: a StatefulSet, and the headless Service that gives each pod a name."""

from disco_operator import names
from disco_operator.children.pods import Parts, pod_template, selector, spread
from disco_operator.model import DiscoJob, Json, OperatorSettings
from disco_operator.names import Role

DATA_DIR = "/data"
SHARE_OF_STORAGE = 0.95
"""Of a volume's size; beyond its limit the kubelet evicts a pod, so the service stops before."""


def services_of(job: DiscoJob) -> int:
    """Return how many partition services a job has."""
    assert job.spec is not None
    return job.spec.partition_service.replicas


def keeps_volumes(job: DiscoJob) -> bool:
    """Return whether the services' data outlives their pods."""
    assert job.spec is not None
    storage = job.spec.partition_service.storage
    return storage is not None and storage.volume_claim_template is not None


def partition_set(job: DiscoJob, replicas: int, operator: OperatorSettings) -> Json:
    """Return the StatefulSet of the partition services.

    Args:
        job: The job.
        replicas: How many pods, now: all of the job's, or none while it is suspended.
        operator: Defaults.
    """
    assert job.spec is not None
    given = job.spec.partition_service
    storage = given.storage
    limit = storage.empty_dir.size_limit if storage and storage.empty_dir else None
    volumes: list[Json] = []
    claims: list[Json] = []
    if storage is not None and storage.volume_claim_template is not None:
        claims.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data", "labels": names.labels(job)},
                "spec": {"accessModes": ["ReadWriteOnce"], **storage.volume_claim_template},
            }
        )
    else:
        medium = storage.empty_dir.medium if storage and storage.empty_dir else ""
        empty_dir: Json = {}
        if limit is not None:
            empty_dir["sizeLimit"] = str(limit)
        if medium:
            empty_dir["medium"] = medium
        volumes.append({"name": "data", "emptyDir": empty_dir})
    bound = [] if limit is None else ["--storage-limit-bytes", str(int(limit * SHARE_OF_STORAGE))]
    parts = Parts(
        arguments=(
            *("-m", "disco_engine.partition"),
            *("--job-uid", job.uid, "--service-id", "$(POD_NAME)", "--node", "$(NODE_NAME)"),
            *("--data-dir", f"{DATA_DIR}/blocks"),
            *("--host", "0.0.0.0", "--port", str(names.PARTITION_PORT)),
            *("--health-port", str(names.HEALTH_PORT)),
            *bound,
        ),
        port=names.PARTITION_PORT,
        volumes=volumes,
        mounts=[{"name": "data", "mountPath": DATA_DIR}],
        grace_s=15,
    )
    if given.affinity is None:
        given = given.model_copy(update={"affinity": spread(job, Role.PARTITION_SERVICE)})
    template = pod_template(job, Role.PARTITION_SERVICE, given, parts, operator)
    spec: Json = {
        "serviceName": names.partition_service(job.key),
        "replicas": replicas,
        "revisionHistoryLimit": 0,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": selector(job, Role.PARTITION_SERVICE)},
        "template": template,
    }
    if claims:
        spec["volumeClaimTemplates"] = claims
        spec["persistentVolumeClaimRetentionPolicy"] = {
            "whenDeleted": "Delete",
            "whenScaled": "Retain",
        }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": names.metadata(
            job, names.partition_service(job.key), names.labels(job, Role.PARTITION_SERVICE)
        ),
        "spec": spec,
    }


def partition_service(job: DiscoJob) -> Json:
    """Return the headless Service of the partition services."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(
            job, names.partition_service(job.key), names.labels(job, Role.PARTITION_SERVICE)
        ),
        "spec": {
            "clusterIP": "None",
            "selector": selector(job, Role.PARTITION_SERVICE),
            "publishNotReadyAddresses": True,
            "ports": [
                {
                    "name": "grpc",
                    "port": names.PARTITION_PORT,
                    "targetPort": names.PARTITION_PORT,
                }
            ],
        },
    }
