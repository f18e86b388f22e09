"""The Lease object in the API server."""

from datetime import UTC, datetime

from disco_operator.api import Api, Reply, refusal
from disco_operator.lease import Lease
from disco_operator.model import MANAGER, Json

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # Kubernetes' MicroTime


class KubeLeases:
    """A ``LeaseStore`` over HTTP."""

    def __init__(self, api: Api, *, namespace: str, name: str) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def read(self, *, timeout_s: float) -> Lease | None:
        """Return the Lease; None: there is none."""
        path = f"{self._collection}/{self._name}"
        reply = await self._api.call("GET", path, timeout_s=timeout_s)
        return None if reply.status == 404 else self._lease(reply, "get")

    async def write(self, lease: Lease, *, timeout_s: float) -> Lease | None:
        """Create or replace it; return it as stored, None: somebody wrote or removed it first."""
        verb, path = ("PUT", f"{self._collection}/{self._name}")
        if not lease.version:
            verb, path = ("POST", self._collection)
        reply = await self._api.call(verb, path, body=self._body(lease), timeout_s=timeout_s)
        gone_or_newer = reply.status == 409 or (reply.status == 404 and verb == "PUT")
        return None if gone_or_newer else self._lease(reply, verb.lower())

    def _body(self, lease: Lease) -> Json:
        metadata = {
            "name": self._name,
            "namespace": self._namespace,
            "labels": {
                "app.kubernetes.io/name": "disco",
                "app.kubernetes.io/managed-by": MANAGER,
            },
        }
        if lease.version:
            metadata["resourceVersion"] = lease.version
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": lease.holder,
                "leaseDurationSeconds": lease.duration_s,
                "acquireTime": lease.acquired.strftime(_TIME),
                "renewTime": lease.renewed.strftime(_TIME),
                "leaseTransitions": lease.transitions,
            },
        }

    def _lease(self, reply: Reply, verb: str) -> Lease:
        if reply.status >= 400:
            raise refusal(reply, f"{verb} lease {self._namespace}/{self._name}")
        spec = reply.body.get("spec", {})
        return Lease(
            holder=spec.get("holderIdentity", ""),
            duration_s=spec.get("leaseDurationSeconds", 1),
            acquired=_time(spec.get("acquireTime")),
            renewed=_time(spec.get("renewTime")),
            transitions=spec.get("leaseTransitions", 0),
            version=reply.body["metadata"]["resourceVersion"],
        )


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.fromtimestamp(0, UTC)
