"""The chart, rendered by helm as a user's values would have it."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object."""

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "disco"
NAMESPACE = "disco-system"

VALUE_SETS: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    "one namespace": {"watch": {"namespaces": ["team-a"]}},
    "namespaces, jobs in one of them": {
        "watch": {"namespaces": ["team-a", "team-b"]},
        "rbac": {"jobNamespaces": ["team-b"]},
    },
    "the cluster, jobs in two namespaces": {"rbac": {"jobNamespaces": ["team-a", "team-b"]}},
    "nothing but the operator": {
        "replicas": 1,
        "rbac": {"create": False, "userRoles": False},
        "serviceAccount": {"create": False, "name": "ours"},
        "crd": {"install": False},
        "admissionPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "resources": {},
        "topologySpreadConstraints": [],
        "test": {"enabled": False},
        "gateway": {"enabled": False},
    },
    "a gateway for the world": {
        "gateway": {
            "replicas": 3,
            "defaultNamespace": "jobs",
            "service": {"type": "LoadBalancer", "annotations": {"example.org/internal": "false"}},
            "tls": {"extraNames": ["disco.example.org", "192.0.2.7"]},
            "codeStore": {
                "url": "file:///code",
                "volume": {"persistentVolumeClaim": {"claimName": "code"}},
            },
            "clientsFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 9000}]}],
            "extraEnv": [{"name": "AWS_REGION", "value": "eu-central-1"}],
            "serviceAccountAnnotations": {"example.org/role": "code"},
        },
    },
    "everything": {
        "fullnameOverride": "jobs",
        "image": {"repository": "registry.example/disco", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "registry"}],
        "jobImage": "registry.example/disco-jobs:1",
        "logLevel": "debug",
        "serviceAccount": {"annotations": {"example.org/role": "disco"}},
        "crd": {"keep": False},
        "podDisruptionBudget": {"maxUnavailable": "50%"},
        "networkPolicy": {"metricsFrom": [{"namespaceSelector": {}}], "apiServerPorts": [443]},
        "monitoring": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"pool": "control"},
        "tolerations": [{"key": "control", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"own": "selector"}},
            }
        ],
        "podLabels": {"team": "data"},
        "podAnnotations": {"example.org/why": "metrics"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraLabels": {"cost-center": "7"},
        "extraAnnotations": {"example.org/owner": "data"},
        "test": {"namespace": "team-c", "timeoutSeconds": 60},
        "gateway": {"tls": {"secretName": "disco-tls"}, "serviceAccountName": "door"},
    },
    "pod monitor": {"monitoring": {"podMonitor": {"enabled": True}}},
}
"""What the chart is rendered with: every switch in both positions."""


@dataclass(frozen=True)
class Rendered:
    """The objects of a release."""

    objects: tuple[Object, ...]

    def all(self, *kinds: str) -> tuple[Object, ...]:
        """Return the objects of these kinds."""
        return tuple(found for found in self.objects if found["kind"] in kinds)

    def one(self, kind: str, name: str | None = None) -> Object:
        """Return the only object of that kind (and name)."""
        (found,) = (o for o in self.all(kind) if name in (None, o["metadata"]["name"]))
        return found

    def of(self, kind: str, app: str = "disco-operator") -> Object:
        """Return the only object of that kind that belongs to the operator, or to another *app*."""
        label = "app.kubernetes.io/name"
        (found,) = (o for o in self.all(kind) if o["metadata"]["labels"][label] == app)
        return found


@dataclass(frozen=True)
class Helm:
    """The helm program."""

    program: str

    def render(
        self,
        values: Mapping[str, Any] | None = None,
        release: str = "disco",
        kubernetes: str | None = None,
    ) -> Rendered:
        """Return what ``helm install`` would create, and what ``helm test`` would.

        Args:
            values: What is set.
            release: Its name.
            kubernetes: Version of the API server; None: the newest that helm knows.
        """
        version = ("--kube-version", kubernetes) if kubernetes else ()
        command = ("template", release, str(CHART), "--namespace", NAMESPACE, *version)
        text = self._run(*command, values=values)
        return Rendered(tuple(found for found in yaml.safe_load_all(text) if found))

    def lint(self, values: Mapping[str, Any]) -> str:
        """Return what ``helm lint`` says, if it is content."""
        return self._run("lint", "--strict", str(CHART), values=values)

    def refusal(self, values: Mapping[str, Any]) -> str:
        """Return why helm does not take these values."""
        done = self._attempt("template", "disco", str(CHART), values=values)
        assert done.returncode != 0, f"accepted: {values}"
        return done.stderr

    def notes(self, values: Mapping[str, Any] | None = None) -> str:
        """Return what ``helm install`` says when it is done."""
        options = ("--namespace", NAMESPACE, "--dry-run=client", "--hide-secret")
        text = self._run("install", "disco", str(CHART), *options, values=values)
        return text.partition("NOTES:\n")[2]

    def _run(self, *command: str, values: Mapping[str, Any] | None) -> str:
        done = self._attempt(*command, values=values or {})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _attempt(
        self, *command: str, values: Mapping[str, Any]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *command, "--values", "-"],
            input=json.dumps(values),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Helm, from the PATH or as the test cluster's tool has built it."""
    cache = Path(os.environ.get("KUBE_CACHE") or Path.home() / ".cache/disco-kube")
    program = shutil.which("helm", path=os.pathsep.join((os.environ["PATH"], str(cache / "bin"))))
    if program is not None:
        return Helm(program)
    message = "no helm on the PATH; `tests/cluster/kube/kube build` makes one"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session", params=[*VALUE_SETS.values()], ids=[*VALUE_SETS])
def values(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Each of the sets of values."""
    chosen: Mapping[str, Any] = request.param
    return chosen


@pytest.fixture(scope="session")
def defaults(helm: Helm) -> Rendered:
    """The chart with no values set."""
    return helm.render()


@pytest.fixture(scope="session")
def rendered(helm: Helm, values: Mapping[str, Any]) -> Rendered:
    """The chart with each of the sets of values."""
    return helm.render(values)
