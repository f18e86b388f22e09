"""What the operator needs of a Kubernetes API server: the kinds, the calls and how they fail."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

from disco_operator.model import API_VERSION, Json


class Kind(StrEnum):
    """A kind of object that the operator reads or writes, as ``kubectl`` names it."""

    DISCOJOB = "discojobs.discoproject.org"
    POD = "pods"
    DEPLOYMENT = "deployments.apps"
    STATEFULSET = "statefulsets.apps"
    SERVICE = "services"
    SECRET = "secrets"
    CONFIGMAP = "configmaps"
    NETWORKPOLICY = "networkpolicies.networking.k8s.io"
    NODE = "nodes"

    @property
    def plural(self) -> str:
        """The name in the API's paths."""
        return self.value.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Resource:
    """How a kind is written in a manifest.

    Attributes:
        api_version: Group and version, like ``apps/v1``.
        kind: Like ``Deployment``.
        namespaced: Whether its objects live in namespaces.
    """

    api_version: str
    kind: str
    namespaced: bool = True


RESOURCES: Mapping[Kind, Resource] = {
    Kind.DISCOJOB: Resource(API_VERSION, "DiscoJob"),
    Kind.POD: Resource("v1", "Pod"),
    Kind.DEPLOYMENT: Resource("apps/v1", "Deployment"),
    Kind.STATEFULSET: Resource("apps/v1", "StatefulSet"),
    Kind.SERVICE: Resource("v1", "Service"),
    Kind.SECRET: Resource("v1", "Secret"),
    Kind.CONFIGMAP: Resource("v1", "ConfigMap"),
    Kind.NETWORKPOLICY: Resource("networking.k8s.io/v1", "NetworkPolicy"),
    Kind.NODE: Resource("v1", "Node", namespaced=False),
}

_KINDS = {(resource.api_version, resource.kind): kind for kind, resource in RESOURCES.items()}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """Return the kind of a manifest.

    Raises:
        KeyError: The operator has nothing to do with such objects.
    """
    return _KINDS[manifest["apiVersion"], manifest["kind"]]


class ClusterError(Exception):
    """A call to the API server did not do what was asked.

    ``ClusterError``: ``ForbiddenError`` (``QuotaError``), ``InvalidError``: a person must change
    something. ``UnavailableError``: try again. ``FencedError``: stop.
    """


class ForbiddenError(ClusterError):
    """The operator may not do this (403); the message names verb, kind and namespace."""


class QuotaError(ForbiddenError):
    """A quota of the namespace is used up; the message says which."""


class InvalidError(ClusterError):
    """The API server, or a policy in front of it, refuses this manifest (400, 422)."""


class UnavailableError(ClusterError):
    """The API server could not answer now: time-out, connection, 429 or 5xx; trying again helps.

    The call may have been carried out all the same.
    """


class FencedError(ClusterError):
    """This process no longer holds the lease: nothing was sent, and nothing may be any more."""


class Listing(NamedTuple):
    """All objects of a kind at one moment.

    ``resource_version`` is that moment: what happened to the kind before it is in ``items``.
    """

    items: list[Json]
    resource_version: str


class Cluster(Protocol):
    """The API server, as far as reconciling needs it.

    Every call may raise ``UnavailableError`` or ``ForbiddenError``; those that write may also
    raise ``InvalidError`` and ``FencedError``. Absence and conflict are normal answers.
    """

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Return an object; None: there is none."""

    async def list(self, kind: Kind, namespace: str | None, *, labels: str = "") -> Listing:
        """Return all objects of *kind* in *namespace* (None: everywhere) that match *labels*."""

    async def create(self, manifest: Json) -> Json | None:
        """Create an object and return it; None: one of that name exists, and stays as it is."""

    async def apply(self, manifest: Json) -> Json:
        """Make an object have what *manifest* says (server-side apply, forced); return it."""

    async def scale(self, kind: Kind, namespace: str, name: str, replicas: int) -> None:
        """Change how many pods a workload has, and nothing else; it may be gone."""

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """Delete an object, and in the background what it owns.

        Nothing happens if it is gone, or if the object of that name has another *uid*.
        """

    async def write_status(self, namespace: str, name: str, uid: str, status: Json) -> Json | None:
        """Replace the status of a DiscoJob, leaving out fields that are None; return the job.

        Returns:
            None: that job is gone, and nothing was written.
        """

    async def post_event(
        self, job: Json, kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Post an event about *job*; a failure is logged, never raised."""
