"""Builders of DiscoJobs, of what surrounds them, and of what coordinators tell."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from disco.v1 import common_pb2, coordinator_pb2
from disco_operator.changes import changes_to
from disco_operator.decide import decide
from disco_operator.following import News
from disco_operator.model import DiscoJob, Json, OperatorSettings, written_time
from disco_operator.wanted import Decision, Observed

from .world import World

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "6f1c3c1e-0000-4000-8000-000000000001"
OPERATOR = OperatorSettings(job_image="disco:1", namespace="disco-system")
MAP_REDUCE = ("map", "reduce")


def progress(
    *tasks: tuple[int, int, int],
    phase: str = "RUNNING",
    workers: int = 2,
    names: Sequence[str] = MAP_REDUCE,
    message: str = "",
    failures: Sequence[tuple[str, str]] = (),
    **fields: Any,
) -> coordinator_pb2.JobProgress:
    """Return progress whose stages have so many tasks (waiting, running, done)."""
    padded = [*tasks, *[(0, 0, 0)] * (len(names) - len(tasks))] if tasks else []
    return coordinator_pb2.JobProgress(
        phase=coordinator_pb2.JobPhase.Value(f"JOB_PHASE_{phase}"),
        message=message,
        epoch=1,
        workers=workers,
        slots=workers,
        stages=[
            coordinator_pb2.StageProgress(
                name=name,
                tasks_total=sum(numbers),
                tasks_waiting=numbers[0],
                tasks_running=numbers[1],
                tasks_done=numbers[2],
            )
            for name, numbers in zip(names, padded, strict=False)
        ],
        failures=[
            coordinator_pb2.FailureReport(
                attempt=common_pb2.AttemptRef(stage=1, task=7, epoch=1, attempt=4),
                stage_name="map",
                failure=common_pb2.Failure(
                    kind=common_pb2.FailureKind.Value(f"FAILURE_KIND_{kind}"), message=text
                ),
                worker_id="j-workers-a",
                node="node-1",
            )
            for kind, text in failures
        ],
        **fields,
    )


class Story:
    """A job in a world of plain values: what is decided is what happens.

    Attributes:
        now: The time.
        pods: All pods of the job.
        workloads: Its Deployments and StatefulSets, by name.
        said: All announcements so far, as "Reason".
        decision: The last one.
    """

    def __init__(self, spec: Mapping[str, Any] | None = None) -> None:
        self.now = START
        self.spec: Json = {"job": "wc:WC", "inputs": ["/in/a"], **(spec or {})}
        self.status: Json = {}
        self.generation = 1
        self.pods: list[Json] = []
        self.workloads: dict[str, Json] = {}
        self.said: list[str] = []
        self.messages: list[str] = []
        self.nodes: dict[str, bool] = {}
        self.news = News()
        self.code_problem = ""
        self.active_jobs = 1
        self.first_in_line = True
        self.job_image = OPERATOR.job_image
        self.deleted = False
        self.decision: Decision

    @property
    def job(self) -> DiscoJob:
        """The job as the API server has it."""
        return DiscoJob.from_body(
            {
                "metadata": {
                    "namespace": "ns",
                    "name": "j",
                    "uid": UID,
                    "generation": self.generation,
                    "creationTimestamp": written_time(START),
                },
                "spec": self.spec,
                "status": self.status,
            }
        )

    def set(self, **fields: Any) -> "Story":
        """Change the spec."""
        self.spec = {**self.spec, **fields}
        self.generation += 1
        return self

    def after(self, seconds: float) -> "Story":
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self

    def hears(self, told: coordinator_pb2.JobProgress | None, **fields: Any) -> "Story":
        """Have the coordinator tell something."""
        self.news = News(progress=told, **fields)
        return self

    def look(self) -> Decision:
        """Decide, and make it so."""
        observed = Observed(
            children=(*self.pods, *self.workloads.values()),
            news=self.news,
            code_problem=self.code_problem,
            node_ready=self.nodes.get,
            active_jobs=self.active_jobs,
            first_in_line=self.first_in_line,
            job_image=self.job_image,
        )
        job = self.job
        self.decision = decide(job, observed, self.now)
        if self.decision.wanted is not None:
            changes = changes_to(
                job, self.decision.wanted, observed.children, self.decision.status, OPERATOR
            )
            for _, name in changes.delete:
                self.workloads.pop(name, None)
            for manifest in changes.apply:
                metadata = {
                    **manifest["metadata"],
                    "uid": f"uid-of-{manifest['metadata']['name']}",
                    "creationTimestamp": written_time(self.now),
                }
                self.workloads[metadata["name"]] = {**manifest, "metadata": metadata}
            for _, name, replicas in changes.scale:
                self.workloads[name]["spec"]["replicas"] = replicas
        self.status = self.decision.status
        self.said += [entry.reason for entry in self.decision.announcements]
        self.messages += [entry.message for entry in self.decision.announcements]
        self.deleted = self.decision.delete_job
        return self.decision

    def running(self) -> "Story":
        """Start the job and have it planned: ten tasks to map, none done."""
        self.look()
        self.hears(progress((8, 2, 0))).look()
        return self

    def condition(self, kind: str) -> tuple[str, str]:
        """Return (status, reason) of a condition; ("", ""): it is not set."""
        for entry in self.status.get("conditions", ()):
            if entry["type"] == kind:
                return entry["status"], entry["reason"]
        return "", ""

    def message(self, kind: str) -> str:
        """Return the message of a condition."""
        return next(str(c["message"]) for c in self.status["conditions"] if c["type"] == kind)

    def replicas(self, name: str) -> int | None:
        """Return how many pods a workload has; None: there is no such workload."""
        found = self.workloads.get(name)
        return None if found is None else int(found["spec"]["replicas"])


def pod(name: str, role: str = "worker", *, group: str = "shared", **status: Any) -> Json:
    """Return a pod of the job."""
    labels = {"discoproject.org/job": "j", "discoproject.org/role": role}
    if role == "worker":
        labels["discoproject.org/stage"] = group
    return {
        "kind": "Pod",
        "metadata": {"name": name, "uid": f"uid-of-{name}", "labels": labels},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": role, "resources": {"limits": {"memory": "256Mi"}}}],
        },
        "status": status,
    }


class Builders:
    """What tests build with."""

    Story = Story
    START = START
    OPERATOR = OPERATOR
    pod = staticmethod(pod)
    progress = staticmethod(progress)


@pytest.fixture
def build() -> type[Builders]:
    """Give the builders."""
    return Builders


@pytest.fixture
def story() -> Story:
    """Give a job with the smallest spec."""
    return Story()


@pytest.fixture
def world(build: Any) -> World:
    """Give an empty world."""
    return World(build.OPERATOR)
