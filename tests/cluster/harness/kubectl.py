"""The cluster as kubectl, and the API server behind it, show it."""

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON."""

READ_PATIENCE_S = 60.0

_GROUPS = {
    "pods": "/api/v1",
    "services": "/api/v1",
    "secrets": "/api/v1",
    "serviceaccounts": "/api/v1",
    "configmaps": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "nodes": "/api/v1",
    "namespaces": "/api/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "events": "/apis/events.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "discojobs": "/apis/discoproject.org/v1alpha1",
}


def kubectl(
    *args: str, stdin: str | bytes | None = None, check: bool = True, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run kubectl.

    Raises:
        AssertionError: It failed, and *check* says that it must not.
    """
    done = subprocess.run(
        ["kubectl", *args],
        input=stdin.decode() if isinstance(stdin, bytes) else stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert not check or done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr.strip()}"
    return done


class RefusedError(AssertionError):
    """The API server did not do what it was asked to.

    Attributes:
        code: The HTTP status; from 500 on nothing is wrong with the question.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """Reads and small writes, through a ``kubectl proxy``.

    A kubectl per question would take a third of a second of processor time, and tests ask a lot.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """Return an object; None: there is none of this name."""
        return self._read(f"{_path(kind, namespace)}/{name}")

    def list(self, kind: str, namespace: str | None, labels: str = "") -> Sequence[Object]:
        """Return the objects that a label selector matches."""
        query = f"?labelSelector={quote(labels)}" if labels else ""
        found = self._read(_path(kind, namespace) + query)
        return () if found is None else found["items"]

    def create(self, kind: str, namespace: str | None, body: Object) -> Object:
        """Create an object and return it as the API server has it."""
        created = self._request("POST", _path(kind, namespace), body)
        assert created is not None, f"namespace {namespace} is gone"
        return created

    def patch(self, kind: str, namespace: str | None, name: str, body: Mapping[str, Any]) -> Object:
        """Merge *body* into an object and return it as the API server has it."""
        path = f"{_path(kind, namespace)}/{name}"
        patched = self._request("PATCH", path, body, "application/merge-patch+json")
        assert patched is not None, f"there is no {kind}/{name} to patch"
        return patched

    def delete(
        self, kind: str, namespace: str | None, name: str, grace_s: int | None = None
    ) -> None:
        """Ask for an object's deletion, if it is there; *grace_s* 0: at once."""
        options = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        body = {"propagationPolicy": "Background", **options}
        self._request("DELETE", f"{_path(kind, namespace)}/{name}", body)

    def evict(self, namespace: str, name: str) -> None:
        """Ask a pod to leave, as a drain of its node does: not without its disruption budget."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        self._request("POST", f"{_path('pods', namespace)}/{name}/eviction", body)

    def _read(self, path: str) -> Object | None:
        """Ask until there is an answer: an API server that is busy, or started again, has none."""
        end = time.monotonic() + READ_PATIENCE_S
        while True:
            try:
                return self._request("GET", path)
            except RefusedError as error:
                if error.code < 500 or time.monotonic() >= end:
                    raise
            except OSError:  # no connection, or none any more
                if time.monotonic() >= end:
                    raise
            time.sleep(0.5)

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Object | None:
        request = urllib.request.Request(
            self._url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": content_type},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                answer: Object = json.load(reply)
                return answer
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            said = _message(error.read())
            raise RefusedError(error.code, f"{method} {path}: {error.code}: {said}") from error


def _message(body: bytes) -> str:
    """Return what an API server says about an error, or a proxy in front of one that is away."""
    try:
        said: str = json.loads(body).get("message", "")
    except ValueError:
        return body.decode(errors="replace")
    return said


def _path(kind: str, namespace: str | None) -> str:
    return f"{_GROUPS[kind]}{f'/namespaces/{namespace}' if namespace else ''}/{kind}"


def own_address() -> str:
    """Return this machine's address towards the API server; pods of ``kube/`` reach it there."""
    field = "jsonpath={.clusters[0].cluster.server}"
    server = urlsplit(kubectl("config", "view", "--minify", "-o", field).stdout)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
        towards.connect((server.hostname, server.port or 443))
        return str(towards.getsockname()[0])


@contextmanager
def proxy() -> Iterator[Api]:
    """Serve the API on loopback while the block runs, with the rights of KUBECONFIG."""
    command = ["kubectl", "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            address = re.search(r"127\.0\.0\.1:\d+", said)
            assert address is not None, f"kubectl proxy does not serve: {said}"
            yield Api(f"http://{address[0]}")
        finally:
            process.terminate()
