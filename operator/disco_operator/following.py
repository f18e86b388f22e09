"""Follows the coordinators of running jobs: one ``Watch`` stream each, taken up again if it breaks.

Called by ``reconcile``, which says whom to follow and reads what they told last. Nothing here
decides anything.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

import grpc.aio

from disco.v1 import coordinator_pb2
from disco_engine.rpc import Line
from disco_gateway.backend import Position
from disco_operator.heard import HeardEvents
from disco_operator.model import DiscoJob, JobKey
from disco_operator.stream import Stream, all_events

log = logging.getLogger(__name__)

MAX_EVENTS = 100
ALL_EVENTS_DEADLINE_S = 3.0
MAX_CHARS = 16 * 1024 * 1024
"""Of events that are remembered, of all jobs, in case a coordinator does not answer at its end."""
MAX_CHARS_OF_JOB = 1024 * 1024
JOBS_PER_SECOND = 50
"""Progress alone makes at most about so many jobs a second be looked at, however many run."""
CALLS_PER_SECOND = 50
"""So many coordinators that do not answer are called again in a second, however many there are."""
COUNT_S = 1.0


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
    stream: Stream
    remembered: HeardEvents
    task: asyncio.Task[None] | None = None
    heard: coordinator_pb2.JobProgress | None = None
    events: deque[coordinator_pb2.JobEvent] = field(
        default_factory=lambda: deque(maxlen=MAX_EVENTS)
    )
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
        self._silent = 0  # coordinators that did not answer when they were counted last
        self._count_at = 0.0

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

    def follow(self, job: DiscoJob, *, may_answer: bool) -> None:
        """Follow a job's coordinator, from now on and until it is forgotten.

        Args:
            job: The job; what its status says it has heard is not told again.
            may_answer: Whether there is somebody to be called, if it is not followed yet.
        """
        if job.uid in self._followers or not may_answer:
            return
        heard = job.status.get("coordinator", {})
        stream = Stream(
            partial(self._connect, job),
            on_reply=lambda reply, was_broken: self._hear(follower, reply, was_broken),
            on_break=lambda: self._on_news(follower.key),
            epoch=heard.get("epoch", 0),
            last_event=heard.get("lastEvent", 0),
            least_pause_s=self._least_pause_s,
        )
        remembered = HeardEvents(self._max_chars)
        follower = _Follower(key=job.key, stream=stream, remembered=remembered)
        self._followers[job.uid] = follower
        follower.task = self._tasks.create_task(stream.listen(), name=f"follow {job.key}")

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
        stream = follower.stream
        return News(
            progress=stream.progress,
            events=events,
            silent_s=stream.silent_s,
            problem=stream.problem,
        )

    async def cancel(self, uid: str, reason: str) -> bool:
        """Ask a coordinator to end its job; return False if it cannot be asked now."""
        follower = self._followers.get(uid)
        if follower is None:
            return False
        try:
            await follower.stream.cancel(reason)
        except grpc.aio.AioRpcError as error:
            log.info(
                "coordinator cannot be asked to cancel",
                extra={"job": str(follower.key), "reason": f"{error.code().name}"},
            )
            return False
        return True

    async def all_events(self, job: DiscoJob) -> coordinator_pb2.WatchReply | None:
        """Return all events that a job's coordinator keeps.

        If it cannot be asked now: the newest of those that were heard while it was followed; None
        if there are none.
        """
        try:
            return await all_events(self._connect(job), timeout_s=ALL_EVENTS_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            log.info(
                "coordinator cannot be asked for its events",
                extra={"job": str(job.key), "reason": f"{error.code().name}: {error.details()}"},
            )
            return self._remembered(job.uid)

    def _remembered(self, uid: str) -> coordinator_pb2.WatchReply | None:
        follower = self._followers.get(uid)
        if follower is None:
            return None
        events, _ = follower.remembered.since(Position(), uid)
        if not events:
            return None
        return coordinator_pb2.WatchReply(progress=follower.heard, events=events)

    def _max_chars(self) -> int:
        return min(MAX_CHARS_OF_JOB, MAX_CHARS // max(len(self._followers), 1))

    def _hear(
        self, follower: _Follower, reply: coordinator_pb2.WatchReply, was_broken: bool
    ) -> None:
        before, follower.heard = follower.heard, reply.progress
        follower.events.extend(reply.events)
        follower.remembered.hear(reply, run=0)  # of one run: a retry is followed anew
        if before is None or was_broken or _turned(before, reply.progress) or self._due(follower):
            follower.told_at = _now()
            self._on_news(follower.key)

    def _least_pause_s(self) -> float:
        if _now() >= self._count_at:  # thousands are not counted at every call
            self._count_at = _now() + COUNT_S
            self._silent = sum(1 for other in self._followers.values() if other.stream.silent)
        # Not all that were cut off at the same time come back at the same time.
        return self._silent / CALLS_PER_SECOND * random.uniform(0.5, 1.5)

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
