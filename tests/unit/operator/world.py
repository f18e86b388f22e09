"""A cluster in a dictionary, coordinators that tell what they are given, and who looks at both."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from disco.v1 import coordinator_pb2
from disco_operator.cache import Cache
from disco_operator.cluster import Kind
from disco_operator.fake_cluster import FakeCluster
from disco_operator.following import NOTHING, News
from disco_operator.model import DiscoJob, JobKey, Json
from disco_operator.reconcile import Reconciler

KEY = JobKey("ns", "j")


class Told:
    """Stands for the connections to coordinators: tells what it is given."""

    def __init__(self) -> None:
        self.news = NOTHING
        self.followed: set[str] = set()
        self.called: set[str] = set()
        self.cancelled: list[str] = []
        self.events: coordinator_pb2.WatchReply | None = coordinator_pb2.WatchReply()

    def follow(self, job: DiscoJob, *, may_answer: bool) -> None:
        self.followed.add(job.uid)
        if may_answer:
            self.called.add(job.uid)

    def forget(self, uid: str) -> None:
        self.followed.discard(uid)

    def take_news(self, uid: str) -> News:
        return self.news if uid in self.followed else NOTHING

    async def cancel(self, uid: str, reason: str) -> bool:
        self.cancelled.append(reason)
        return True

    async def all_events(self, job: DiscoJob) -> coordinator_pb2.WatchReply | None:
        assert job.uid in self.followed, "what was heard is forgotten"
        return self.events


class Secrets:
    """Makes secrets that are none."""

    def job_identity(self, uid: str, created: datetime) -> Mapping[str, bytes]:
        return {"token": uid.encode()}


class Numbers:
    """Keeps what was measured."""

    def __init__(self) -> None:
        self.phases: dict[str, str] = {}
        self.first: list[float] = []

    def first_task(self, seconds: float) -> None:
        self.first.append(seconds)

    def job_phase(self, uid: str, phase: str | None) -> None:
        if phase is None:
            self.phases.pop(uid, None)
        else:
            self.phases[uid] = phase


class World:
    """A cluster, and a reconciler that looks at it."""

    def __init__(self, operator: Any) -> None:
        self.cluster = FakeCluster()
        self.told = Told()
        self.numbers = Numbers()
        self.cache = Cache()
        self.now = 0.0
        self.operator = operator
        self.start_operator()

    def start_operator(self) -> None:
        """Have a reconciler that knows nothing of what another has done."""
        self.reconciler = Reconciler(
            cluster=self.cluster,
            cache=self.cache,
            following=self.told,  # type: ignore[arg-type]
            identities=Secrets(),
            measures=self.numbers,
            operator=self.operator,
            clock=lambda: self.now,
        )

    def crowd(self, jobs: int) -> None:
        """Add jobs of somebody else's."""
        for number in range(jobs):
            self.cluster.add(
                {
                    "apiVersion": "discoproject.org/v1alpha1",
                    "kind": "DiscoJob",
                    "metadata": {"namespace": "other", "name": f"j-{number}"},
                }
            )

    def submit(self, **spec: Any) -> None:
        """Create the job, or change it."""
        self.cluster.add(
            {
                "apiVersion": "discoproject.org/v1alpha1",
                "kind": "DiscoJob",
                "metadata": {"namespace": "ns", "name": "j"},
                "spec": {"job": "wc:WC", "inputs": ["a"], **spec},
                "status": self.status,
            }
        )

    async def look(self) -> float | None:
        """Reconcile once, with everything known."""
        self.cluster.feed(self.cache)
        return await self.reconciler.reconcile(KEY)

    @property
    def status(self) -> Json:
        """The job's status."""
        found = self.job()
        return {} if found is None else dict(found.get("status", {}))

    def job(self) -> Json | None:
        """Return the job."""
        if "j" not in self.cluster.names(Kind.DISCOJOB):
            return None
        self.cluster.feed(self.cache)
        return self.cache.job(KEY)

    def reasons(self) -> list[str]:
        """Return the reasons of all events."""
        return [event.reason for event in self.cluster.events]
