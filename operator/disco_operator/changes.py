"""Compares the children that a job should have with those it has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from disco_operator import names
from disco_operator.children.coordinator import coordinator_deployment, coordinator_service
from disco_operator.children.identity import identity_secret
from disco_operator.children.network import network_policy
from disco_operator.children.partition import partition_service, partition_set, services_of
from disco_operator.children.spec import spec_config_map
from disco_operator.children.workers import workers_deployment
from disco_operator.cluster import Kind, kind_of
from disco_operator.groups import groups_of
from disco_operator.model import DiscoJob, Json, OperatorSettings
from disco_operator.wanted import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What to do to a job's children, in this order.

    Attributes:
        delete: Kinds and names.
        apply: Manifests of workloads that are missing, or whose pods must be replaced.
        scale: Kinds, names and numbers of pods.
    """

    delete: tuple[tuple[Kind, str], ...] = ()
    apply: tuple[Json, ...] = ()
    scale: tuple[tuple[Kind, str, int], ...] = ()


def base_children(
    job: DiscoJob,
    code: Mapping[str, bytes] | None,
    identity: Mapping[str, bytes],
    operator: OperatorSettings,
) -> tuple[Json, ...]:
    """Return the objects that are made once: they never change, and are not watched.

    Args:
        job: The job.
        code: Content by name of the files that travel with it; None: it is not there any more, and
            what was made of it at the start has to do.
        identity: Content by key of its Secret.
        operator: Defaults.

    Raises:
        SpecTooLargeError: The specification does not fit into a ConfigMap.
    """
    return (
        *(() if code is None else (spec_config_map(job, code),)),
        identity_secret(job, identity),
        network_policy(job, operator),
        partition_service(job),
        coordinator_service(job),
    )


def changes_to(
    job: DiscoJob,
    wanted: Wanted,
    children: Sequence[Json],
    status: Json,
    operator: OperatorSettings,
) -> Changes:
    """Return what must be done to the children so that they are as *wanted*.

    Pods are replaced for the job's sake only. What a job computes is fixed once it has started, so
    a template that would be another today comes from another operator, and replacing pods because
    of that would take away what finished tasks, and finished jobs, have on their nodes' disks. Its
    image is in the status, which follows the operator's only until pods run.

    Args:
        job: The job; it has a spec.
        wanted: What should be there.
        children: What is there, whoever owns it.
        status: The job's new status.
        operator: Defaults.
    """
    mine = {
        (child["kind"], child["metadata"]["name"]): child
        for child in children
        if child["kind"] != "Pod" and job.owns(child)
    }
    operator = replace(operator, job_image=status.get("image") or operator.job_image)
    apply: list[Json] = []
    scale: list[tuple[Kind, str, int]] = []
    for manifest in _workloads(job, wanted, status, operator):
        name, replicas = manifest["metadata"]["name"], manifest["spec"]["replicas"]
        child = mine.pop((manifest["kind"], name), None)
        if child is None or _is_to_be_replaced(child, manifest):
            apply.append(manifest)
        elif child["spec"].get("replicas") != replicas:  # or somebody has scaled it by hand
            scale.append((kind_of(manifest), name, replicas))
    kinds = {"Deployment": Kind.DEPLOYMENT, "StatefulSet": Kind.STATEFULSET}
    gone = [
        (kinds[kind], name)
        for (kind, name), child in mine.items()
        if "deletionTimestamp" not in child["metadata"]
    ]
    return Changes(delete=(*gone, *_released(job, status)), apply=tuple(apply), scale=tuple(scale))


def _workloads(
    job: DiscoJob, wanted: Wanted, status: Json, operator: OperatorSettings
) -> Iterator[Json]:
    if job.spec is None:
        return
    run, image = status.get("runs", 0), operator.job_image
    if wanted.services is not None:
        yield _marked(partition_set(job, wanted.services, operator), image)
    if wanted.coordinator:
        coordinator = coordinator_deployment(job, services_of(job), operator, run=run)
        yield _marked(coordinator, f"{image}, run {run}")
    factors = status.get("memoryFactor", {})
    for group in groups_of(job.key, job.spec):
        if group.name in wanted.workers:
            factor = factors.get(group.label, 1.0)
            workers = workers_deployment(
                job, group, wanted.workers[group.name], operator, memory_factor=factor, run=run
            )
            yield _marked(workers, f"{image}, run {run}, memory {factor:g}")


def _marked(manifest: Json, made_for: str) -> Json:
    """Return a manifest that says what its pods were made for, to be compared later."""
    annotations = {names.MADE_FOR_ANNOTATION: made_for}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def _is_to_be_replaced(child: Json, manifest: Json) -> bool:
    if "deletionTimestamp" in child["metadata"]:
        return True
    made_for = child["metadata"].get("annotations", {}).get(names.MADE_FOR_ANNOTATION)
    return bool(made_for != manifest["metadata"]["annotations"][names.MADE_FOR_ANNOTATION])


def _released(job: DiscoJob, status: Json) -> Iterable[tuple[Kind, str]]:
    """Return what is not watched and no longer needed, once: the status remembers it."""
    before, after = job.status.get("released"), status.get("released")
    if after is None or before == after:
        return
    yield Kind.SERVICE, names.coordinator(job.key)
    if after == "All":
        yield Kind.SERVICE, names.partition_service(job.key)
        yield Kind.NETWORKPOLICY, names.network_policy(job.key)
        yield Kind.CONFIGMAP, names.spec_config_map(job)
        yield Kind.SECRET, names.identity_secret(job)
