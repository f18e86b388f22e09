"""Pods that vanish in the middle of a job: its result is the same."""

import signal

import pytest
from harness import processes
from harness.gated import COUNT_TASKS, GatedJob
from harness.kubectl import Api
from harness.namespaces import Namespace
from harness.release import Operator
from harness.settings import Settings
from harness.volumes import Volume
from harness.waiting import wait_for


def test_a_task_whose_worker_pod_is_deleted_runs_again_elsewhere(
    namespace: Namespace, shared_volume: Volume, api: Api
) -> None:
    gated = GatedJob(namespace, shared_volume)
    lost = gated.wait_until_inside()[0]

    api.delete("pods", namespace.name, lost, grace_s=0)
    wait_for(
        f"an attempt in place of that in {lost}",
        lambda: set(gated.wait_until_inside()) - {lost},
    )
    gated.open_gate()
    gated.job.wait_until_succeeded()

    gated.check_result()
    assert gated.count_attempts() == COUNT_TASKS


def test_a_worker_that_has_fifteen_seconds_to_leave_costs_no_attempt_and_no_finished_task(
    namespace: Namespace, shared_volume: Volume, api: Api
) -> None:
    """As much as spot nodes get."""
    gated = GatedJob(namespace, shared_volume, retries={"maxAttempts": 1})
    leaving = gated.wait_until_inside()[0]

    api.delete("pods", namespace.name, leaving, grace_s=15)
    wait_for(f"pod {leaving} to be gone", lambda: api.get("pods", namespace.name, leaving) is None)
    gated.open_gate()
    gated.job.wait_until_succeeded()

    gated.check_result()
    assert gated.count_attempts() == COUNT_TASKS


def test_a_job_survives_the_loss_of_its_coordinator_and_repeats_no_finished_task(
    namespace: Namespace, shared_volume: Volume, api: Api
) -> None:
    gated = GatedJob(namespace, shared_volume)
    gated.wait_until_inside()
    (coordinator,) = gated.job.wait_for_pods("coordinator", 1)

    api.delete("pods", namespace.name, coordinator["metadata"]["name"], grace_s=0)
    wait_for(
        "another coordinator",
        lambda: (
            coordinator["metadata"]["uid"]
            not in [pod["metadata"]["uid"] for pod in gated.job.wait_for_pods("coordinator", 1)]
        ),
    )
    gated.open_gate()
    gated.job.wait_until_succeeded()

    gated.check_result()
    assert gated.count_attempts() == COUNT_TASKS


def test_a_job_survives_the_loss_of_a_partition_service(
    namespace: Namespace, shared_volume: Volume, api: Api
) -> None:
    gated = GatedJob(namespace, shared_volume, partitionService={"replicas": 2})
    gated.wait_until_inside()

    api.delete("pods", namespace.name, f"{gated.job.name}-ps-0", grace_s=0)
    gated.open_gate()
    gated.job.wait_until_succeeded()

    gated.check_result()


def test_an_operator_that_is_killed_again_and_again_harms_no_job(
    namespace: Namespace, shared_volume: Volume, operator: Operator
) -> None:
    gated = GatedJob(namespace, shared_volume)
    operator.kill()
    gated.wait_until_inside()
    before = {pod["metadata"]["uid"] for pod in gated.job.pods()}

    operator.kill()
    operator.wait_until_ready()
    gated.job.wait_for_condition("Running")
    after = {pod["metadata"]["uid"] for pod in gated.job.pods()}
    operator.kill()
    gated.open_gate()
    gated.job.wait_until_succeeded()

    gated.check_result()
    assert after == before
    assert gated.count_attempts() == COUNT_TASKS


def test_a_cluster_goes_on_when_its_api_server_is_killed(
    namespace: Namespace, shared_volume: Volume, cluster: Settings, operator: Operator
) -> None:
    """All watches end, and what they would have told next is only in what is listed anew."""
    if cluster.local is None:
        pytest.skip("the API server of this cluster is not ours to kill; run `make test-cluster`")
    gated = GatedJob(namespace, shared_volume)
    gated.wait_until_inside()
    control = processes.of_control_plane(cluster.local)
    (server,) = control.named("kube-apiserver")

    control.send(server, signal.SIGKILL)
    gated.open_gate()
    wait_for("another API server", lambda: set(control.named("kube-apiserver")) - {server})
    wait_for(
        "it to answer",
        lambda: namespace.kubectl("get", "discojobs", check=False).returncode == 0,
    )
    again = GatedJob(namespace, shared_volume, name="again", output={"url": "/shared/again"})
    again.job.wait_until_succeeded()
    gated.job.wait_until_succeeded()

    gated.check_result()
    again.check_result("again")
