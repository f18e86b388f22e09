"""One job on this machine: what is known of it, told as the messages that callers get.

Everything here happens on the event loop.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from disco.v1 import coordinator_pb2, jobs_pb2
from disco_engine.core.model import NOTHING
from disco_engine.failures import reason_of, worth_telling
from disco_engine.phases import ENDED
from disco_engine.recent import RecentEvents
from disco_engine.wire import totals_from_wire
from disco_gateway.backend import NewJob, Position
from disco_gateway.local.run import Run
from disco_gateway.local.submission import Order

Phase: TypeAlias = coordinator_pb2.JobPhase.ValueType

PENDING = coordinator_pb2.JOB_PHASE_PENDING
SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED
FAILED = coordinator_pb2.JOB_PHASE_FAILED
CANCELLED = coordinator_pb2.JOB_PHASE_CANCELLED

_EPOCH = 1  # this server numbers the events, from a job's first run to its last
_MAX_EVENTS = 2_000
_MAX_CHARS = 1024 * 1024


def _events() -> RecentEvents:
    return RecentEvents(max_events=_MAX_EVENTS, max_chars=_MAX_CHARS)


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True, eq=False)
class LocalJob:
    """One job, and who waits to hear of it.

    Attributes:
        uid: Tells it from others of its name.
        new: How it was submitted, without its code.
        order: What it is started with.
        owner: Who submitted it.
        reads: Uids of the jobs whose results it reads.
        phase: How it stands.
        reason: Why, in a word; empty if all is well.
        message: Why, in a sentence.
        started: When its newest run began; None: it waits.
        finished: When it ended; None: it has not.
        progress: The newest that its coordinator told, in its newest run.
        run: Its newest run; None: it has not had any.
        stop_reason: Why it is to end; empty: it is not.
        deleted: Nobody may find it any more.
        lost: Why its results cannot be read although it has succeeded; empty: they can.
        events: What happened, numbered over all its runs.
        changed: Set, and replaced, when there is something new.
    """

    uid: str
    new: NewJob
    order: Order
    owner: str
    reads: frozenset[str] = frozenset()
    created: datetime = field(default_factory=now)
    phase: Phase = PENDING
    reason: str = ""
    message: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    progress: coordinator_pb2.JobProgress | None = None
    run: Run | None = None
    stop_reason: str = ""
    deleted: bool = False
    lost: str = ""
    events: RecentEvents = field(default_factory=_events)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        """Its place and name, for people."""
        return f"{self.new.namespace}/{self.new.name}"

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.phase in ENDED

    @property
    def holds_results(self) -> bool:
        """Whether the processes of its run have records that somebody may want."""
        return self.phase == SUCCEEDED and self.new.spec.output is None and not self.lost

    @property
    def expires(self) -> datetime | None:
        """When it is to be deleted; None: not yet known, or never."""
        if self.finished is None or self.order.ttl_s is None:
            return None
        return self.finished + timedelta(seconds=self.order.ttl_s)

    @property
    def position(self) -> Position:
        """After its newest event."""
        return Position(uid=self.uid, epoch=_EPOCH, event=self.events.count)

    # --- what becomes of it -------------------------------------------------------------------

    def tell(self) -> None:
        """Wake all who follow it."""
        self.changed.set()
        self.changed = asyncio.Event()

    def wait(self, message: str) -> None:
        """Have it wait for its turn; *message* says what for."""
        if (self.reason, self.message) != ("Queued", message):
            self.reason, self.message = "Queued", message
            self.tell()

    def again(self) -> None:
        """Have it wait for another run."""
        self.phase = PENDING
        self.started = self.finished = self.progress = None
        self.stop_reason = ""
        self.happened("retried", "the job runs again, from its beginning")

    def begin(self, run: Run) -> None:
        """Have it run."""
        self.run = run
        self.started = now()
        self.phase = coordinator_pb2.JOB_PHASE_PLANNING
        self.reason = self.message = ""
        self.tell()

    def hear(self, reply: coordinator_pb2.WatchReply) -> None:
        """Take over what its engine tells."""
        for event in reply.events:
            event.number = self.events.count + 1
            self.events.add(event)
        progress = reply.progress
        if reply.HasField("progress") and self._is_news(progress):
            self.progress = progress
            self.phase, self.message = progress.phase, progress.message
            self.reason = "NotRunning" if progress.message else ""
            if progress.phase in ENDED:
                self.reason = "Cancelled" if progress.phase == CANCELLED else ""
                if progress.phase == FAILED:
                    self.reason = reason_of(progress)
                self.finished = now()
        self.tell()

    def _is_news(self, progress: coordinator_pb2.JobProgress) -> bool:
        """Tell whether a coordinator knows as much as the one before it that has died."""
        if progress.phase in ENDED or self.progress is None:
            return True
        return bool(progress.stages) or not self.progress.stages

    def end(self, phase: Phase, reason: str, message: str) -> None:
        """End it, unless it is over, for a reason that its coordinator does not know."""
        if self.over:
            return
        self.phase, self.reason, self.message = phase, reason, message
        self.finished = now()
        self.happened("job-finished", message)

    def happened(self, kind: str, text: str) -> None:
        """Add an event that no coordinator tells."""
        number, time_s = self.events.count + 1, now().timestamp()
        event = coordinator_pb2.JobEvent(number=number, time_s=time_s, kind=kind, text=text)
        self.events.add(event)
        self.tell()

    # --- what is told of it -------------------------------------------------------------------

    def as_listed(self) -> jobs_pb2.Job:
        """Return what lists have of it."""
        message = jobs_pb2.Job(
            namespace=self.new.namespace,
            name=self.new.name,
            uid=self.uid,
            labels=dict(self.new.labels),
            submitted_by=self.owner,
            phase=self.phase,
            reason=self.reason,
            message=self.message,
            warnings=self.order.warnings,
        )
        message.created.FromDatetime(self.created)
        if self.started is not None:
            message.started.FromDatetime(self.started)
        if self.finished is not None:
            message.finished.FromDatetime(self.finished)
        if self.progress is not None:
            self._count(message, self.progress)
        if self.phase == SUCCEEDED:
            message.results.CopyFrom(self._results())
        return message

    def as_watched(self) -> jobs_pb2.Job:
        """Return what those who follow it are told."""
        message = self.as_listed()
        if self.progress is not None:
            message.stages.extend(self.progress.stages)
            message.failures.extend(worth_telling(self.progress))
        return message

    def whole(self) -> jobs_pb2.Job:
        """Return all about it."""
        message = self.as_watched()
        message.spec.update(self.new.manifest_spec)
        return message

    def _count(self, message: jobs_pb2.Job, progress: coordinator_pb2.JobProgress) -> None:
        if not self.over:
            message.workers, message.slots = progress.workers, progress.slots
        message.retries = sum(stage.retries for stage in progress.stages)
        message.tasks_done = sum(stage.tasks_done for stage in progress.stages)
        message.tasks_total = sum(stage.tasks_total for stage in progress.stages)

    def _results(self) -> jobs_pb2.ResultsInfo:
        assert self.progress is not None
        output = self.new.spec.output
        if output is not None:
            last = self.progress.stages[-1]
            return jobs_pb2.ResultsInfo(
                records=last.records_out,
                parts=last.tasks_total,
                output_url=output.url,
                output_format=output.format,
            )
        total = NOTHING
        for part in self.progress.results:
            total = total.plus(totals_from_wire(part.totals))
        info = jobs_pb2.ResultsInfo(
            records=total.records,
            bytes=total.bytes,
            parts=len(self.progress.results),
            lost=self.lost,
        )
        if self.expires is not None:
            info.expires.FromDatetime(self.expires)
        return info
