"""The newest known state of everything that is watched, fed by events and by full lists.

Called by the doors (one event at a time), by the resync (whole lists) and by ``reconcile``, which
only reads. Nothing here waits, so whoever reads sees one moment.

Both feeds may be late. The newer of two states of an object is the one with the higher
``resourceVersion``: an integer that grows with every change of a kind. So a list never takes back
what an event has told, and an event that arrives after a list changes nothing.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from disco.manifest.parsing import too_much
from disco_operator.atrest import Entry
from disco_operator.cluster import Kind, Listing
from disco_operator.model import API_VERSION, IN_LINE, TOO_MUCH, JobKey, Json
from disco_operator.names import JOB_LABEL

CHILDREN = (Kind.POD, Kind.DEPLOYMENT, Kind.STATEFULSET)
"""The kinds of which the objects of every job are kept."""

# kubectl's copy of the whole manifest, in the object itself.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

# Deletions that are remembered, so that a list which began before them does not bring the object
# back. A list takes seconds; more deletions than this within them only cost a look too many.
_REMEMBERED_DELETIONS = 20_000


class Ref(NamedTuple):
    """Names an object among all that are kept."""

    kind: Kind
    namespace: str
    name: str

    @classmethod
    def of(cls, kind: Kind, body: Mapping[str, Any]) -> "Ref":
        """Return the name of an object."""
        metadata = body["metadata"]
        return cls(kind, metadata.get("namespace", ""), metadata["name"])


class Cache:
    """What is known of the cluster."""

    def __init__(self) -> None:
        self._entries: dict[Ref, Entry] = {}
        self._children: dict[JobKey, set[Ref]] = {}
        self._jobs: set[JobKey] = set()
        self._finished: set[JobKey] = set()
        self._in_line: dict[JobKey, str] = {}
        self._deleted: dict[Ref, int] = {}
        self._deletions: deque[Ref] = deque()
        self._unheard: dict[Ref, tuple[int, float]] = {}

    # --- what reconcile reads

    def job(self, key: JobKey) -> Json | None:
        """Return a DiscoJob as the API server told it last; None: there is none."""
        entry = self._entries.get(Ref(Kind.DISCOJOB, *key))
        return None if entry is None else entry.body()

    def jobs(self) -> tuple[JobKey, ...]:
        """Return where all DiscoJobs are."""
        return tuple(self._jobs)

    @property
    def active_jobs(self) -> int:
        """How many DiscoJobs have not ended."""
        return len(self._jobs) - len(self._finished)

    def is_first_in_line(self, key: JobKey) -> bool:
        """Return whether no other job of its namespace has waited longer for room in a quota."""
        mine = [other for other in self._in_line if other.namespace == key.namespace]
        return key == min(mine, key=lambda other: (self._in_line[other], other), default=key)

    def children(self, key: JobKey) -> tuple[Json, ...]:
        """Return pods, deployments and statefulsets with the job's label in its namespace.

        Whoever owns them: an earlier job of the same name, or a stranger, may have left some.
        """
        return tuple(self._entries[ref].body() for ref in sorted(self._children.get(key, ())))

    def node_ready(self, name: str) -> bool | None:
        """Return whether a node is ready; None: not known (nodes may not be watched)."""
        entry = self._entries.get(Ref(Kind.NODE, "", name))
        return None if entry is None else _is_ready(entry.body())

    def __len__(self) -> int:
        """Return how many objects are kept."""
        return len(self._entries)

    def bytes_at_rest(self) -> int:
        """Return how much memory the compressed objects take."""
        return sum(entry.bytes_at_rest for entry in self._entries.values())

    # --- the feeds

    def heard(self, kind: Kind, change: str | None, body: Json) -> frozenset[JobKey]:
        """Take an event of the watch; return the jobs to look at.

        Args:
            kind: Of the object.
            change: ``ADDED``, ``MODIFIED``, ``DELETED``, or None: the watch began, it is there.
            body: The object; ours from now on.
        """
        ref, version = Ref.of(kind, body), _version(body)
        if ref in self._unheard and self._unheard[ref][0] <= version:
            del self._unheard[ref]
        if change == "DELETED":
            return self._drop(ref, version)
        jobs = self._keep(ref, version, body, heard=True)
        if (entry := self._entries.get(ref)) is not None:  # else a list told that it is gone
            entry.heard = True
        return jobs

    def wrote(self, body: Json) -> None:
        """Take what the API server answered to a write of ours to a DiscoJob.

        The watch delivers it later; until then nobody must decide again from what was before.
        """
        ref = Ref.of(Kind.DISCOJOB, body)
        self._keep(ref, _version(body), body, heard=True)

    def listed(
        self, kind: Kind, listing: Listing, *, namespace: str | None, now: float | None
    ) -> frozenset[JobKey]:
        """Take a full list; return the jobs of what it told first.

        Args:
            kind: Of the objects.
            listing: All of them.
            namespace: Of the list; None: all.
            now: Of the clock that ``overdue`` is asked with; None: nobody watched until now.
        """
        moment = int(listing.resource_version)
        jobs: set[JobKey] = set()
        there = set()
        for body in listing.items:
            ref, version = Ref.of(kind, body), _version(body)
            there.add(ref)
            if self._is_news(ref, version):
                if now is not None:
                    self._unheard[ref] = (version, now)
                jobs |= self._keep(ref, version, body, heard=False)
        for ref, entry in list(self._entries.items()):
            if ref.kind is not kind or namespace not in (None, ref.namespace) or ref in there:
                continue
            if entry.version <= moment:  # else it was created after the list
                # What the watch has never seen it will not see go.
                if now is not None and entry.heard:
                    self._unheard[ref] = (entry.version, now)
                jobs |= self._drop(ref, moment)
        return frozenset(jobs)

    def overdue(self, now: float, patience_s: float) -> tuple[Ref, ...]:
        """Return, once, what lists told and the watch has not *patience_s* seconds later."""
        late = tuple(ref for ref, (_, since) in self._unheard.items() if now - since >= patience_s)
        for ref in late:
            del self._unheard[ref]
        return late

    # --- inside

    def _is_news(self, ref: Ref, version: int) -> bool:
        entry = self._entries.get(ref)
        return version > max(entry.version if entry else 0, self._deleted.get(ref, 0))

    def _keep(self, ref: Ref, version: int, body: Json, *, heard: bool) -> frozenset[JobKey]:
        if not self._is_news(ref, version):
            return frozenset()
        if ref.kind is Kind.NODE:
            was_ready = self.node_ready(ref.name)
            self._entries[ref] = Entry(version, _slim_node(body), heard=heard)
            return frozenset() if was_ready is _is_ready(body) else self._jobs_on(ref.name)
        before = self._entries.get(ref)
        jobs = frozenset(_jobs_of(ref, before.body())) if before else frozenset()
        self._entries[ref] = entry = Entry(version, slim(body), heard=heard)
        after = frozenset(_jobs_of(ref, body))
        for key in after:
            if ref.kind is Kind.DISCOJOB:
                self._note_job(key, body)
            else:
                self._children.setdefault(key, set()).add(ref)
            if key in self._finished:
                entry.rest()
        for key in jobs - after:  # its label was changed
            self._take_from(key, ref)
        return jobs | after

    def _drop(self, ref: Ref, version: int) -> frozenset[JobKey]:
        self._remember_deletion(ref, version)
        entry = self._entries.get(ref)
        if entry is None or entry.version > version:
            return frozenset()
        del self._entries[ref]
        if ref.kind is Kind.NODE:
            return self._jobs_on(ref.name)
        jobs = frozenset(_jobs_of(ref, entry.body()))
        for key in jobs:
            if ref.kind is Kind.DISCOJOB:
                self._jobs.discard(key)
                self._finished.discard(key)
                self._in_line.pop(key, None)
            else:
                self._take_from(key, ref)
        return jobs

    def _take_from(self, key: JobKey, child: Ref) -> None:
        children = self._children[key]
        children.discard(child)
        if not children:
            del self._children[key]

    def _note_job(self, key: JobKey, body: Json) -> None:
        self._jobs.add(key)
        self._in_line.pop(key, None)
        if IN_LINE in body.get("status", {}):
            self._in_line[key] = body["status"][IN_LINE]
        if "completionTime" not in body.get("status", {}):
            self._finished.discard(key)
        elif key not in self._finished:
            self._finished.add(key)
            for ref in self._children.get(key, ()):
                self._entries[ref].rest()

    def _remember_deletion(self, ref: Ref, version: int) -> None:
        if ref not in self._deleted:
            self._deletions.append(ref)
        self._deleted[ref] = version
        while len(self._deletions) > _REMEMBERED_DELETIONS:
            del self._deleted[self._deletions.popleft()]

    def _jobs_on(self, node: str) -> frozenset[JobKey]:
        return frozenset(
            key
            for key, refs in self._children.items()
            for ref in refs
            if ref.kind is Kind.POD and key not in self._finished
            if self._entries[ref].body().get("spec", {}).get("nodeName") == node
        )


def _jobs_of(ref: Ref, body: Json) -> Iterator[JobKey]:
    if ref.kind is Kind.DISCOJOB:
        yield JobKey(ref.namespace, ref.name)
    elif name := body["metadata"].get("labels", {}).get(JOB_LABEL):
        yield JobKey(ref.namespace, name)


def _version(body: Json) -> int:
    return int(body["metadata"]["resourceVersion"])


def slim(body: Json) -> Json:
    """Return an object without what nobody reads."""
    metadata = body["metadata"]
    metadata.pop("managedFields", None)
    metadata.get("annotations", {}).pop(_LAST_APPLIED, None)
    if body.get("apiVersion") == API_VERSION and (problem := too_much(body.get("spec"))):
        # A few of these would fill the memory; what is wrong is all that anybody needs to know.
        return {**body, "spec": {}, TOO_MUCH: problem}
    return body


def _slim_node(body: Json) -> Json:
    return {"status": {"conditions": _ready_conditions(body)}}


def _ready_conditions(body: Json) -> list[Json]:
    conditions: Iterable[Json] = body.get("status", {}).get("conditions", ())
    return [condition for condition in conditions if condition["type"] == "Ready"]


def _is_ready(body: Json) -> bool:
    return any(condition["status"] == "True" for condition in _ready_conditions(body))
