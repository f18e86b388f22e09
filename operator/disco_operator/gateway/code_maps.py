"""Uploaded code in ConfigMaps of the gateway's own namespace, shared by all replicas.

What no submission has asked for in an hour is removed by whichever replica looks first.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from disco_gateway.errors import OverloadedError, UnavailableError
from disco_operator.api import MERGE_PATCH, METADATA_LIST_ONLY, METADATA_ONLY, Api, Reply
from disco_operator.cluster import Kind
from disco_operator.cluster import UnavailableError as ClusterUnavailableError
from disco_operator.gateway.submission import PART_BYTES
from disco_operator.kube import path_of
from disco_operator.model import GATEWAY, GROUP, Json, read_time, written_time
from disco_operator.names import CODE_KEY

log = logging.getLogger(__name__)

FOR_LABEL = f"{GROUP}/code-for"
"""Fingerprint of the namespace that code was uploaded to: names may be longer than labels."""
ASKED_ANNOTATION = f"{GROUP}/asked-for"
KEPT_FOR = timedelta(hours=1)
ASKED_AGAIN = timedelta(minutes=20)
"""A submission that has found the code has at least the rest of the hour."""
SWEEP_S = 600.0
MAX_WAITING = 64
"""Uploads to one namespace that wait at the same time: all lie in the cluster's own store."""


class ConfigMapCodeStore:
    """Code in ConfigMaps.

    Args:
        api: With the gateway's own rights.
        home: The gateway's namespace.
        max_bytes: The most that one upload may have; a ConfigMap has no room for more than 900,000.
        now: The time.
    """

    def __init__(
        self,
        api: Api,
        home: str,
        *,
        max_bytes: int = PART_BYTES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._home = home
        self._max_bytes = min(max_bytes, PART_BYTES)
        self._now = now

    @property
    def max_bytes(self) -> int:
        """The most that one upload may have."""
        return self._max_bytes

    async def has(self, namespace: str, sha256: str) -> bool:
        """Return whether the code is there; then it stays for long enough to submit a job."""
        path = self._path(_name(namespace, sha256))
        reply = await self._call("GET", path, accept=METADATA_ONLY)
        if reply.status == 404:
            return False
        _expect_success(reply)
        if self._now() - _asked(reply.body) < ASKED_AGAIN:
            return True
        annotations = {ASKED_ANNOTATION: written_time(self._now())}
        reply = await self._call("PATCH", path, body={"metadata": {"annotations": annotations}})
        if reply.status == 404:  # swept in this moment
            return False
        _expect_success(reply)
        return True

    async def put(self, namespace: str, sha256: str, code: bytes) -> None:
        """Keep code whose digest was checked."""
        waiting = await self._list(f"{FOR_LABEL}={_fingerprint(namespace)}")
        if len(waiting) >= MAX_WAITING:
            raise OverloadedError(
                f"{MAX_WAITING} uploads to namespace {namespace!r} wait for a submission already:"
                " each is removed after an hour",
                retry_after_s=60.0,
            )
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": _name(namespace, sha256),
                "namespace": self._home,
                "labels": {
                    "app.kubernetes.io/name": "disco",
                    "app.kubernetes.io/managed-by": GATEWAY,
                    FOR_LABEL: _fingerprint(namespace),
                },
                "annotations": {ASKED_ANNOTATION: written_time(self._now())},
            },
            "immutable": True,
            "binaryData": {CODE_KEY: base64.b64encode(code).decode()},
        }
        reply = await self._call("POST", self._path(), body=manifest)
        if reply.status == 403 and "exceeded quota" in reply.message:
            raise OverloadedError("there is no room for more code now", retry_after_s=60.0)
        if reply.reason != "AlreadyExists":
            _expect_success(reply)

    async def read(self, namespace: str, sha256: str) -> bytes | None:
        """Return the code; None: it is not there, or not what its digest says."""
        path = self._path(_name(namespace, sha256))
        reply = await self._call("GET", path)
        if reply.status == 404:
            return None
        _expect_success(reply)
        try:
            code = base64.b64decode((reply.body.get("binaryData") or {}).get(CODE_KEY, ""))
        except binascii.Error:
            code = b""
        if hashlib.sha256(code).hexdigest() == sha256:
            return code
        log.error("uploaded code is damaged, and removed", extra={"path": path})
        await self._call("DELETE", path)  # else it could never be uploaded again
        return None

    async def keep_swept(self) -> None:
        """Remove what nobody has asked for in an hour, now and then, until cancelled."""
        while True:
            try:
                await self.remove_old()
            except UnavailableError as error:
                log.warning("code not swept", extra={"reason": str(error)})
            await asyncio.sleep(SWEEP_S)

    async def remove_old(self) -> None:
        """Remove what nobody has asked for in an hour."""
        for item in await self._list(FOR_LABEL):
            if self._now() - _asked(item) < KEPT_FOR:
                continue
            metadata = item["metadata"]
            # Not if somebody has asked for it since it was listed.
            same = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": same}
            await self._call("DELETE", self._path(metadata["name"]), body=options)

    async def _list(self, labels: str) -> list[Json]:
        query = {"labelSelector": labels, "limit": "500"}
        reply = await self._call("GET", self._path(), query=query, accept=METADATA_LIST_ONLY)
        _expect_success(reply)
        items: list[Json] | None = reply.body["items"]
        return items or []  # an empty list of metadata is null

    def _path(self, name: str = "") -> str:
        return path_of(Kind.CONFIGMAP, self._home, name)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Json | None = None,
        accept: str = "application/json",
    ) -> Reply:
        content_type = MERGE_PATCH if method == "PATCH" else "application/json"
        try:
            return await self._api.call(
                method, path, query=query, body=body, accept=accept, content_type=content_type
            )
        except ClusterUnavailableError as error:
            raise UnavailableError("the cluster's store for code does not answer now") from error


def _name(namespace: str, sha256: str) -> str:
    return f"disco-code-{_fingerprint(namespace)}-{sha256[:32]}"


def _fingerprint(namespace: str) -> str:
    return hashlib.sha256(namespace.encode()).hexdigest()[:16]


def _asked(item: Json) -> datetime:
    """Return when somebody last asked for a piece of code."""
    metadata = item["metadata"]
    made = read_time(metadata["creationTimestamp"])
    try:
        return max(made, read_time((metadata.get("annotations") or {})[ASKED_ANNOTATION]))
    except (KeyError, ValueError, TypeError):
        return made


def _expect_success(reply: Reply) -> None:
    if reply.status >= 400:
        raise UnavailableError("the cluster's store for code cannot be used") from RuntimeError(
            f"status {reply.status}: {reply.message}"
        )
