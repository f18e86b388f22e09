"""An engine that is none, and a job to run on it."""

from collections.abc import Iterator, Sequence
from typing import Any

from disco import Job
from disco.v1 import common_pb2, coordinator_pb2, job_pb2
from disco_engine.local.errors import EngineError

SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED
FAILED = coordinator_pb2.JOB_PHASE_FAILED


class FakeEngine:
    """A local engine whose jobs end when, and how, a test says."""

    made: list["FakeEngine"]

    def __init__(self, spec: job_pb2.JobSpec, *, workers: int, slots: int) -> None:
        self.spec = spec
        self.workers = workers
        self.slots = slots
        self.started = self.closed = False
        self.cancelled = ""
        self.progress: coordinator_pb2.JobProgress | None = None
        self.error: EngineError | None = None
        self.happened: Sequence[coordinator_pb2.JobEvent] = ()
        self.made.append(self)

    def start(self) -> "FakeEngine":
        self.started = True
        if all(item.urls[0] != "raw://endless" for item in self.spec.inputs):
            self.end(SUCCEEDED)
        return self

    def end(self, phase: Any, **details: Any) -> None:
        parts = [self.part(0, 3), self.part(1, 0), self.part(2, 5)]
        self.progress = coordinator_pb2.JobProgress(
            phase=phase, results=parts if phase == SUCCEEDED else [], **details
        )

    def part(self, task: int, records: int) -> coordinator_pb2.ResultPart:
        return coordinator_pb2.ResultPart(
            service=coordinator_pb2.ServiceAddress(service_id="ps-0", address="127.0.0.1:9"),
            stage=2,
            task=task,
            totals=common_pb2.Totals(records=records),
        )

    def wait(self, timeout_s: float | None = None) -> coordinator_pb2.JobProgress:
        if self.error is not None:
            raise self.error
        if self.progress is None:
            raise TimeoutError
        return self.progress

    def watch(self) -> Iterator[coordinator_pb2.WatchReply]:
        yield coordinator_pb2.WatchReply(progress=self.progress, events=self.happened)

    def events(self, after: int) -> list[tuple[int, coordinator_pb2.JobEvent]]:
        return list(enumerate(self.happened, start=1))[after:]

    def results(self) -> list[coordinator_pb2.ResultPart]:
        return [] if self.progress is None else list(self.progress.results)

    def services(self) -> list[str]:
        return ["127.0.0.1:9"]

    def cancel(self, reason: str) -> None:
        self.cancelled = reason
        self.end(coordinator_pb2.JOB_PHASE_CANCELLED, message="it was cancelled")

    def close(self) -> None:
        self.closed = True


class Words(Job):
    partitions = 3

    @staticmethod
    def map(line: str, params: Any) -> list[Any]:
        return []


def started(**jobargs: Any) -> Job:
    return Words().run(**{"input": ["raw://x"], **jobargs})
