"""Questions to the API server and to the DNS of a cluster."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from .addresses import API_URL
from .common import Failure


def api_ready() -> bool:
    """Whether the API server is ready, as a machine sees it."""
    try:
        context = ssl.create_default_context(cafile="/var/lib/kube/ca.crt")
        with urllib.request.urlopen(f"{API_URL}/readyz", timeout=1, context=context) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


class Api:
    """The API server, spoken to as admin from inside the control plane's network."""

    def __init__(self, etc: Path) -> None:
        self.context = ssl.create_default_context(cafile=str(etc / "ca.crt"))
        self.context.load_cert_chain(etc / "admin.crt", etc / "admin.key")

    def __call__(
        self, path: str, body: dict[str, Any] | None = None, method: str | None = None
    ) -> Any:
        """GET `path`, or POST `body` there, or another method."""
        request = urllib.request.Request(
            API_URL + path,
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10, context=self.context) as reply:
            data = reply.read()
        return json.loads(data) if data.startswith(b"{") else data

    def watch(self, path: str) -> Iterator[dict[str, Any]]:
        """The objects at `path`, then every change of them, until the server ends it."""
        with urllib.request.urlopen(f"{API_URL}{path}?watch=1", context=self.context) as reply:
            for line in reply:
                yield json.loads(line)

    def create(self, path: str, body: dict[str, Any]) -> bool:
        """Create an object unless it exists; False while that cannot be done yet."""
        try:
            self(f"{path}/{body['metadata']['name']}")
        except urllib.error.HTTPError as absent:
            try:
                self(path, body)
            except urllib.error.HTTPError as error:
                if error.code in (403, 404, 409):
                    return False
                raise Failure(
                    f"POST {path} (after {absent.code}): {error.read().decode()}"
                ) from error
        return True

    def nodes_ready(self, booted: dict[str, float]) -> bool:
        """Whether all nodes can take pods, and have been heard of since they were booted."""
        leases = {
            lease["metadata"]["name"]: datetime.fromisoformat(
                lease["spec"]["renewTime"]
            ).timestamp()
            for lease in self("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")[
                "items"
            ]
        }
        waiting = []
        for node in self("/api/v1/nodes")["items"]:
            name, conditions = (
                node["metadata"]["name"],
                {c["type"]: c["status"] for c in node["status"].get("conditions", [])},
            )
            tainted = any(
                t["key"].startswith("node.kubernetes.io/") for t in node["spec"].get("taints", [])
            )
            if (
                conditions.get("Ready") != "True"
                or tainted
                or leases.get(name, 0) < booted.get(name, 0)
            ):
                waiting.append(name)
        if waiting:
            raise TimeoutError(f"not ready: {', '.join(waiting)}")
        return True


def dns_answers(server: str, name: str) -> bool:
    """Whether a DNS server knows an address for `name`."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.sendto(
            struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, 1, 1),
            (server, 53),
        )
        (answers,) = struct.unpack(">H", client.recv(512)[6:8])
        return bool(answers)
