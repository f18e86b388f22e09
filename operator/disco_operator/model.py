"""What the operator decides about: a DiscoJob as a value, and how the operator was set up."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from disco.manifest import ManifestError, Spec, parse_spec

GROUP = "discoproject.org"
API_VERSION = f"{GROUP}/v1alpha1"
MANAGER = "disco-operator"
GATEWAY = "disco-gateway"

CANCEL_ANNOTATION = f"{GROUP}/cancelled-because"
"""What the person says who cancels a job, for the others."""

TOO_MUCH = "tooMuch"
"""Field that the cache puts beside a spec it has dropped because of its size: what to say."""

IN_LINE = "inLineSince"
"""Field of a status: since when a job has its place among those that a quota keeps waiting."""

Json = dict[str, Any]
"""A Kubernetes object, or a part of one, as the API server tells it."""


class JobKey(NamedTuple):
    """Where a DiscoJob is."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """How the operator was started.

    Attributes:
        job_image: Image of the jobs that name none.
        namespace: The operator's own, from which job pods may be called.
    """

    job_image: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoJob:
    """A DiscoJob, read.

    Attributes:
        uid: Tells it from an earlier object of the same name.
        generation: Of the spec.
        created: When.
        labels: Its own.
        cancel_reason: Why somebody cancels it; empty: he does not say, or nobody does.
        spec: What to run; None: the spec makes no sense.
        problem: Why not, then.
        inputs_hash: Fingerprint of ``spec.inputs``, the one field that must not change once the
            job has started and whose changes no rule of the CRD can see.
        status: What we wrote last, or {}.
    """

    key: JobKey
    uid: str
    generation: int
    created: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    cancel_reason: str = ""
    spec: Spec | None
    problem: str = ""
    inputs_hash: str
    status: Json

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> "DiscoJob":
        """Return the job that an API object is."""
        metadata = body["metadata"]
        raw = body.get("spec", {})
        spec, problem = None, body.get(TOO_MUCH, "")
        if not problem:
            try:
                spec = parse_spec(raw)
            except ManifestError as error:
                problem = str(error)
        return cls(
            key=JobKey(metadata["namespace"], metadata["name"]),
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            created=read_time(metadata["creationTimestamp"]),
            labels=metadata.get("labels", {}),
            cancel_reason=metadata.get("annotations", {}).get(CANCEL_ANNOTATION, ""),
            spec=spec,
            problem=problem,
            inputs_hash=fingerprint(raw.get("inputs", [])),
            status=body.get("status", {}),
        )

    @property
    def started(self) -> bool:
        """Whether it was ever started."""
        return "startTime" in self.status

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return "completionTime" in self.status

    def owns(self, child: Mapping[str, Any]) -> bool:
        """Return whether an object was made for this job, not for an earlier one of its name."""
        owners = child["metadata"].get("ownerReferences", ())
        return any(owner["uid"] == self.uid for owner in owners)

    @property
    def owner(self) -> Json:
        """The owner reference that makes Kubernetes remove a child with its job."""
        return {
            "apiVersion": API_VERSION,
            "kind": "DiscoJob",
            "name": self.key.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits that tell JSON values apart."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_time(text: str) -> datetime:
    """Return a time as Kubernetes writes it, RFC 3339 in UTC."""
    return datetime.fromisoformat(text)


def written_time(moment: datetime) -> str:
    """Return a time, to the second, as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
