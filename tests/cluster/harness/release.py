"""The operator, installed by the chart as a user would."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from harness.jobs import ready
from harness.kubectl import Api, Object, kubectl
from harness.settings import CHART
from harness.waiting import wait_for

NAMESPACE = "disco-system"
RELEASE = "disco"
DEPLOYMENT = f"{RELEASE}-operator"
_SELECTOR = f"app.kubernetes.io/name=disco-operator,app.kubernetes.io/instance={RELEASE}"


class Operator:
    """The release and its pods."""

    def __init__(self, api: Api, image: str) -> None:
        self._api = api
        repository, _, tag = image.rpartition(":")
        self._image = {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}

    def install(self) -> None:
        """Install the chart, or bring what is installed up to date, and wait until it is ready."""
        known = self._api.get("namespaces", None, NAMESPACE)
        if known is None:
            labels = {"pod-security.kubernetes.io/enforce": "restricted"}
            body = {"metadata": {"name": NAMESPACE, "labels": labels}}
            self._api.create("namespaces", None, body)
        before = self._api.get("deployments", NAMESPACE, DEPLOYMENT)
        self._upgrade({})
        if before is not None:  # the image may be another one under the same name
            kubectl("-n", NAMESPACE, "rollout", "restart", "deployment")
        self.wait_until_ready()

    @contextmanager
    def configured(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Run the block with other values of the chart."""
        self._upgrade(values)
        try:
            self.wait_until_ready()
            yield
        finally:
            self._upgrade({})
            self.wait_until_ready()

    def pods(self) -> Sequence[Object]:
        """Return its pods that nobody has asked to leave."""
        found = self._api.list("pods", NAMESPACE, _SELECTOR)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def kill(self) -> None:
        """Remove all of its pods without a chance to say goodbye; Kubernetes makes new ones."""
        for pod in self.pods():
            self._api.delete("pods", NAMESPACE, pod["metadata"]["name"], grace_s=0)

    @contextmanager
    def absent(self) -> Iterator[None]:
        """Run the block without an operator."""
        before = self._deployment()["spec"]["replicas"]
        self._scale(0)
        try:
            wait_for("the operator to be gone", lambda: not self._all_pods())
            yield
        finally:
            self._scale(before)
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return once the newest version runs, and a pod of it leads (only the leader is ready)."""

        def led() -> bool:
            found = self._deployment()
            status = found.get("status", {})
            current = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            updated = status.get("updatedReplicas", 0) >= found["spec"]["replicas"]
            alone = len(self._all_pods()) == found["spec"]["replicas"]
            return current and updated and alone and any(map(ready, self.pods()))

        wait_for("the operator to be ready", led)

    def logs(self, lines: int = 60) -> str:
        """Return the end of its logs."""
        options = ("--prefix", f"--tail={lines}", "--ignore-errors")
        return kubectl("-n", NAMESPACE, "logs", "-l", _SELECTOR, *options, check=False).stdout

    def _all_pods(self) -> Sequence[Object]:
        return self._api.list("pods", NAMESPACE, _SELECTOR)

    def _deployment(self) -> Object:
        found = self._api.get("deployments", NAMESPACE, DEPLOYMENT)
        assert found is not None, f"deployment {DEPLOYMENT} is gone"
        return found

    def _scale(self, replicas: int) -> None:
        self._api.patch("deployments", NAMESPACE, DEPLOYMENT, {"spec": {"replicas": replicas}})

    def _upgrade(self, values: Mapping[str, Any]) -> None:
        done = subprocess.run(
            ["helm", "upgrade", "--install", RELEASE, str(CHART), "-n", NAMESPACE, "-f", "-"],
            input=json.dumps({"image": self._image, **values}),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"helm upgrade: {done.stdout}{done.stderr}"
