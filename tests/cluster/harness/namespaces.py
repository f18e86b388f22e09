"""A namespace of one test's own, and what it does there."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from harness.jobs import JOB_LABEL, RunningJob, wait_until_childless
from harness.kubectl import Api, Object, kubectl
from harness.waiting import wait_for


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace under the restricted pod security."""

    api: Api
    name: str

    @classmethod
    def create(cls, api: Api, purpose: str) -> Self:
        """Create one whose name opens with *purpose*."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        body = {"metadata": {"generateName": f"{purpose}-", "labels": labels}}
        name = api.create("namespaces", None, body)["metadata"]["name"]
        # No pod is admitted before it is there.
        wait_for(
            f"the account of pods in {name}", lambda: api.get("serviceaccounts", name, "default")
        )
        return cls(api, name)

    def kubectl(
        self, *args: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl in this namespace."""
        return kubectl("--namespace", self.name, *args, stdin=stdin, check=check)

    def apply(
        self, manifest: Mapping[str, Any] | Path, *options: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run ``kubectl apply`` with a manifest, or a file of them."""
        text = manifest.read_text() if isinstance(manifest, Path) else json.dumps(manifest)
        return self.kubectl("apply", *options, "-f", "-", stdin=text, check=check)

    def submit(self, manifest: Mapping[str, Any]) -> RunningJob:
        """Apply a DiscoJob and return the way to follow it."""
        self.apply(manifest)
        return RunningJob(self.api, self.name, manifest["metadata"]["name"])

    def config_map(self, name: str, files: Mapping[str, str]) -> None:
        """Create a ConfigMap of files."""
        body: Object = {"metadata": {"name": name}, "data": dict(files)}
        self.api.create("configmaps", self.name, body)

    def leave(self) -> None:
        """Delete the jobs, see that nothing is left of them, then delete the namespace."""
        try:
            for job in self.api.list("discojobs", self.name):
                self.api.delete("discojobs", self.name, job["metadata"]["name"])
            self._hurry()
            wait_until_childless(self.api, self.name)
        finally:
            self.remove()

    def _hurry(self) -> None:
        """Do not let workers drain, once nobody would replace them."""
        workloads = ("deployments", "replicasets", "statefulsets")
        wait_for(
            f"the workloads of {self.name} to be gone",
            lambda: not any(self.api.list(kind, self.name, JOB_LABEL) for kind in workloads),
        )
        for pod in self.api.list("pods", self.name, JOB_LABEL):
            self.api.delete("pods", self.name, pod["metadata"]["name"], grace_s=0)

    def remove(self) -> None:
        """Delete the namespace with all that is in it."""
        self.api.delete("namespaces", None, self.name)
