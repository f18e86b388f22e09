"""The gateway as people reach it: with a ServiceAccount's token and the published certificate."""

import json
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from disco.client.aio import AsyncClient
from disco.client.connection import resolve
from harness.jobs import ready
from harness.kubectl import Api, Object, kubectl
from harness.namespaces import Namespace
from harness.release import NAMESPACE, RELEASE, Operator
from harness.waiting import wait_for

SERVICE = f"{RELEASE}-gateway"
HOST = f"{SERVICE}.{NAMESPACE}.svc"
ADDRESS = f"{HOST}:7070"
HTTP = f"https://{HOST}:7073"
_SELECTOR = f"app.kubernetes.io/name=disco-gateway,app.kubernetes.io/instance={RELEASE}"


class Gateway:
    """The gateway of the release.

    Attributes:
        ca_file: Its authority's certificate.
    """

    def __init__(self, api: Api, operator: Operator, folder: Path) -> None:
        self._api = api
        self._operator = operator
        self.ca_file = folder / "gateway-ca.crt"
        self.wait_until_ready()
        self._learn_whom_to_trust()

    def client(self, token: str, namespace: str, address: str = ADDRESS) -> AsyncClient:
        """Return a client that shows a token."""
        connection = resolve(
            server=address,
            token=token,
            namespace=namespace,
            ca_file=self.ca_file,
            server_name=HOST,
            environment={},
        )
        return AsyncClient(connection)

    def pods(self) -> Sequence[Object]:
        """Return its pods that nobody has asked to leave."""
        found = self._api.list("pods", NAMESPACE, _SELECTOR)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def kill(self, name: str) -> None:
        """Remove one of its pods without a chance to say goodbye, and wait for its successor."""
        self._api.delete("pods", NAMESPACE, name, grace_s=0)
        wait_for(f"pod {name} to be gone", lambda: not self._api.get("pods", NAMESPACE, name))
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return once all replicas of the newest version are ready."""

        def all_ready() -> bool:
            found = self._api.get("deployments", NAMESPACE, SERVICE)
            if found is None:
                return False
            replicas, status = found["spec"]["replicas"], found.get("status", {})
            current = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            pods = self._api.list("pods", NAMESPACE, _SELECTOR)
            alone = len(pods) == replicas == status.get("updatedReplicas", 0)
            return current and alone and all(map(ready, pods))

        wait_for("the gateway to be ready", all_ready)

    def logs(self, lines: int = 100) -> str:
        """Return the end of its logs."""
        options = ("--prefix", f"--tail={lines}", "--ignore-errors")
        return kubectl("-n", NAMESPACE, "logs", "-l", _SELECTOR, *options, check=False).stdout

    @contextmanager
    def configured(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Run the block with other values of the chart."""
        with self._operator.configured(values):
            self.wait_until_ready()
            self._learn_whom_to_trust()
            yield
        self.wait_until_ready()
        self._learn_whom_to_trust()

    def _learn_whom_to_trust(self) -> None:
        published = self._api.get("configmaps", NAMESPACE, f"{SERVICE}-ca")
        assert published is not None, "no certificate is published"
        self.ca_file.write_text(published["data"]["ca.crt"])

    def curl(self, method: str, path: str, token: str = "", body: Any = None) -> tuple[int, Any]:
        """Return status and answer of a call over HTTP, as curl makes it."""
        command = ["curl", "-sS", "--max-time", "60", "--cacert", str(self.ca_file), "-X", method]
        if token:
            command += ["-H", f"Authorization: Bearer {token}"]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        command += ["-w", "\n%{http_code}", f"{HTTP}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        text, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(text)


def token_of(namespace: Namespace, role: str | None = "edit", duration: str = "1h") -> str:
    """Make a ServiceAccount with a built-in role (None: none) and return a token of it."""
    account = f"person-{uuid.uuid4().hex[:6]}"
    namespace.kubectl("create", "serviceaccount", account)
    if role is not None:
        subject = f"--serviceaccount={namespace.name}:{account}"
        namespace.kubectl("create", "rolebinding", account, f"--clusterrole={role}", subject)
    made = namespace.kubectl("create", "token", account, f"--duration={duration}")
    return made.stdout.strip()
