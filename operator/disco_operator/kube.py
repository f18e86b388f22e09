"""The real API server, and the one place where its answers become ours.

Every write asks the fence first, and must be done before another replica may lead.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Protocol
from uuid import uuid4

from disco_operator.api import (
    APPLY_PATCH,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    TIMEOUT_S,
    Api,
    Reply,
    refusal,
)
from disco_operator.cache import slim
from disco_operator.cluster import (
    RESOURCES,
    ClusterError,
    FencedError,
    Kind,
    Listing,
    UnavailableError,
    kind_of,
)
from disco_operator.model import API_VERSION, GROUP, MANAGER, Json

log = logging.getLogger(__name__)

PAGE = 100
"""Objects per answer of a list. Nothing else runs while one is decoded: 15 ms with so many pods."""
JOBS_PAGE = 20
"""The same for DiscoJobs, which may have a megabyte each and are slimmed before the next page."""

NOTE_BYTES = 1000  # events.k8s.io refuses notes of more than 1 kB


class Fence(Protocol):
    """Whether this process may write."""

    def allowance_s(self) -> float:
        """Return how long a write may take that begins now; 0 or less: it must not begin."""


class OpenFence:
    """Lets every write through: for what is safe whoever does it, such as creating a Secret."""

    def allowance_s(self) -> float:
        """Return more than any call takes."""
        return TIMEOUT_S


class KubeCluster:
    """A ``Cluster`` over HTTP.

    Args:
        api: The connection.
        fence: Asked before every write.
        instance: Name of this process in events.
    """

    def __init__(self, api: Api, *, fence: Fence, instance: str) -> None:
        self._api = api
        self._fence = fence
        self._instance = instance

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Return an object; None: there is none."""
        reply = await self._api.call("GET", path_of(kind, namespace, name))
        if reply.status == 404:
            return None
        return _accepted(reply, f"get {kind} {namespace}/{name}")

    async def list(self, kind: Kind, namespace: str | None, *, labels: str = "") -> Listing:
        """Return all objects of *kind* in *namespace* (None: everywhere) that match *labels*."""
        items: list[Json] = []
        resource = RESOURCES[kind]
        page = JOBS_PAGE if kind is Kind.DISCOJOB else PAGE
        query = {"limit": str(page)} | ({"labelSelector": labels} if labels else {})
        what = f"list {kind} in {namespace or 'all namespaces'}"
        while True:
            reply = await self._api.call("GET", path_of(kind, namespace), query=query)
            if reply.status == 404:
                raise UnavailableError(f"{what}: no such kind; is its CRD installed?")
            answer = _accepted(reply, what)  # 410: we paged too slowly; the caller starts again
            for item in answer["items"]:  # lists leave out what all items have in common
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
                items.append(slim(item))
            metadata = answer["metadata"]
            if not metadata.get("continue"):
                break
            query["continue"] = metadata["continue"]
        return Listing(items, metadata["resourceVersion"])

    async def create(self, manifest: Json) -> Json | None:
        """Create an object and return it; None: one of that name exists, and stays as it is."""
        kind, namespace, name = _named(manifest)
        what = f"create {kind} {namespace}/{name}"
        reply = await self._write(
            "POST", path_of(kind, namespace), what=what, query={"fieldManager": MANAGER},
            body=manifest,
        )  # fmt: skip
        if reply.reason == "AlreadyExists":
            return None
        return _accepted(reply, what)

    async def apply(self, manifest: Json) -> Json:
        """Make an object have what *manifest* says (server-side apply, forced); return it."""
        kind, namespace, name = _named(manifest)
        what = f"apply {kind} {namespace}/{name}"
        reply = await self._write(
            "PATCH", path_of(kind, namespace, name), what=what,
            query={"fieldManager": MANAGER, "force": "true"}, body=manifest,
            content_type=APPLY_PATCH,
        )  # fmt: skip
        return _accepted(reply, what)

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        """Change how many pods a workload has, and nothing else; it may be gone."""
        what = f"scale {kind} {namespace}/{name}"
        reply = await self._write(
            "PATCH", path_of(kind, namespace, name), what=what,
            query={"fieldManager": MANAGER}, body={"spec": {"replicas": replicas}},
            content_type=MERGE_PATCH,
        )  # fmt: skip
        if reply.status != 404:
            _accepted(reply, what)

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """Delete an object, and in the background what it owns."""
        options: Json = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        what = f"delete {kind} {namespace}/{name}"
        reply = await self._write("DELETE", path_of(kind, namespace, name), what=what, body=options)
        if reply.status not in (404, 409):  # gone, or another object by now
            _accepted(reply, what)

    async def write_status(self, namespace: str, name: str, uid: str, status: Json) -> Json | None:
        """Replace the status of a DiscoJob by *status*; None: that job is gone.

        A JSON patch with a test is the only way to name the job we mean: in other bodies sent to
        the status of a custom resource, the API server ignores ``metadata.uid``.
        """
        what = f"write the status of {Kind.DISCOJOB} {namespace}/{name}"
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/status", "value": without_none(status)},
        ]
        reply = await self._write(
            "PATCH", path_of(Kind.DISCOJOB, namespace, name) + "/status", what=what,
            query={"fieldManager": MANAGER}, body=patch, content_type=JSON_PATCH,
        )  # fmt: skip
        if reply.status == 404:
            return None
        if reply.status == 422:  # either the test failed, or the schema refuses our status
            job = await self.get(Kind.DISCOJOB, namespace, name)
            if job is None or job["metadata"]["uid"] != uid:
                return None
        _accepted(reply, what)
        return reply.body

    async def post_event(
        self, job: Json, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Post an event about *job*; a failure is logged, never raised."""
        event = event_about(
            job, kind, reason, message, now=datetime.now(UTC), instance=self._instance
        )
        metadata = event["metadata"]
        path = f"/apis/events.k8s.io/v1/namespaces/{metadata['namespace']}/events"
        what = f"post event {reason}"
        try:
            _accepted(await self._write("POST", path, what=what, body=event), what)
        except ClusterError as error:
            log.warning(
                "event not posted",
                extra={"job": f"{metadata['namespace']}/{job['metadata']['name']}",
                       "reason": reason, "error": str(error)},
            )  # fmt: skip

    async def _write(
        self,
        method: str,
        path: str,
        *,
        what: str,
        body: Any,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> Reply:
        allowance_s = self._fence.allowance_s()
        if allowance_s <= 0:
            raise FencedError(f"{what}: this replica does not hold the lease")
        return await self._api.call(
            method, path, query=query, body=body, content_type=content_type,
            timeout_s=min(TIMEOUT_S, allowance_s),
        )  # fmt: skip


def path_of(kind: Kind, namespace: str | None, name: str = "") -> str:
    """Return the path of a kind's objects (of all namespaces: None), or of one of them."""
    resource = RESOURCES[kind]
    group = resource.api_version
    path = f"/apis/{group}" if "/" in group else f"/api/{group}"
    if resource.namespaced and namespace is not None:
        path += f"/namespaces/{namespace}"
    path += f"/{kind.plural}"
    return f"{path}/{name}" if name else path


def without_none(value: Any) -> Any:
    """Return *value* without the None values of its mappings."""
    if isinstance(value, dict):
        return {name: without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    return value


def event_about(
    job: Json,
    kind: Literal["Normal", "Warning"],
    reason: str,
    message: str,
    *,
    now: datetime,
    instance: str,
) -> Json:
    """Return the Event object that tells *message* about *job*."""
    metadata = job["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            # kubectl lists events by name, since they have no lastTimestamp.
            "name": f"{metadata['name']}.{int(now.timestamp() * 1e6):014x}{uuid4().hex[:6]}",
            "namespace": metadata["namespace"],
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": kind,
        "reason": reason,
        "action": "Reconcile",
        "note": _shortened(message),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "DiscoJob",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": instance,
    }


def _shortened(message: str) -> str:
    data = message.encode()
    if len(data) <= NOTE_BYTES:
        return message
    return data[: NOTE_BYTES - 4].decode(errors="ignore") + " …"


def _named(manifest: Json) -> tuple[Kind, str, str]:
    metadata = manifest["metadata"]
    return kind_of(manifest), metadata.get("namespace", ""), metadata["name"]


def _accepted(reply: Reply, what: str) -> Json:
    if reply.status >= 400:
        raise refusal(reply, what)
    return reply.body
