"""A cluster in a dictionary, for tests of whatever needs a ``Cluster``."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any, Literal, NamedTuple

from disco_operator.cache import CHILDREN, Cache
from disco_operator.cluster import RESOURCES, ClusterError, Kind, Listing, kind_of
from disco_operator.kube import without_none
from disco_operator.model import JobKey, Json
from disco_operator.names import JOB_LABEL


class PostedEvent(NamedTuple):
    """An event that was posted."""

    job: JobKey
    kind: str
    reason: str
    message: str


class FakeCluster:
    """Does what the API server and its garbage collector would, at once; no controllers run.

    Attributes:
        writes: What was changed, in order, like ``create pods ns/name``. A write that changes
            nothing is not in it.
        events: What was posted.
    """

    def __init__(self, *, created: str = "2026-01-01T00:00:00Z") -> None:
        self.writes: list[str] = []
        self.events: list[PostedEvent] = []
        self._created = created
        self._objects: dict[tuple[Kind, str, str], Json] = {}
        self._failures: list[tuple[str, Kind | None, ClusterError]] = []
        self._version = 0
        self._uids = 0

    # --- what tests do

    def add(self, manifest: Json) -> Json:
        """Create or replace an object as somebody else would; return it."""
        key = _key(manifest)
        known = self._objects.get(key)
        body = deepcopy(manifest)
        metadata = body["metadata"]
        metadata.setdefault("uid", known["metadata"]["uid"] if known else self._next_uid())
        metadata.setdefault("creationTimestamp", self._created)
        metadata.setdefault("generation", 1)
        return self._store(key, body)

    def set_status(self, kind: Kind, namespace: str, name: str, status: Json) -> None:
        """Replace the status of an object as its controller would."""
        key = (kind, namespace, name)
        self._store(key, self._objects[key] | {"status": deepcopy(status)})

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object and what it owns, as a user would."""
        self._collect((kind, namespace, name))

    def fail(self, verb: str, error: ClusterError, *, kind: Kind | None = None) -> None:
        """Make the next *verb* (of *kind*; None: of any) raise *error*; once per call."""
        self._failures.append((verb, kind, error))

    def names(self, kind: Kind, namespace: str | None = None) -> tuple[str, ...]:
        """Return the names of all objects of a kind, sorted."""
        return tuple(body["metadata"]["name"] for body in self._of(kind, namespace))

    def feed(self, cache: Cache, kinds: Iterable[Kind] = (Kind.DISCOJOB, *CHILDREN)) -> None:
        """Tell *cache* everything, as a resync would."""
        for kind in kinds:
            items = [deepcopy(body) for body in self._of(kind, None)]
            if kind in CHILDREN:
                items = [body for body in items if JOB_LABEL in _labels(body)]
            cache.listed(kind, Listing(items, str(self._version)), namespace=None, now=None)

    # --- Cluster

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Return an object; None: there is none."""
        self._may_fail("get", kind)
        return deepcopy(self._objects.get((kind, namespace, name)))

    async def list(self, kind: Kind, namespace: str | None, *, labels: str = "") -> Listing:
        """Return all objects of *kind* in *namespace* that match *labels* (only ``a=b,…``)."""
        self._may_fail("list", kind)
        wanted = dict(term.split("=", 1) for term in labels.split(",") if term)
        items = [
            deepcopy(body)
            for body in self._of(kind, namespace)
            if wanted.items() <= _labels(body).items()
        ]
        return Listing(items, str(self._version))

    async def create(self, manifest: Json) -> Json | None:
        """Create an object and return it; None: one of that name exists, and stays as it is."""
        key = _key(manifest)
        self._may_fail("create", key[0])
        if key in self._objects:
            return None
        self._wrote("create", key)
        return deepcopy(self.add(manifest))

    async def apply(self, manifest: Json) -> Json:
        """Make an object what *manifest* says, but for its status and what the server adds."""
        key = _key(manifest)
        self._may_fail("apply", key[0])
        known = self._objects.get(key)
        if known is None:
            self._wrote("apply", key)
            return deepcopy(self.add(manifest))
        body = deepcopy(manifest)
        if "status" in known:
            body["status"] = known["status"]
        kept = {
            name: known["metadata"][name]
            for name in ("uid", "creationTimestamp", "generation", "resourceVersion")
        }
        body["metadata"] |= kept
        if body != known:
            self._wrote("apply", key)
            body["metadata"]["generation"] += body.get("spec") != known.get("spec")
            self._store(key, body)
        return deepcopy(self._objects[key])

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        """Change how many pods a workload has, and nothing else; it may be gone."""
        self._may_fail("scale", kind)
        key = (kind, namespace, name)
        known = self._objects.get(key)
        if known is not None and known["spec"].get("replicas") != replicas:
            self._wrote("scale", key)
            self._store(key, known | {"spec": known["spec"] | {"replicas": replicas}})

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """Delete an object and what it owns; nothing if it is gone or has another *uid*."""
        self._may_fail("delete", kind)
        key = (kind, namespace, name)
        known = self._objects.get(key)
        if known is not None and uid in (None, known["metadata"]["uid"]):
            self._wrote("delete", key)
            self._collect(key)

    async def write_status(self, namespace: str, name: str, uid: str, status: Json) -> Json | None:
        """Replace the status of a DiscoJob by *status*; None: that job is gone."""
        self._may_fail("write_status", Kind.DISCOJOB)
        key = (Kind.DISCOJOB, namespace, name)
        known = self._objects.get(key)
        if known is None or known["metadata"]["uid"] != uid:
            return None
        if known.get("status") != (new := deepcopy(without_none(status))):
            self._wrote("write_status", key)
            known = self._store(key, known | {"status": new})
        return deepcopy(known)

    async def post_event(
        self, job: Json, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Note an event about *job*."""
        metadata = job["metadata"]
        key = JobKey(metadata["namespace"], metadata["name"])
        self.events.append(PostedEvent(key, kind, reason, message))

    # --- inside

    def _store(self, key: tuple[Kind, str, str], body: Json) -> Json:
        self._version += 1
        metadata = body["metadata"] | {"resourceVersion": str(self._version)}
        self._objects[key] = body | {"metadata": metadata}
        return self._objects[key]

    def _collect(self, key: tuple[Kind, str, str]) -> None:
        body = self._objects.pop(key)
        self._version += 1
        uid = body["metadata"]["uid"]
        owned = [
            other
            for other, child in self._objects.items()
            if any(owner["uid"] == uid for owner in child["metadata"].get("ownerReferences", ()))
        ]
        for other in owned:
            if other in self._objects:
                self._collect(other)

    def _of(self, kind: Kind, namespace: str | None) -> Iterator[Json]:
        for key in sorted(self._objects):
            if key[0] is kind and namespace in (None, key[1]):
                yield self._objects[key]

    def _next_uid(self) -> str:
        self._uids += 1
        return f"uid-{self._uids}"

    def _wrote(self, verb: str, key: tuple[Kind, str, str]) -> None:
        kind, namespace, name = key
        self.writes.append(f"{verb} {kind} {namespace}/{name}")

    def _may_fail(self, verb: str, kind: Kind) -> None:
        for index, (failing, of, error) in enumerate(self._failures):
            if failing == verb and of in (None, kind):
                del self._failures[index]
                raise error


def _key(manifest: Json) -> tuple[Kind, str, str]:
    metadata = manifest["metadata"]
    kind = kind_of(manifest)
    namespace = metadata["namespace"] if RESOURCES[kind].namespaced else ""
    return kind, namespace, metadata["name"]


def _labels(body: Json) -> dict[str, Any]:
    labels: dict[str, Any] = body["metadata"].get("labels", {})
    return labels
