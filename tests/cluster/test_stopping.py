"""Jobs that somebody or something stops: for a while, for good, or without a trace."""

from typing import Any

import pytest
from harness.gated import COUNT_TASKS, GatedJob
from harness.jobs import discojob, node_of, results
from harness.namespaces import Namespace
from harness.nodes import Nodes
from harness.release import Operator
from harness.volumes import Volume
from harness.waiting import wait_for

MENDED = """\
from pathlib import Path
from uuid import uuid4

from disco import Job


class Mended(Job):
    @staticmethod
    def map(line, params):
        Path(f"/shared/seen/{uuid4()}").touch()
        yield "sum", int(line)

    @staticmethod
    def reduce(pairs, params):
        if not Path("/shared/mended").exists():
            raise ValueError("not mended")
        yield "sum", sum(number for _, number in pairs)
"""


def test_a_suspended_job_gives_up_its_workers_and_goes_on_where_it_was(
    namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume)
    gated.wait_until_inside()

    gated.job.patch(suspend=True)
    gated.job.wait_for_condition("Suspended")
    wait_for("the workers to be gone", lambda: not gated.job.pods("worker"))
    gated.open_gate()
    gated.job.wait_for_phase("Suspended")
    gated.job.patch(suspend=False)
    gated.job.wait_until_succeeded()

    gated.check_result()
    assert gated.count_attempts() == COUNT_TASKS


def test_with_volumes_no_pod_is_left_while_a_job_is_suspended_and_no_task_is_repeated(
    namespace: Namespace, shared_volume: Volume
) -> None:
    claim = {"resources": {"requests": {"storage": "100Mi"}}}
    storage = {"storage": {"volumeClaimTemplate": claim}}
    gated = GatedJob(namespace, shared_volume, partitionService=storage)
    gated.wait_until_inside()

    gated.job.patch(suspend=True)
    gated.job.wait_for_condition("Suspended")
    wait_for("all pods to be gone", lambda: not gated.job.pods())
    gated.open_gate()
    gated.job.patch(suspend=False)
    gated.job.wait_until_succeeded()

    gated.check_result()
    assert gated.count_attempts() == COUNT_TASKS


@pytest.mark.parametrize("output", [False, True])
def test_a_failed_job_that_is_retried_runs_what_was_missing_or_everything_with_an_output(
    namespace: Namespace, shared_volume: Volume, output: bool
) -> None:
    for number in range(4):
        shared_volume.write(f"input/{number}.txt", f"{number}\n")
    shared_volume.write("seen/.there", "")
    destination: dict[str, Any] = {"output": {"url": "/shared/results"}} if output else {}
    job = namespace.submit(
        discojob(
            "mended",
            job="mended:Mended",
            code=MENDED,
            inputs=["/shared/input/*.txt"],
            retries={"maxAttempts": 1},
            **destination,
        )
    )
    failed = job.wait_until_failed()
    assert "not mended" in failed["message"]

    shared_volume.write("mended", "")
    job.patch(retry=1)
    wait_for("the second run to begin", lambda: job.status().get("runs") == 1)
    job.wait_until_succeeded()

    assert job.status()["results"]["records"] == 1
    assert not output or results(shared_volume, "results") == {"sum": "6"}
    assert len(shared_volume.names("seen")) == (8 if output else 4)


def test_a_job_that_is_born_suspended_has_no_pods_until_it_is_resumed(
    namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume, suspend=True)
    gated.job.wait_for_condition("Suspended")
    assert not gated.job.pods()

    gated.open_gate()
    gated.job.patch(suspend=False)
    gated.job.wait_until_succeeded()

    gated.check_result()


def test_a_cancelled_job_ends_at_once_and_says_so(
    namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume)
    gated.wait_until_inside()

    gated.job.patch(cancel=True)
    gated.job.wait_for_phase("Cancelled")

    gated.job.wait_until_no_pods()
    assert gated.job.condition("Succeeded").get("status") != "True"
    assert "_SUCCESS" not in shared_volume.names("results")


def test_a_job_past_its_deadline_fails_and_names_it(
    namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume, activeDeadlineSeconds=20)

    failed = gated.job.wait_until_failed()

    assert failed["reason"] == "DeadlineExceeded"
    assert "20" in failed["message"]
    wait_for("the workers to be gone", lambda: not gated.job.pods("worker"))


def test_a_finished_job_with_a_time_to_live_leaves_without_a_trace(
    namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume, ttlSecondsAfterFinished=1)
    gated.open_gate()

    gated.job.wait_until_nothing_is_left()

    gated.check_result()


def test_a_job_can_be_deleted_while_there_is_no_operator_and_no_coordinator(
    namespace: Namespace, shared_volume: Volume, operator: Operator, cluster_nodes: Nodes
) -> None:
    gated = GatedJob(namespace, shared_volume)
    gated.wait_until_inside()
    (coordinator,) = gated.job.wait_for_pods("coordinator", 1)

    with operator.absent():
        cluster_nodes.kill(node_of(coordinator))
        namespace.kubectl("delete", "discojob", gated.job.name, "--timeout=60s")
        cluster_nodes.restore()  # until then nobody knows whether its pods have ended
        gated.job.wait_until_nothing_is_left()


def test_a_job_that_runs_needs_no_operator_to_finish_its_work(
    namespace: Namespace, shared_volume: Volume, operator: Operator
) -> None:
    gated = GatedJob(namespace, shared_volume)
    gated.wait_until_inside()

    with operator.absent():
        gated.open_gate()
        wait_for("the result", lambda: "_SUCCESS" in shared_volume.names("results"))

    gated.job.wait_until_succeeded()
    gated.check_result()
