"""The values that deciding is about: what is seen, what should be, what is to be said."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from disco_operator.following import NOTHING, News
from disco_operator.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The world around a job.

    Attributes:
        children: Its pods, Deployments and StatefulSets, whoever owns them.
        news: What its coordinator told last.
        base_due: What is made once, and not watched, may be missing.
        code: Content by name of the files that travel with it; None: not looked up, or not there.
        code_problem: Why there is no code.
        node_ready: Whether a node is ready; None: not known.
        active_jobs: How many jobs there are that have not ended, this one included.
        first_in_line: Whether no other job of the namespace has waited longer for room.
        job_image: The operator's, for jobs that start now and name none.
    """

    children: Sequence[Json] = ()
    news: News = NOTHING
    base_due: bool = False
    code: Mapping[str, bytes] | None = None
    code_problem: str = ""
    node_ready: Callable[[str], bool | None] = lambda _: None
    active_jobs: int = 1
    first_in_line: bool = True
    job_image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The children that a job should have now.

    Attributes:
        base: Identity, specification, and the NetworkPolicy.
        coordinator: The coordinator and its Service.
        services: Pods of the partition services; None: not even their StatefulSet.
        workers: Pods by group; a group that is not there has no Deployment.
    """

    base: bool = False
    coordinator: bool = False
    services: int | None = None
    workers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A Kubernetes event about the job."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done about a job now.

    Attributes:
        status: What its status should be, whole.
        wanted: The children it should have; None: leave them alone.
        follow: Whether to listen to its coordinator.
        cancel: Why the coordinator is to end the job; empty: it is not.
        delete_job: The job's time is over.
        lost_pods: Names and uids of pods that nobody else will ever remove: they are on lost nodes.
        keep_events: What the coordinator has told is to be kept first: it will go.
        announcements: To be posted once the status is written.
        again_in_s: When to look again if nothing happens; None: never.
        status_first: The status must say so before anything is done.
    """

    status: Json
    wanted: Wanted | None = None
    follow: bool = False
    cancel: str = ""
    delete_job: bool = False
    lost_pods: tuple[tuple[str, str], ...] = ()
    keep_events: bool = False
    announcements: tuple[Announcement, ...] = ()
    again_in_s: float | None = None
    status_first: bool = False
