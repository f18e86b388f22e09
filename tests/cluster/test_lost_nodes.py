"""Nodes that lose power or their network in the middle of a job."""

import pytest
from harness.gated import GatedJob
from harness.jobs import node_of
from harness.namespaces import Namespace
from harness.nodes import Nodes
from harness.volumes import Volume
from harness.waiting import wait_for


def _crowded(gated: GatedJob) -> str:
    """Return the node of the coordinator, on which also a worker and a partition service are."""
    gated.job.wait_for_pods("worker", 3)
    gated.job.wait_for_pods("partition-service", 3)
    (coordinator,) = gated.job.wait_for_pods("coordinator", 1)
    node = node_of(coordinator)
    for role in ("worker", "partition-service"):
        nodes = sorted(map(node_of, gated.job.pods(role)))
        assert node in nodes, f"no {role} is on {node} beside the coordinator, but on {nodes}"
    return node


@pytest.mark.parametrize("lose", ["kill", "partition"])
def test_a_node_with_pods_of_every_role_is_lost_and_the_result_is_right(
    namespace: Namespace, shared_volume: Volume, cluster_nodes: Nodes, lose: str
) -> None:
    gated = GatedJob(
        namespace,
        shared_volume,
        workers={"replicas": 3},
        partitionService={"replicas": 3},
    )
    gated.wait_until_inside()
    node = _crowded(gated)

    getattr(cluster_nodes, lose)(node)
    cluster_nodes.wait_until_lost(node)
    wait_for(
        f"every pod of the job to be on other nodes than {node}",
        lambda: (
            (nodes := [node_of(pod) for pod in gated.job.pods()])
            and len(nodes) == 7
            and node not in nodes
        ),
        timeout=240,
    )
    gated.open_gate()
    gated.job.wait_until_succeeded(timeout=240)

    gated.check_result()


def test_a_node_that_comes_back_brings_no_pod_of_the_job_twice(
    namespace: Namespace, shared_volume: Volume, cluster_nodes: Nodes
) -> None:
    gated = GatedJob(
        namespace,
        shared_volume,
        workers={"replicas": 3},
        partitionService={"replicas": 3},
    )
    gated.wait_until_inside()
    node = _crowded(gated)

    cluster_nodes.partition(node)
    cluster_nodes.wait_until_lost(node)
    cluster_nodes.restore()
    gated.open_gate()
    gated.job.wait_until_succeeded(timeout=240)

    gated.check_result()
