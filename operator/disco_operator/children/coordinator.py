"""The coordinator: a Deployment of one pod, and the Service under which workers find it."""

from disco.manifest.model import SubmittedCode
from disco_operator import names
from disco_operator.children.pods import Parts, mark_run, pod_template, selector
from disco_operator.model import DiscoJob, Json, OperatorSettings
from disco_operator.names import Role

SPEC_DIR = "/job/spec"
SUBMISSION_DIR = "/job/submission"
WAIT_FOR_SERVICES_S = 3600
"""Images may take long to pull; what keeps the services away is told in the job's conditions."""


def coordinator_deployment(
    job: DiscoJob, services: int, operator: OperatorSettings, *, run: int = 0
) -> Json:
    """Return the coordinator's Deployment.

    A Deployment and not a batch Job: it starts a lost pod again at once, where a Job waits for 10
    seconds the first time and twice as long each time after that.

    Args:
        job: The job.
        services: How many partition services it has.
        operator: Defaults.
        run: How often the job was started again: a coordinator that has failed stays so.
    """
    assert job.spec is not None
    addresses = [names.partition_address(job.key, index) for index in range(services)]
    volumes: list[Json] = [
        {"name": "spec", "configMap": {"name": names.spec_config_map(job)}},
    ]
    mounts: list[Json] = [{"name": "spec", "mountPath": SPEC_DIR, "readOnly": True}]
    code: list[str] = []
    if job.spec.code is not None and job.spec.code.secret is not None:
        volume, code = _submitted(job.spec.code.secret)
        volumes.append(volume)
        mounts.append({"name": volume["name"], "mountPath": SUBMISSION_DIR, "readOnly": True})
    parts = Parts(
        arguments=(
            *("-m", "disco_engine.coordinator"),
            *("--job-file", f"{SPEC_DIR}/job.pb", *code),
            *("--host", "0.0.0.0", "--port", str(names.COORDINATOR_PORT)),
            *("--health-port", str(names.HEALTH_PORT)),
            *("--wait-for-services", str(WAIT_FOR_SERVICES_S)),
            *(f"--partition-service={service}={address}" for service, address in addresses),
        ),
        port=names.COORDINATOR_PORT,
        volumes=volumes,
        mounts=mounts,
        grace_s=5,
    )
    template = pod_template(job, Role.COORDINATOR, job.spec.coordinator, parts, operator)
    mark_run(template, run)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": names.metadata(
            job, names.coordinator(job.key), names.labels(job, Role.COORDINATOR)
        ),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 0,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector(job, Role.COORDINATOR)},
            "template": template,
        },
    }


def _submitted(code: SubmittedCode) -> tuple[Json, list[str]]:
    """Return the volume with submitted code, and the flags that say where it is."""
    files = [names.code_file(index) for index in range(code.parts)]
    sources = [
        {
            "secret": {
                "name": names.code_secret(code.name, index),
                "items": [{"key": names.CODE_KEY, "path": file}],
            }
        }
        for index, file in enumerate(files)
    ]
    flags = [f"--code-file={SUBMISSION_DIR}/{file}" for file in files]
    volume = {"name": "submission", "projected": {"sources": sources}}
    return volume, [*flags, f"--code-sha256={code.sha256}"]


def coordinator_service(job: DiscoJob) -> Json:
    """Return the coordinator's Service.

    It has an address of its own, so that a new pod needs no new look-up by name, and leads to pods
    that are not ready, so that nobody waits for a probe.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(
            job, names.coordinator(job.key), names.labels(job, Role.COORDINATOR)
        ),
        "spec": {
            "selector": selector(job, Role.COORDINATOR),
            "publishNotReadyAddresses": True,
            "ports": [
                {
                    "name": "grpc",
                    "port": names.COORDINATOR_PORT,
                    "targetPort": names.COORDINATOR_PORT,
                }
            ],
        },
    }
