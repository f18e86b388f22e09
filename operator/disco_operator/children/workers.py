"""The workers: one Deployment for each group."""

from collections.abc import Iterator

from disco.manifest import PodSettings, Resources
from disco.manifest.quantities import size_bytes
from disco_operator import names
from disco_operator.children.pods import Parts, mark_run, pod_template, selector, spread
from disco_operator.groups import WorkerGroup
from disco_operator.model import DiscoJob, Json, OperatorSettings
from disco_operator.names import Role

DRAIN_S = 15
"""Spot nodes are taken away within 15 to 120 seconds."""
PREPARED_DIR = "/job/prepared"
CODE_DIRS = ("/job/code", f"{PREPARED_DIR}/code")
PACKAGES_DIR = f"{PREPARED_DIR}/packages"
GIVE_UP_AFTER_S = 600
PREPARE = "prepare"
"""Name of the init container."""


def workers_deployment(
    job: DiscoJob,
    group: WorkerGroup,
    replicas: int,
    operator: OperatorSettings,
    *,
    memory_factor: float = 1.0,
    run: int = 0,
) -> Json:
    """Return the Deployment of one group of workers.

    A Deployment and not a batch Job, which would delay the replacement of lost pods for longer and
    longer, would replace none once a pod has ended well, and could not grow again after that.

    Args:
        job: The job.
        group: Which stages they serve, and how the pods are.
        replicas: How many pods, now.
        operator: Defaults.
        memory_factor: By how much their memory is more than the manifest says.
        run: How often the job was started again: pods of an earlier run have gone to rest.
    """
    parts = Parts(
        arguments=(
            *("-m", "disco_engine.worker"),
            *("--coordinator", names.coordinator_address(job.key)),
            *("--worker-id", "$(POD_NAME)", "--node", "$(NODE_NAME)"),
            *("--slots", str(group.slots), "--scratch-dir", "/scratch"),
            *("--health-port", str(names.HEALTH_PORT), "--linger", "--exit-on-oom"),
            *("--drain", str(DRAIN_S - 3), "--give-up-after", str(GIVE_UP_AFTER_S)),
            *([] if group.stage is None else [f"--stage={_literal(group.stage)}"]),
            *(f"--except-stage={_literal(stage)}" for stage in group.except_stages),
        ),
        env=[{"name": "PYTHONPATH", "value": _python_path(group)}],
        volumes=[{"name": "scratch", "emptyDir": {}}, *_prepared_volume(job)],
        mounts=[{"name": "scratch", "mountPath": "/scratch"}, *_prepared_mount(job)],
        init=list(_preparation(job)),
        grace_s=DRAIN_S + 5,
        group=group.label,
    )
    settings: PodSettings = group.workers
    if memory_factor != 1.0:
        settings = settings.model_copy(
            update={"resources": more_memory(settings.resources, memory_factor)}
        )
    if settings.affinity is None:
        settings = settings.model_copy(update={"affinity": spread(job, Role.WORKER)})
    template = pod_template(job, Role.WORKER, settings, parts, operator)
    mark_run(template, run)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": names.metadata(job, group.name, names.labels(job, Role.WORKER, group.label)),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "strategy": {"rollingUpdate": {"maxUnavailable": "50%", "maxSurge": 0}},
            # A worker is as good as it gets once it runs; nobody waits for a rollout.
            "progressDeadlineSeconds": 3600,
            "selector": {"matchLabels": selector(job, Role.WORKER, group.label)},
            "template": template,
        },
    }


def _python_path(group: WorkerGroup) -> str:
    """Return where modules are found: installed requirements, then what the author says."""
    given = [variable.value for variable in group.workers.env if variable.name == "PYTHONPATH"]
    return ":".join([PACKAGES_DIR, *filter(None, given)])


def more_memory(resources: Resources | None, factor: float) -> Resources | None:
    """Return resources with *factor* times the memory."""
    if resources is None:
        return None

    def raised(quantities: dict[str, str]) -> dict[str, str]:
        if "memory" not in quantities:
            return quantities
        bytes_now = size_bytes(quantities["memory"])
        return {**quantities, "memory": f"{-(-int(bytes_now * factor) // 2**20)}Mi"}

    return resources.model_copy(
        update={"limits": raised(resources.limits), "requests": raised(resources.requests)}
    )


def _literal(argument: str) -> str:
    """Return an argument so that the kubelet passes it on as it is: it would expand "$(NAME)"."""
    return argument.replace("$(", "$$(")


def _prepares(job: DiscoJob) -> bool:
    assert job.spec is not None
    archive = job.spec.code is not None and job.spec.code.archive is not None
    return archive or bool(job.spec.requirements)


def _preparation(job: DiscoJob) -> Iterator[Json]:
    """Yield the container that fetches code and installs requirements, if there are any."""
    assert job.spec is not None
    if not _prepares(job):
        return
    arguments = ["--target", PREPARED_DIR]
    if job.spec.code is not None and job.spec.code.archive is not None:
        archive = job.spec.code.archive
        arguments += ["--archive", archive.url, "--sha256", archive.sha256]
    for requirement in job.spec.requirements:
        arguments += ["--requirement", requirement]
    yield {
        "name": PREPARE,
        "command": [
            *("python", "-P", "-m", "disco_engine.prepare"),
            *map(_literal, arguments),
        ],
        "volumeMounts": [
            {"name": "prepared", "mountPath": PREPARED_DIR},
            {"name": "tmp", "mountPath": "/tmp"},
            *_volume_mounts(job),
        ],
    }


def _volume_mounts(job: DiscoJob) -> list[Json]:
    """Return where the job's own volumes are: an archive may lie on one."""
    assert job.spec is not None
    return list(job.spec.workers.volume_mounts)


def _prepared_volume(job: DiscoJob) -> list[Json]:
    return [{"name": "prepared", "emptyDir": {}}] if _prepares(job) else []


def _prepared_mount(job: DiscoJob) -> list[Json]:
    if not _prepares(job):
        return []
    return [{"name": "prepared", "mountPath": PREPARED_DIR, "readOnly": True}]
