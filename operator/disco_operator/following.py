"""Follows the coordinators of running jobs: one ``Watch`` stream each, taken up again if it breaks.

Called by ``reconcile``, which says whom to follow and reads what they told last. Nothing here
decides anything.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.rpc import Line
from disco_operator.model import DiscoJob, JobKey

log = logging.getLogger(__name__)

RETRY_S = (0.5, 1.0, 2.0, 5.0)
CANCEL_DEADLINE_S = 3.0
MAX_EVENTS = 100
JOBS_PER_SECOND = 50
"""Progress alone makes at most about so many jobs a second be looked at, however many run."""

_OVER = frozenset(
    {
        coordinator_pb2.JOB_PHASE_SUCCEEDED,
        coordinator_pb2.JOB_PHASE_FAILED,
        coordinator_pb2.JOB_PHASE_CANCELLED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a coordinator told last.

    Attributes:
        progress: The newest; None: nothing yet.
        events: Since they were taken last, oldest first.
        silent_s: Seconds since the stream broke; 0: it is open.
        problem: Why it broke.
    """

    progress: coordinator_pb2.JobProgress | None = None
    events: Sequence[coordinator_pb2.JobEvent] = ()
    silent_s: float = 0.0
    problem: str = ""


NOTHING = News()


@dataclass(slots=True, kw_only=True)
class _Follower:
    key: JobKey
    line: Line
    stub: "coordinator_pb2_grpc.CoordinatorAsyncStub"
    task: asyncio.Task[None] | None = None
    progress: coordinator_pb2.JobProgress | None = None
    events: deque[coordinator_pb2.JobEvent] = field(
        default_factory=lambda: deque(maxlen=MAX_EVENTS)
    )
    epoch: int = 0
    last_event: int = 0
    broken_at: float | None
    problem: str = ""
    told_at: float = 0.0


class Following:
    """All coordinators that are followed.

    Args:
        on_news: Called with the key of a job of which there is something new.
        connect: Opens a connection to a job's coordinator.
    """

    def __init__(
        self, on_news: Callable[[JobKey], None], connect: Callable[[DiscoJob], Line]
    ) -> None:
        self._on_news = on_news
        self._connect = connect
        self._followers: dict[str, _Follower] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for uid in list(self._followers):
            self.forget(uid)
        await self._tasks.__aexit__(kind, error, traceback)

    def __len__(self) -> int:
        return len(self._followers)

    def follow(self, job: DiscoJob) -> None:
        """Follow a job's coordinator, from now on and until it is forgotten.

        Args:
            job: The job; what its status says it has heard is not told again.
        """
        if job.uid in self._followers:
            return
        heard = job.status.get("coordinator", {})
        line = self._connect(job)
        follower = _Follower(
            key=job.key,
            line=line,
            stub=coordinator_pb2_grpc.CoordinatorStub(line.channel),
            epoch=heard.get("epoch", 0),
            last_event=heard.get("lastEvent", 0),
            broken_at=_now(),
        )
        self._followers[job.uid] = follower
        follower.task = self._tasks.create_task(self._listen(follower), name=f"follow {job.key}")

    def forget(self, uid: str) -> None:
        """Follow a job's coordinator no longer."""
        follower = self._followers.pop(uid, None)
        if follower is not None and follower.task is not None:
            follower.task.cancel()

    def keep_only(self, uids: frozenset[str]) -> None:
        """Forget all jobs but these."""
        for uid in self._followers.keys() - uids:
            self.forget(uid)

    def take_news(self, uid: str) -> News:
        """Return what a coordinator told last; its events are told only once."""
        follower = self._followers.get(uid)
        if follower is None:
            return NOTHING
        events = tuple(follower.events)
        follower.events.clear()
        silent_s = 0.0 if follower.broken_at is None else _now() - follower.broken_at
        return News(
            progress=follower.progress,
            events=events,
            silent_s=silent_s,
            problem=follower.problem,
        )

    async def cancel(self, uid: str, reason: str) -> bool:
        """Ask a coordinator to end its job; return False if it cannot be asked now."""
        follower = self._followers.get(uid)
        if follower is None:
            return False
        request = coordinator_pb2.CancelRequest(reason=reason)
        try:
            await follower.stub.Cancel(
                request, metadata=follower.line.metadata, timeout=CANCEL_DEADLINE_S
            )
        except grpc.aio.AioRpcError as error:
            log.info(
                "coordinator cannot be asked to cancel",
                extra={"job": str(follower.key), "reason": f"{error.code().name}"},
            )
            return False
        return True

    async def _listen(self, follower: _Follower) -> None:
        """Read one coordinator's stream, again and again, until the job is over."""
        failures = 0
        try:
            while not (follower.progress and follower.progress.phase in _OVER):
                problem = await self._read(follower)
                if follower.broken_at is None:  # it was open: that is news
                    failures = 0
                    follower.broken_at = _now()
                    self._on_news(follower.key)
                follower.problem = problem
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
        finally:
            await follower.line.channel.close()

    async def _read(self, follower: _Follower) -> str:
        """Read one stream to its end and return why it ended."""
        request = coordinator_pb2.WatchRequest(after_event=follower.last_event)
        call = follower.stub.Watch(request, metadata=follower.line.metadata)
        try:
            async for reply in call:
                if not self._hear(follower, reply):
                    return "another coordinator has taken over"
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        finally:
            call.cancel()
        return "the coordinator ended the stream"

    def _hear(self, follower: _Follower, reply: coordinator_pb2.WatchReply) -> bool:
        """Take a reply; return False if it must be asked for again: events count from 1 again."""
        progress, before = reply.progress, follower.progress
        was_broken = follower.broken_at is not None
        follower.broken_at, follower.problem = None, ""
        if progress.epoch and progress.epoch != follower.epoch:
            known, follower.epoch = follower.epoch, progress.epoch
            if known and follower.last_event:
                follower.last_event = 0
                return False
        follower.progress = progress
        follower.events.extend(reply.events)
        follower.last_event = max(follower.last_event, progress.last_event)
        if before is None or was_broken or _turned(before, progress) or self._due(follower):
            follower.told_at = _now()
            self._on_news(follower.key)
        return True

    def _due(self, follower: _Follower) -> bool:
        interval_s = max(1.0, len(self._followers) / JOBS_PER_SECOND)
        return _now() - follower.told_at >= interval_s


def _turned(before: coordinator_pb2.JobProgress, after: coordinator_pb2.JobProgress) -> bool:
    """Return whether something happened that should be seen, or acted on, at once."""
    return (
        before.phase != after.phase
        or before.message != after.message
        or len(before.failures) != len(after.failures)
        or [s.tasks_total for s in before.stages] != [s.tasks_total for s in after.stages]
        or [s.tasks_done == s.tasks_total for s in before.stages]
        != [s.tasks_done == s.tasks_total for s in after.stages]
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
