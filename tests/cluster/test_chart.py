"""The chart on a real API server: what it renders, and the life of a release."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from harness.jobs import RunningJob, discojob, ready
from harness.kubectl import Api, Object, kubectl
from harness.namespaces import Namespace
from harness.release import Operator
from harness.settings import CHART
from harness.waiting import wait_for

RELEASE = "disco-nightly"
OPERATOR = f"{RELEASE}-operator"
LABEL = f"app.kubernetes.io/instance={RELEASE}"

# They need definitions of the Prometheus operator's.
MONITORS = ("ServiceMonitor", "PodMonitor")

COUNT = """\
from disco import Job


class Count(Job):
    partitions = 1

    @staticmethod
    def map(text, params):
        yield len(text), 1

    @staticmethod
    def reduce(pairs, params):
        return pairs
"""


def _helm(*arguments: str, values: Mapping[str, Any] | None = None) -> str:
    done = subprocess.run(
        ["helm", *arguments, *(("--values", "-") if values is not None else ())],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"helm {arguments[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def _manifest(name: str, **spec: Any) -> Object:
    inputs = ["raw://one two three"]
    return discojob(name, job="count:Count", code=COUNT, shared=False, inputs=inputs, **spec)


def _values(namespace: Namespace, image: str) -> Object:
    """Return the values of an operator for one namespace, beside the cluster's own."""
    repository, _, tag = image.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag},
        "watch": {"namespaces": [namespace.name]},
        "crd": {"install": False},
    }


def _left_of(api: Api, namespace: str) -> list[str]:
    """Return what there is of the release, as "kind/name", but for pods that are leaving."""
    kinds = "all,sa,roles,rolebindings,networkpolicies,poddisruptionbudgets,clusterroles"
    policies = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    which = (f"{kinds},{policies}", "-l", LABEL)
    found = kubectl("-n", namespace, "get", *which, "-o", "name").stdout.split()
    return [name for name in found if not name.startswith(("pod/", "replicaset."))]


@pytest.mark.parametrize("scope", ["cluster", "namespaced", "jobs in one namespace"])
def test_the_api_server_accepts_every_object(namespace: Namespace, image: str, scope: str) -> None:
    values: Object = {
        "cluster": {"monitoring": {"serviceMonitor": {"enabled": True}}},
        "namespaced": _values(namespace, image),
        "jobs in one namespace": {"rbac": {"jobNamespaces": [namespace.name]}, "replicas": 1},
    }[scope]
    text = _helm("template", RELEASE, str(CHART), "-n", namespace.name, values=values)
    objects = [found for found in yaml.safe_load_all(text) if found]
    for found in objects:
        if found["kind"] == "Pod":  # a dry run leaves no ServiceAccount for the next object
            found["spec"]["serviceAccountName"] = "default"
    known = [found for found in objects if found["kind"] not in MONITORS]

    # The definition belongs to another release, and only there is its place.
    applied = kubectl(
        *("apply", "--server-side", "--dry-run=server", "--force-conflicts", "--validate=strict"),
        *("-f", "-"),
        stdin=yaml.safe_dump_all(known),
    )

    assert len(applied.stdout.splitlines()) == len(known)
    assert "would violate PodSecurity" not in applied.stderr
    assert len(objects) - len(known) == (2 if scope == "cluster" else 0)


@pytest.fixture
def released(api: Api, operator: Operator, namespace: Namespace, image: str) -> Iterator[Namespace]:
    """A namespace with an operator of its own, while that of the cluster is away."""
    with operator.absent():
        install = ("install", RELEASE, str(CHART), "-n", namespace.name, "--wait")
        _helm(*install, "--timeout", "3m", values=_values(namespace, image))
        yield namespace
        _helm("uninstall", RELEASE, "-n", namespace.name, "--wait", "--ignore-not-found")


def _operators(api: Api, namespace: str) -> list[Object]:
    labels = f"app.kubernetes.io/name=disco-operator,{LABEL}"
    found = api.list("pods", namespace, labels)
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def _leader(api: Api, namespace: str) -> str:
    """Return the pod that holds the Lease, "" if it is none of those that run."""
    lease = api.get("leases", namespace, OPERATOR)
    holder = str(lease["spec"].get("holderIdentity", "")) if lease else ""
    names = [pod["metadata"]["name"] for pod in _operators(api, namespace)]
    return next((name for name in names if name in holder), "")


def test_a_release_is_installed_tested_upgraded_and_uninstalled(
    api: Api, released: Namespace, image: str
) -> None:
    space = released.name
    # helm has waited: the standby is ready as well, although only one leads.
    pods = _operators(api, space)
    assert [ready(pod) for pod in pods] == [True, True]
    wait_for("a replica to lead", lambda: _leader(api, space))

    said = _helm("test", RELEASE, "-n", space, "--logs", "--timeout", "5m")
    assert "The job counted its words and succeeded." in said
    assert api.list("discojobs", space) == []
    assert api.get("pods", space, f"{RELEASE}-test") is None

    before = released.submit(_manifest("before"))
    before.wait_until_succeeded()
    keepers = [pod["metadata"]["uid"] for pod in before.pods("partition-service")]
    waiting = released.submit(_manifest("waiting", suspend=True, image=image))
    waiting.wait_for_condition("Suspended")
    key = api.get("secrets", space, "disco-operator-key")
    values = {**_values(released, image), "replicas": 1, "logLevel": "debug"}
    values["jobImage"] = "registry.invalid/nobody/nothing:1"
    _helm("upgrade", RELEASE, str(CHART), "-n", space, "--wait", "--timeout", "3m", values=values)
    (pod,) = wait_for(
        "the upgrade to leave one pod",
        lambda: pods if len(pods := _operators(api, space)) == 1 else [],
    )
    assert "--log-level=DEBUG" in pod["spec"]["containers"][0]["args"]
    wait_for("the new pod to lead", lambda: _leader(api, space))
    assert api.get("secrets", space, "disco-operator-key") == key
    waiting.patch(suspend=False)
    waiting.wait_until_succeeded()
    assert [pod["metadata"]["uid"] for pod in before.pods("partition-service")] == keepers

    _helm("uninstall", RELEASE, "-n", space, "--wait")
    assert _left_of(api, space) == []
    _assert_kept(waiting)
    assert api.get("secrets", space, "disco-operator-key") == key


def _assert_kept(job: RunningJob) -> None:
    """The definition and the jobs are the users'."""
    kubectl("get", "crd", "discojobs.discoproject.org")
    assert job.status()["phase"] == "Succeeded"
    assert job.pods("partition-service"), "the results are gone"


def test_a_test_that_fails_says_why(api: Api, released: Namespace) -> None:
    """A quota without room stands for all that can be in a job's way."""
    quota: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-room"},
        "spec": {"hard": {"count/statefulsets.apps": "0"}},
    }
    released.apply(quota)
    values = {"test": {"timeoutSeconds": 20}}
    reuse = ("--reuse-values", "--wait", "--timeout", "3m")
    _helm("upgrade", RELEASE, str(CHART), "-n", released.name, *reuse, values=values)

    test = ["helm", "test", RELEASE, "-n", released.name, "--logs", "--timeout", "3m"]
    done = subprocess.run(test, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode != 0
    assert "exceeded quota: no-room" in done.stdout + done.stderr
    assert api.list("discojobs", released.name) == []
