"""What the gateway needs of what runs the jobs: a cluster, or this machine.

The service checks requests, asks who the caller is and what he may do, and only then calls the
rest. A backend decides nothing about protocols: no gRPC status, no HTTP, no cursor text.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

from disco.manifest import Spec
from disco.v1 import common_pb2, coordinator_pb2, jobs_pb2
from disco_engine.core.model import Totals
from disco_engine.rpc import Line


class Verb(StrEnum):
    """What a caller wants to do with DiscoJobs: Kubernetes' verbs, on every backend."""

    CREATE = "create"  # Submit, UploadCode
    GET = "get"  # Get, Logs, Results, Values
    LIST = "list"
    WATCH = "watch"
    PATCH = "patch"  # Cancel, Retry
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is asking.

    Attributes:
        name: As the backend knows him.
        groups: He belongs to.
        uid: Of the account; empty: unknown.
        extra: Whatever else the API server told about him.
        token: What he showed; for calls that are made in his name. Never logged.
    """

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A submission that was found to make sense.

    Attributes:
        request_id: Names the request that makes the job; never empty.
        labels: Of the job.
        manifest_spec: The spec as it came, in JSON's types; ``code`` is unset if there is *code*.
        spec: The same, read.
        code: A serialised disco.v1.JobCode that was uploaded; None: none was.
        code_sha256: Its SHA-256 in hexadecimal, or empty.
    """

    namespace: str
    name: str
    request_id: str
    labels: Mapping[str, str]
    manifest_spec: Mapping[str, Any]
    spec: Spec
    code: bytes | None = field(default=None, repr=False)
    code_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Which jobs are wanted.

    Attributes:
        namespace: Empty: all.
        limit: Of jobs looked at, at least 1.
        after: Where the page before ended, in the backend's own words; empty: at the beginning.
        phases: Any of these; empty: all.
        label_selector: Kubernetes' syntax, found to make sense.
        created_from: At or after then.
        created_before: Before then.
    """

    namespace: str
    limit: int
    after: str = ""
    phases: frozenset[coordinator_pb2.JobPhase.ValueType] = frozenset()
    label_selector: str = ""
    created_from: datetime | None = None
    created_before: datetime | None = None


class Page(NamedTuple):
    """Some jobs, ascending by namespace and name; *after* is for the next page, empty: the end."""

    jobs: Sequence[jobs_pb2.Job]
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How much somebody has heard of a job.

    Attributes:
        uid: The job's; empty: nothing was heard, and whichever job has the name is meant.
        epoch: Of the coordinator that numbered the events.
        event: Number of the newest event that was heard.
    """

    uid: str = ""
    epoch: int = 0
    event: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What is new about a job.

    Attributes:
        job: How it stands; without ``spec``.
        events: Since the update before, oldest first.
        position: After them.
    """

    job: jobs_pb2.Job
    events: Sequence[coordinator_pb2.JobEvent]
    position: Position


class Part(NamedTuple):
    """One part of a result: what one task of the last stage wrote.

    Attributes:
        service: Id of the partition service that has it.
        stage: Of the attempts that wrote it, as partition services count.
        task: The task.
        totals: What is there.
        copy: It is a copy there that nobody has sealed: the service that had it sealed is lost.
    """

    service: str
    stage: int
    task: int
    totals: Totals
    copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSource:
    """Where the records of a job are that has no output.

    Attributes:
        job_uid: The job, as its partition services know it.
        parts: Those that have records, in order.
        connect: Opens a connection to a service, by its id. Who calls it closes the channel.
    """

    job_uid: str
    parts: Sequence[Part]
    connect: Callable[[str], Line]


class CodeStore(Protocol):
    """Where uploaded code waits for the submission that needs it; shared by all replicas.

    What no submission has asked for in a while is removed. A namespace never sees what was uploaded
    to another.
    """

    @property
    def max_bytes(self) -> int:
        """The most that one upload may have."""
        ...

    async def has(self, namespace: str, sha256: str) -> bool:
        """Return whether the code is there; then it stays for long enough to submit a job."""
        ...

    async def put(self, namespace: str, sha256: str, code: bytes) -> None:
        """Keep code whose digest was checked; putting what is there does nothing.

        Raises:
            UnavailableError: It cannot be kept now.
            OverloadedError: It does not fit.
        """
        ...

    async def read(self, namespace: str, sha256: str) -> bytes | None:
        """Return the code; None: it is not there, or not what its digest says.

        Raises:
            UnavailableError: The store does not answer.
        """
        ...


class Backend(Protocol):
    """What runs the jobs.

    Every call may raise ``UnavailableError``; each says what else it raises. A caller is who
    ``authenticate`` returned; whether he may do it has been asked before.
    """

    @property
    def kind(self) -> Literal["kubernetes", "local"]:
        """What ``About`` tells."""
        ...

    @property
    def default_namespace(self) -> str:
        """Where jobs go whose submission names no namespace."""
        ...

    @property
    def code(self) -> CodeStore:
        """Where uploads go."""
        ...

    async def authenticate(self, token: str) -> Caller:
        """Return whose token it is.

        Raises:
            UnauthenticatedError: It is nobody's, or not any more.
        """
        ...

    async def authorize(self, caller: Caller, verb: Verb, namespace: str) -> None:
        """Do nothing, if the caller may do this with jobs there; *namespace* "": in all.

        Raises:
            DeniedError: He may not.
        """
        ...

    async def create(self, caller: Caller, new: NewJob, *, dry_run: bool) -> jobs_pb2.Job:
        """Start a job; one that a request of the same id has made is returned, and made whole.

        Raises:
            JobExistsError: There is a job of that name that another request has made.
            InvalidRequestError: The cluster refuses it, and says why.
            NotPossibleError: The namespace is not there, a quota is used up.
            OverloadedError: There are too many jobs.
        """
        ...

    async def get(self, namespace: str, name: str) -> jobs_pb2.Job:
        """Return a job with everything.

        Raises:
            JobNotFoundError: There is none.
        """
        ...

    async def list(self, query: ListQuery) -> Page:
        """Return some of the jobs that are asked for, without specs, stages and failures.

        Raises:
            GoneError: ``query.after`` is too old.
        """
        ...

    def follow(self, namespace: str, name: str, since: Position) -> AsyncGenerator[Update, None]:
        """Yield how the job stands, at once, and then whenever that changes.

        The first update has all events after *since* that are still kept: who wants only the past
        stops after it. The last update has a phase that is an end, and the last events. Slow
        readers miss updates in between, but no event that is kept. Ends after the last update.

        Raises:
            JobNotFoundError: There is none, or it was deleted meanwhile.
            GoneError: The job of that name is not the one of *since*.
        """
        ...

    async def results(self, namespace: str, name: str) -> tuple[jobs_pb2.Job, ResultSource | None]:
        """Return a job that has succeeded, and where its records are; None: in its output.

        Raises:
            JobNotFoundError: There is none.
            NotPossibleError: It has not succeeded, or the records are lost.
        """
        ...

    def values(
        self, namespace: str, name: str, wanted: coordinator_pb2.ValuesRequest
    ) -> AsyncGenerator[Sequence[common_pb2.NamedValue], None]:
        """Yield what finished tasks of a job left beside their records, ascending by key.

        Args:
            namespace: Of the job.
            name: Of the job.
            wanted: Which, and whether with what they are.

        Raises:
            JobNotFoundError: There is none.
            NotPossibleError: It has ended, and they are not kept any more.
        """
        ...

    async def cancel(self, caller: Caller, namespace: str, name: str, reason: str) -> jobs_pb2.Job:
        """Ask for a job's end; nothing happens to one that has ended.

        Raises:
            JobNotFoundError: There is none.
        """
        ...

    async def retry(self, caller: Caller, namespace: str, name: str) -> jobs_pb2.Job:
        """Run what is missing of a failed job.

        Raises:
            JobNotFoundError: There is none.
            NotPossibleError: It has not failed.
        """
        ...

    async def delete(self, caller: Caller, namespace: str, name: str, uid: str) -> None:
        """Remove a job and what it left; *uid* not empty: only if it is that one.

        Raises:
            JobNotFoundError: There is none, or another.
        """
        ...
