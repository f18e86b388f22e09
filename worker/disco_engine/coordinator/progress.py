"""Owns what people may know of the job: its journal, and snapshots of its progress for watchers.

A snapshot is made at most five times a second, however many watch, and costs O(stages). Watchers
take the newest one when they get round to it; nothing is queued for them.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from disco.v1 import coordinator_pb2
from disco_engine.coordinator.eventlog import EventLog
from disco_engine.coordinator.messages import Addresses, result_part_of, stage_progress_of
from disco_engine.coordinator.workers import Workers
from disco_engine.core.actions import (
    Announce,
    FinishJob,
    JobPhase,
    Outcome,
    ResultPart,
    StageCounts,
)
from disco_engine.core.model import PLAN_STAGE, AttemptId, TaskRef, WorkerId
from disco_engine.wire import attempt_from_wire, attempt_to_wire, failure_to_wire

MIN_INTERVAL_S = 0.2
MAX_FAILURES = 20


class Journal:
    """What has happened: numbered events and the newest failures.

    Attributes:
        changed: Set whenever anything has happened since somebody cleared it.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.events = EventLog()
        self.failures: deque[coordinator_pb2.FailureReport] = deque(maxlen=MAX_FAILURES)
        self._stage_names: dict[int, str] = {}

    def touch(self) -> None:
        """Note that progress may have changed."""
        self.changed.set()

    def name_stage(self, stage: int, name: str) -> None:
        """Remember what people call a stage of the job."""
        self._stage_names[stage] = name

    def announce(self, action: Announce, *, node: str) -> None:
        """Take down what the machine announced; *node* is that of the worker, if there is one."""
        failure = None if action.failure is None else failure_to_wire(action.failure)
        stage_name, attempt, known = action.stage_name, action.id, None
        if attempt is None and failure is not None:
            known = next((one for one in self.failures if one.failure == failure), None)
        if known is not None:  # the job's failure is that of an attempt
            stage_name, attempt = known.stage_name, attempt_from_wire(known.attempt)
        self.events.append(
            action.kind,
            action.text,
            stage_name=stage_name,
            attempt=attempt,
            worker=action.worker,
            failure=failure,
        )
        if failure is None or known is not None:
            return
        self.failures.append(
            coordinator_pb2.FailureReport(
                attempt=None if action.id is None else attempt_to_wire(action.id),
                stage_name=action.stage_name,
                failure=failure,
                worker_id=action.worker or "",
                node=node,
            )
        )

    def hear(self, kind: str, text: str, attempt: AttemptId, worker: WorkerId) -> None:
        """Take down what user code said: "output" (printed) or "status"."""
        stage_name = self._stage_names.get(attempt.stage, "")
        self.events.append(kind, text, stage_name=stage_name, attempt=attempt, worker=worker)
        self.touch()


class Counted(Protocol):
    """The part of ``core.job.JobMachine`` that tells how far the job is."""

    @property
    def phase(self) -> JobPhase:
        """How far the job is."""
        ...

    def stage_counts(self) -> Sequence[StageCounts]:
        """Return the plan's stages in numbers; empty before there is a plan."""
        ...

    def untaken_stages(self) -> Sequence[str]:
        """Return the stages that have ready tasks, but no worker that may be given them."""
        ...

    def results(self) -> Sequence[ResultPart]:
        """Return the parts of a job that succeeded without output; else nothing."""
        ...


_PHASES = {
    JobPhase.PLANNING: coordinator_pb2.JOB_PHASE_PLANNING,
    JobPhase.RUNNING: coordinator_pb2.JOB_PHASE_RUNNING,
    JobPhase.COMMITTING: coordinator_pb2.JOB_PHASE_COMMITTING,
}
_OUTCOMES = {
    Outcome.SUCCEEDED: coordinator_pb2.JOB_PHASE_SUCCEEDED,
    Outcome.FAILED: coordinator_pb2.JOB_PHASE_FAILED,
    Outcome.CANCELLED: coordinator_pb2.JOB_PHASE_CANCELLED,
}


class Progress:
    """Snapshots of a running job, and the watchers that read them.

    Args:
        job_uid: The job's.
        name: The job's, for people.
        epoch: This coordinator's.
        machine: Who knows the counts.
        journal: Who knows what has happened.
        workers: Who knows who works.
        addresses: Of the partition services, for the results.
        clock: The clock that the machine's times are of.
    """

    def __init__(
        self,
        *,
        job_uid: str,
        name: str,
        epoch: int,
        machine: Counted,
        journal: Journal,
        workers: Workers,
        addresses: Addresses,
        clock: Callable[[], float],
    ) -> None:
        self._job_uid = job_uid
        self._name = name
        self._epoch = epoch
        self._machine = machine
        self._journal = journal
        self._workers = workers
        self._addresses = addresses
        self._clock = clock
        self._started_at = clock()
        self._phase = coordinator_pb2.JOB_PHASE_PLANNING
        self._watchers = 0
        self._final = False
        self._published = asyncio.Event()  # set, and replaced, when there is a newer snapshot
        self._made_at = self._started_at
        self._newest = self._snapshot(None)

    async def run(self) -> None:
        """Publish a snapshot whenever something has changed, unless nobody watches."""
        while True:
            await self._journal.changed.wait()
            self._journal.changed.clear()
            if self._watchers:
                self._refresh()
            await asyncio.sleep(MIN_INTERVAL_S)

    def finish(self, finished: FinishJob) -> None:
        """Publish the last snapshot: how the job ended."""
        self._final = True
        self._publish(self._snapshot(finished))

    async def watch(self, after_event: int) -> AsyncGenerator[coordinator_pb2.WatchReply, None]:
        """Yield the newest snapshot and the events since, whenever there is a newer one.

        Ends after the last snapshot. A caller that comes back late gets the newest snapshot then.
        """
        if not self._watchers:  # else the newest snapshot is new enough
            self._refresh()
        self._watchers += 1
        try:
            seen: coordinator_pb2.JobProgress | None = None
            while True:
                published = self._published  # before looking at the newest, so that none is missed
                if self._newest is not seen:
                    seen = self._newest
                    events = self._journal.events.after(after_event)
                    after_event = self._journal.events.last
                    yield coordinator_pb2.WatchReply(progress=seen, events=events)
                elif self._final:
                    return
                else:
                    await published.wait()
        finally:
            self._watchers -= 1

    def _refresh(self) -> None:
        """Publish what has changed but time, if anything has."""
        if self._final:
            return
        snapshot = self._snapshot(None)
        elapsed_s, snapshot.elapsed_s = snapshot.elapsed_s, self._newest.elapsed_s
        if snapshot != self._newest:
            snapshot.elapsed_s = elapsed_s
            self._publish(snapshot)

    def _publish(self, snapshot: coordinator_pb2.JobProgress) -> None:
        self._newest = snapshot
        self._published.set()
        self._published = asyncio.Event()

    def _snapshot(self, finished: FinishJob | None) -> coordinator_pb2.JobProgress:
        self._made_at = self._clock()
        if finished is None:
            # Once the machine is done it is still the phase before, until output is removed.
            self._phase = _PHASES.get(self._machine.phase, self._phase)
            message = self._what_is_missing()
        else:
            self._phase = _OUTCOMES[finished.outcome]
            message = finished.message
        by_task: dict[TaskRef, int] = {}
        for attempt, records in self._workers.running():  # rivals read the same records
            by_task[attempt.ref] = max(records, by_task.get(attempt.ref, 0))
        in_flight: Counter[int] = Counter()
        for task, records in by_task.items():
            in_flight[task.stage] += records
        return coordinator_pb2.JobProgress(
            job_uid=self._job_uid,
            name=self._name,
            phase=self._phase,
            message=message,
            epoch=self._epoch,
            stages=[
                stage_progress_of(counts, self._started_at, in_flight[stage])
                for stage, counts in enumerate(self._machine.stage_counts(), PLAN_STAGE + 1)
            ],
            workers=self._workers.count,
            slots=self._workers.slots,
            failures=self._journal.failures,
            results=[
                result_part_of(part, self._addresses)
                for part in (self._machine.results() if finished is not None else ())
            ],
            last_event=self._journal.events.last,
            elapsed_s=self._made_at - self._started_at,
        )

    def _what_is_missing(self) -> str:
        if not self._workers.count:
            return "no worker is connected"
        untaken = self._machine.untaken_stages()
        if not untaken:
            return ""
        stages = "stages" if len(untaken) > 1 else "stage"
        return f"no worker takes {stages} {', '.join(untaken)}"
