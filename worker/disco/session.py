"""The jobs that this Python process runs on its own machine.

Each has an engine of its own, which stays after the job's end for as long as its results may be
read: until they are purged, or the process ends.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from disco.error import DiscoError, JobError
from disco.saved import TAG_STAGE, results_tag
from disco.v1 import coordinator_pb2, job_pb2, jobs_pb2
from disco_engine.core.parts import StoredPart
from disco_engine.local.chained import jobs_read
from disco_engine.local.engine import LocalEngine
from disco_engine.local.errors import EngineError
from disco_engine.local.session import session_token
from disco_engine.outputs.reading import part_urls
from disco_engine.result_errors import ResultError
from disco_engine.result_labels import is_by_label, labels_of

_ENDED_WELL = coordinator_pb2.JOB_PHASE_SUCCEEDED
_ENDED_BADLY = (coordinator_pb2.JOB_PHASE_FAILED, coordinator_pb2.JOB_PHASE_CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job.

    Attributes:
        name: Unique.
        spec: What the engine was given.
        owner: Of the job, for people.
        workers: Worker processes.
        slots: Tasks that each runs at a time.
        started_s: Seconds since 1970-01-01 UTC.
    """

    name: str
    spec: job_pb2.JobSpec
    engine: LocalEngine
    owner: str
    workers: int
    slots: int
    started_s: float = field(default_factory=time.time)

    def wait(self, timeout_s: float | None = None) -> list[str]:
        """Return the URLs of the results when the job has ended.

        Raises:
            JobError: It did not end well, or not within *timeout_s* seconds.
        """
        try:
            progress = self.engine.wait(timeout_s)
        except TimeoutError as error:
            raise JobError(self.name, f"Timeout: it still runs after {timeout_s} s") from error
        except EngineError as error:
            raise JobError(self.name, str(error)) from error
        if progress.phase != _ENDED_WELL:
            raise JobError(self.name, reason_of(progress))
        return self.urls()

    def status(self) -> str:
        """Return "active", "ready" or "dead"."""
        try:
            progress = self.engine.wait(0)
        except TimeoutError:
            return "active"
        except EngineError:
            return "dead"
        return "ready" if progress.phase == _ENDED_WELL else "dead"

    def urls(self) -> list[str]:
        """Return the URLs of the results of a job that succeeded."""
        if self.spec.output.url:
            return part_urls(self.spec.output.url)
        if is_saved_to_ddfs(self.engine.progress):
            return [results_tag(self.name)] if self.engine.results() else []
        return [
            str(
                StoredPart(
                    address=part.service.address,
                    uid=self.spec.uid,
                    stage=part.stage,
                    task=part.task,
                )
            )
            for part in self.engine.results()
            if part.totals.records
        ]

    def stage_urls(self, name: str) -> list[str]:
        """Return the URLs of what a finished stage has written, in the order of tasks or labels.

        Raises:
            DiscoError: There is no such stage, it has not finished, or some of its records are
                gone.
        """
        rows = [] if self.engine.progress is None else self.engine.progress.stages
        names = [row.name for row in rows]
        if name not in names:
            there = ", ".join(names) or "none yet"
            raise DiscoError(f"{self.name} has no stage {name!r}; there are {there}")
        number = names.index(name) + 1
        row = rows[number - 1]
        if row.tasks_done < row.tasks_total or row.started_s == 0:
            raise DiscoError(f"stage {name!r} of {self.name} has not finished")
        status = self.status()
        if status == "dead" or (status == "ready" and not self.engine.results()):
            raise DiscoError(
                f"what stage {name!r} of {self.name} has written is gone with the job's processes,"
                " which stay only for records that a job which succeeded has left there"
            )
        try:
            told = {
                address: labels_of(address, session_token(), self.spec.uid, number)
                for address in self.engine.services()
            }
            whole = {task for labels in told.values() for task in labels}
            if len(whole) < row.tasks_total:
                # What was lost when nobody needed it any more was not made again.
                raise DiscoError(
                    f"of what the {row.tasks_total} tasks of stage {name!r} of {self.name} have"
                    f" written, that of {row.tasks_total - len(whole)} is lost: run the job again"
                )
            found = [item for at, labels in told.items() for item in self._left(at, number, labels)]
        except ResultError as error:
            raise DiscoError(f"stage {name!r} of {self.name} cannot be read: {error}") from error
        return [str(part) for _, part in sorted(found, key=lambda item: item[0])]

    def _left(
        self, address: str, stage: int, labels: Mapping[int, Mapping[int, int]]
    ) -> list[tuple[int, StoredPart]]:
        """Return what a stage has left in one service, each by its task or label.

        Args:
            address: Of the service.
            stage: Its number in the job.
            labels: Of each of its tasks that the service has, how many records with which.
        """
        part = partial(StoredPart, address=address, uid=self.spec.uid, stage=stage)
        if is_by_label(address, session_token(), self.spec.uid, stage):
            every: Counter[int] = Counter()
            for counts in labels.values():
                every.update(counts)
            return [
                (label, part(task=None, label=label, records=records))
                for label, records in every.items()
            ]
        return [(task, part(task=task)) for task, found in labels.items() if found]

    @property
    def reads(self) -> frozenset[str]:
        """Uids of the jobs whose results it reads."""
        return jobs_read(tuple(item.urls) for item in self.spec.inputs)

    def events(self) -> Iterator[coordinator_pb2.JobEvent]:
        """Yield the events, those to come included, until the job has ended."""
        try:
            for reply in self.engine.watch():
                yield from reply.events
        except EngineError:
            return  # `wait` tells it


def reason_of(progress: coordinator_pb2.JobProgress | jobs_pb2.Job) -> str:
    """Return why a job did not succeed, with the traceback and the record of what ended it."""
    message = progress.message or "it was cancelled"
    for report in reversed(progress.failures):
        failure = report.failure
        if failure.message and failure.message in message:
            parts = [message]
            if failure.record and failure.record not in message:
                parts.append(f"The record: {failure.record}")
            if failure.input and failure.input not in message:
                parts.append(f"The input: {failure.input}")
            if failure.traceback and failure.traceback not in message:
                parts.append(failure.traceback.rstrip())
            return "\n".join(parts)
    return message


_runs: dict[str, Run] = {}
_lock = threading.Lock()


def add(run: Run) -> None:
    """Remember a run."""
    with _lock:
        _runs[run.name] = run


def find(name: str) -> Run | None:
    """Return the run called *name*, or the one whose results have this unique id; None: unknown."""
    with _lock:
        return _runs.get(name) or next(
            (run for run in _runs.values() if run.spec.uid == name), None
        )


def get(name: str) -> Run:
    """Return the run called *name*.

    Raises:
        DiscoError: This process has not run it, or it has been purged.
    """
    run = find(name)
    if run is None:
        raise DiscoError(
            f"unknown job {name!r}: this process has not run it, or its results have been purged"
        )
    return run


def remove(name: str) -> None:
    """Forget a run and everything it left, its results included; unknown ones are fine.

    Jobs that read them are stopped: they could only find out one attempt at a time.
    """
    run = find(name)
    if run is None:
        return
    with _lock:
        _runs.pop(run.name, None)
        others = list(_runs.values())
    for other in others:
        if run.spec.uid in other.reads and other.status() == "active":
            other.engine.cancel(
                f"it read the results of {run.name}, which were purged: purge a job when those that"
                " read its results have ended"
            )
    run.engine.close()


def all_runs() -> list[Run]:
    """Return all runs, newest first."""
    with _lock:
        return sorted(_runs.values(), key=lambda run: -run.started_s)


def is_saved_to_ddfs(progress: coordinator_pb2.JobProgress | jobs_pb2.Job | None) -> bool:
    """Return whether a job's last stage was the one that tags its results in DDFS."""
    return bool(progress and progress.stages and progress.stages[-1].name == TAG_STAGE)


def told_status(status: str, progress: coordinator_pb2.JobProgress | jobs_pb2.Job | None) -> str:
    """Return what ``jobinfo`` calls a job's status: it has one more while there are no stages."""
    known = progress is not None and progress.stages
    return status if known or status != "active" else "initializing"


def counts_of(progress: coordinator_pb2.JobProgress | jobs_pb2.Job | None) -> list[list[Any]]:
    """Return a row per stage: name, pending, waiting, running, done, failed attempts."""
    if progress is None:
        return []
    return [
        [s.name, 0, s.tasks_waiting, s.tasks_running, s.tasks_done, s.retries]
        for s in progress.stages
    ]
