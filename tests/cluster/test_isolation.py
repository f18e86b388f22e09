"""What a job may not do: to the cluster, and to other jobs."""

from textwrap import dedent

import pytest
from harness import pods
from harness.gated import SUM_TASKS, GatedJob
from harness.jobs import JOB_LABEL, ROLE_LABEL
from harness.kubectl import Api
from harness.namespaces import Namespace
from harness.release import Operator
from harness.settings import Settings
from harness.volumes import Volume
from harness.volumes import shared_volume as make_shared_volume

COORDINATOR_CALL = "disco.v1.Coordinator/Cancel"
PARTITION_SERVICE_CALL = "disco.v1.Partition/Stat"

# Calls another job's coordinator and partition service in every way that somebody might who owns
# a job of their own, and prints how each call ended.
INTRUDER = dedent(
    """\
    import os
    import grpc
    from pathlib import Path

    identity = Path("/job/identity")
    own = {name: (identity / name).read_bytes() for name in ("ca.crt", "tls.crt", "tls.key")}
    name = (("grpc.ssl_target_name_override", "disco-job"),)
    ways = {
        "plaintext": None,
        "anonymous": grpc.ssl_channel_credentials(own["ca.crt"]),
        "own certificate": grpc.ssl_channel_credentials(
            own["ca.crt"], own["tls.key"], own["tls.crt"]
        ),
    }
    token = (("authorization", f"Bearer {os.environ['DISCO_JOB_TOKEN']}"),)
    for target in os.environ["TARGETS"].split():
        address, method = target.split("/", 1)
        for way, credentials in ways.items():
            channel = (
                grpc.insecure_channel(address)
                if credentials is None
                else grpc.secure_channel(address, credentials, name)
            )
            call = channel.unary_unary(f"/{method}")
            try:
                call(b"", timeout=5, metadata=token)
                print("CALL", address, way, "ANSWERED")
            except grpc.RpcError as error:
                print("CALL", address, way, error.code().name, error.details())
    """
)


def test_every_pod_of_a_job_obeys_the_restricted_pod_security(
    namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume)
    gated.wait_until_inside()
    unlabelled = "pod-security.kubernetes.io/enforce"
    namespace.kubectl("label", "namespace", namespace.name, f"{unlabelled}-")

    labelled = namespace.kubectl(
        "label", "namespace", namespace.name, f"{unlabelled}=restricted", "--dry-run=server"
    )

    assert "violate" not in labelled.stderr
    assert {pod["metadata"]["labels"][ROLE_LABEL] for pod in gated.job.pods()} == {
        "coordinator",
        "partition-service",
        "worker",
    }


def test_no_pod_of_a_job_has_credentials_for_the_api_server(
    namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume)
    gated.wait_until_inside()

    for pod in gated.job.pods():
        mounts = [m["mountPath"] for c in pod["spec"]["containers"] for m in c["volumeMounts"]]
        assert not [path for path in mounts if "serviceaccount" in path]
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_a_job_in_a_namespace_where_the_operator_has_no_rights_says_so_and_runs_once_it_has(
    namespace: Namespace, shared_volume: Volume, other_namespace: Namespace, operator: Operator
) -> None:
    with operator.configured({"rbac": {"jobNamespaces": [other_namespace.name]}}):
        gated = GatedJob(namespace, shared_volume)
        condition = gated.job.wait_for_reason("Forbidden")
    gated.open_gate()
    gated.job.wait_until_succeeded()

    assert namespace.name in condition["message"]
    gated.check_result()


@pytest.mark.parametrize("policies", ["with the jobs' policies", "with all traffic allowed"])
def test_two_jobs_in_two_namespaces_cannot_reach_each_other(
    namespace: Namespace,
    shared_volume: Volume,
    other_namespace: Namespace,
    api: Api,
    cluster: Settings,
    image: str,
    policies: str,
) -> None:
    if policies == "with all traffic allowed":
        for space in (namespace, other_namespace):
            space.apply(_allow_everything())
    other_volume = make_shared_volume(api, other_namespace.name, image, cluster.local)
    victim = GatedJob(namespace, shared_volume, "victim")
    intruder = GatedJob(other_namespace, other_volume, "intruder")
    victim.wait_until_inside()
    intruder.wait_until_inside()
    targets = " ".join(
        (
            f"victim-coordinator.{namespace.name}.svc:7071/{COORDINATOR_CALL}",
            f"victim-ps-0.victim-ps.{namespace.name}.svc:7072/{PARTITION_SERVICE_CALL}",
        )
    )
    identity = intruder.job.identity()["metadata"]["name"]
    spec = pods.spec(
        image,
        INTRUDER,
        volumes=[pods.secret(identity, "/job/identity")],
        env={"TARGETS": targets},
        secret_env={"DISCO_JOB_TOKEN": (identity, "token")},
    )
    # With the labels of a worker, so that it may do all that a worker of its job may.
    labels = {JOB_LABEL: "intruder", ROLE_LABEL: "worker"}

    calls = _calls(pods.run(api, other_namespace.name, "probe", spec, labels))

    assert len(calls) == 6
    assert all("UNAVAILABLE" in call or "DEADLINE_EXCEEDED" in call for call in calls)
    for gated in (victim, intruder):
        gated.open_gate()
        gated.job.wait_until_succeeded()
        gated.check_result()


def test_the_token_is_asked_for_even_from_holders_of_the_jobs_own_certificate(
    namespace: Namespace, shared_volume: Volume, api: Api, image: str
) -> None:
    gated = GatedJob(namespace, shared_volume, "victim")
    gated.wait_until_inside()
    targets = " ".join(
        (
            f"victim-coordinator:7071/{COORDINATOR_CALL}",
            f"victim-ps-0.victim-ps:7072/{PARTITION_SERVICE_CALL}",
        )
    )
    spec = pods.spec(
        image,
        INTRUDER,
        volumes=[pods.secret(gated.job.identity()["metadata"]["name"], "/job/identity")],
        env={"TARGETS": targets, "DISCO_JOB_TOKEN": "guessed"},
    )

    labels = {JOB_LABEL: "victim", ROLE_LABEL: "worker"}
    calls = _calls(pods.run(api, namespace.name, "probe", spec, labels))

    assert len(calls) == 6
    for call in calls:
        assert ("UNAUTHENTICATED" if "own certificate" in call else "UNAVAILABLE") in call


def test_the_identity_of_a_job_is_immutable_and_not_that_of_its_successor(
    namespace: Namespace, shared_volume: Volume
) -> None:
    first = GatedJob(namespace, shared_volume, "again")
    first.wait_until_inside()
    before = first.job.identity()
    first.job.delete()
    first.job.wait_until_nothing_is_left()

    second = GatedJob(namespace, shared_volume, "again", output={"url": "/shared/again"})
    second.open_gate()
    second.wait_until_inside(SUM_TASKS)
    after = second.job.identity()

    assert before["immutable"] is True
    for key in ("token", "ca.crt", "tls.key"):
        assert before["data"][key] != after["data"][key]


def _calls(printed: str) -> list[str]:
    """Return how the intruder's calls ended; gRPC logs between them."""
    return [line for line in printed.splitlines() if line.startswith("CALL ")]


def _allow_everything() -> dict[str, object]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "allow-everything"},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}],
            "egress": [{}],
        },
    }
