"""What partition services keep, when their pods are lost: what runs again, and what does not."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from harness.gated import COUNT_TASKS, GatedJob
from harness.jobs import JOB_LABEL, ROLE_LABEL, node_of, ready
from harness.kubectl import Api, Object
from harness.namespaces import Namespace
from harness.nodes import Nodes
from harness.volumes import Volume
from harness.waiting import wait_for

CREW = 3
CLAIM: Object = {"resources": {"requests": {"storage": "100Mi"}}}


def _apart(role: str) -> Object:
    """Return an affinity that lets no two pods of a role of the job onto a node."""
    labels = {JOB_LABEL: "gated", ROLE_LABEL: role}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _lose(
    namespace: Namespace,
    volume: Volume,
    lose: Callable[[str, str], None],
    **partition_service: Any,
) -> tuple[set[str], set[str]]:
    """Run a job that loses a partition service when its first stage is done.

    Args:
        namespace: Where.
        volume: Its shared volume.
        lose: Is called with the name and the node of the pod.
        partition_service: Settings.

    Returns:
        The tasks whose output it had, which are neither all nor none; and those that ran again.
    """
    gated = GatedJob(
        namespace,
        volume,
        crew=CREW,
        workers={"replicas": CREW, "affinity": _apart("worker")},
        partitionService={
            "replicas": CREW,
            "affinity": _apart("partition-service"),
            **partition_service,
        },
    )
    gated.wait_until_inside()
    first = gated.counted()
    nodes = {pod["metadata"]["name"]: node_of(pod) for pod in gated.job.pods()}
    service = f"{gated.job.name}-ps-0"
    # A worker gives its output to the service on its own node.
    had = {task for task, pod in first if nodes[pod] == nodes[service]}

    lost = {pod["metadata"]["uid"] for pod in gated.job.pods("partition-service")}
    lose(service, nodes[service])
    # Until it is another one, the pod that was killed could still answer for a moment.
    wait_for(
        f"another pod {service} to be ready",
        lambda: [
            pod
            for pod in gated.job.pods("partition-service")
            if pod["metadata"]["uid"] not in lost and ready(pod)
        ],
    )
    gated.open_gate()
    gated.job.wait_until_succeeded(timeout=240)

    gated.check_result()
    assert len(first) == COUNT_TASKS > len(had) > 0
    again = Counter(gated.counted()) - Counter(first)
    return had, {task for task, _ in again.elements()}


def test_what_was_on_a_lost_pod_runs_again_and_nothing_else(
    namespace: Namespace, shared_volume: Volume, api: Api
) -> None:
    had, again = _lose(
        namespace,
        shared_volume,
        lambda pod, node: api.delete("pods", namespace.name, pod, grace_s=0),
    )

    assert again == had


def test_what_is_on_a_volume_is_served_again_and_nothing_is_repeated(
    namespace: Namespace, shared_volume: Volume, api: Api
) -> None:
    _, again = _lose(
        namespace,
        shared_volume,
        lambda pod, node: api.delete("pods", namespace.name, pod),
        storage={"volumeClaimTemplate": CLAIM},
    )

    assert not again


def test_a_drained_node_costs_what_was_on_its_disks(
    namespace: Namespace, shared_volume: Volume, cluster_nodes: Nodes
) -> None:
    def drain(pod: str, node: str) -> None:
        cluster_nodes.drain(node)
        cluster_nodes.uncordon(node)

    had, again = _lose(namespace, shared_volume, drain)

    assert again == had


def test_with_two_copies_a_lost_pod_costs_nothing(
    namespace: Namespace, shared_volume: Volume, api: Api
) -> None:
    _, again = _lose(
        namespace,
        shared_volume,
        lambda pod, node: api.delete("pods", namespace.name, pod, grace_s=0),
        copies=2,
    )

    assert not again
