"""Follows jobs for people: one watch and one coordinator's stream for each job, however many look.

Nothing is queued for anybody. Each follower takes what is newest when he gets round to it, with the
events that he has not heard; a job that nobody follows is forgotten.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Self

from disco.v1 import coordinator_pb2, jobs_pb2
from disco_engine.phases import ENDED
from disco_engine.rpc import Line
from disco_gateway.backend import Position, Update
from disco_gateway.errors import (
    GatewayError,
    GoneError,
    JobNotFoundError,
    OverloadedError,
    UnavailableError,
)
from disco_operator.children.events import unpacked
from disco_operator.gateway.jobs import Jobs
from disco_operator.gateway.view import ended, has_coordinator, job_of
from disco_operator.heard import HeardEvents
from disco_operator.model import JobKey, Json
from disco_operator.stream import Stream

log = logging.getLogger(__name__)

MAX_TOPICS = 500
MAX_CHARS = 64 * 1024 * 1024
"""Of what was heard, of all jobs together."""
MAX_CHARS_OF_JOB = 4 * 1024 * 1024
"""About as much as a coordinator keeps."""
MIN_INTERVAL_S = 0.2
FIRST_WORD_S = 3.0
"""How long a coordinator may take to answer before followers are told what the status says."""
RETRY_S = (0.5, 1.0, 2.0, 5.0)
KEPT_TRIES = 3

Connect = Callable[[JobKey, str], Line]
"""Opens a connection to the coordinator of a job, by its place and uid."""


class Hub:
    """All jobs that somebody follows.

    Args:
        jobs: Where to read.
        connect: Reaches coordinators.
    """

    def __init__(self, jobs: Jobs, connect: Connect) -> None:
        self._jobs = jobs
        self._connect = connect
        self._topics: dict[JobKey, _Topic] = {}
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
        for topic in self._topics.values():
            topic.stop()
        await self._tasks.__aexit__(kind, error, traceback)

    def __len__(self) -> int:
        return len(self._topics)

    def followers(self) -> int:
        """Return how many follow some job."""
        return sum(topic.followers for topic in self._topics.values())

    async def follow(self, key: JobKey, since: Position) -> AsyncGenerator[Update, None]:
        """Yield how a job stands, and whenever that changes; see ``Backend.follow``."""
        topic = self._join(key)
        try:
            position, seen = since, -1
            while True:
                changed = topic.changed
                if topic.problem is not None:
                    raise topic.problem
                if topic.settled and topic.version != seen:
                    seen = topic.version
                    update = topic.update(position)
                    if position is since and since.uid and update.position.uid != since.uid:
                        raise GoneError(f"the job {key} that the cursor is of is gone: begin anew")
                    if position is not since and position.uid != update.position.uid:
                        raise JobNotFoundError(*key)
                    position = update.position
                    over = topic.over
                    yield update
                    if over:
                        return
                    await asyncio.sleep(MIN_INTERVAL_S)
                else:
                    await changed.wait()
        finally:
            self._leave(topic)

    def _join(self, key: JobKey) -> "_Topic":
        topic = self._topics.get(key)
        if topic is None:
            if len(self._topics) >= MAX_TOPICS:
                raise OverloadedError(
                    f"{MAX_TOPICS} jobs are followed here already: try again later",
                    retry_after_s=5.0,
                )
            topic = _Topic(key, self._jobs, self._connect, self._max_chars)
            self._topics[key] = topic
            topic.task = self._tasks.create_task(topic.run(), name=f"follow {key}")
        topic.followers += 1
        return topic

    def _leave(self, topic: "_Topic") -> None:
        topic.followers -= 1
        if not topic.followers:
            if self._topics.get(topic.key) is topic:
                del self._topics[topic.key]
            topic.stop()

    def _max_chars(self) -> int:
        return min(MAX_CHARS_OF_JOB, MAX_CHARS // max(len(self._topics), 1))


class _Topic:
    """One job that is followed.

    Attributes:
        followers: How many.
        task: Runs ``run``.
        problem: Why it cannot be followed.
        settled: There is something to tell.
        version: Grows whenever that changes.
        changed: Set, and replaced, then.
    """

    def __init__(
        self, key: JobKey, jobs: Jobs, connect: Connect, max_chars: Callable[[], int]
    ) -> None:
        self.key = key
        self._jobs = jobs
        self._connect = connect
        self.followers = 0
        self.task: asyncio.Task[None] | None = None
        self.problem: GatewayError | None = None
        self.settled = False
        self.version = 0
        self.changed = asyncio.Event()
        self._body: Json | None = None
        self._progress: coordinator_pb2.JobProgress | None = None
        self._events = HeardEvents(max_chars)
        self._news: asyncio.Queue[Json | None] = asyncio.Queue(maxsize=1)
        self._listening: tuple[asyncio.Task[None], tuple[str, int]] | None = None
        self._recalled: tuple[str, int] | None = None
        self._made: tuple[int, jobs_pb2.Job] | None = None

    def stop(self) -> None:
        """Follow the job no longer."""
        if self.task is not None:
            self.task.cancel()

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self._body is not None and ended(self._body)

    def update(self, position: Position) -> Update:
        """Return what is new for somebody at *position*.

        Raises:
            JobNotFoundError: There is no such job.
        """
        if self._body is None:
            raise JobNotFoundError(*self.key)
        if self._made is None or self._made[0] != self.version:  # once for all followers
            self._made = (self.version, job_of(self._body, self._progress, spec=False))
        job = self._made[1]
        events, behind = self._events.since(position, job.uid)
        return Update(job=job, events=events, position=behind)

    async def run(self) -> None:
        """Follow the job until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch(), name=f"watch {self.key}")
                await self._mind(tasks)
        except Exception:  # a bug is one job's, not that of all who follow others
            log.exception("job cannot be followed", extra={"job": str(self.key)})
            self._fail(UnavailableError(f"the job {self.key} cannot be followed now"))

    async def _watch(self) -> None:
        """Take the job's states from the API server; only the newest waits to be looked at."""
        failures = 0
        while True:
            try:
                async with aclosing(self._jobs.now_and_then(self.key)) as states:
                    async for body in states:
                        failures = 0
                        if self._news.full():
                            self._news.get_nowait()
                        self._news.put_nowait(body)
            except GatewayError as error:
                if not self.settled and (failures >= 1 or not isinstance(error, UnavailableError)):
                    self._fail(error)
                log.info("watch broke", extra={"job": str(self.key), "reason": str(error)})
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1

    async def _mind(self, tasks: asyncio.TaskGroup) -> None:
        """Listen to whom the job's newest state says, and tell of it."""
        while True:
            body = await self._news.get()
            if body is None or (self._body and uid_of(body) != uid_of(self._body)):
                self._stop_listening()
                self._events.clear()
                self._progress = None
            if body is not None:
                await self._attend(tasks, body)
            self._body = body
            self._publish(settled=body is None or not has_coordinator(body))

    async def _attend(self, tasks: asyncio.TaskGroup, body: Json) -> None:
        run = (uid_of(body), run_of(body))
        if has_coordinator(body):
            if self._listening is None or self._listening[1] != run:
                self._stop_listening()
                self._listen(tasks, run)
            return
        self._stop_listening()
        heard_all = self._progress is not None and self._progress.phase in ENDED
        if ended(body) and self._recalled != run:
            if not heard_all:
                await self._recall(body)
            self._recalled = run

    def _listen(self, tasks: asyncio.TaskGroup, run: tuple[str, int]) -> None:
        uid, number = run
        self._progress = None
        stream = Stream(
            partial(self._connect, self.key, uid),
            on_reply=lambda reply, _: self._hear(reply, number),
            on_break=lambda: None,
        )
        task = tasks.create_task(stream.listen(), name=f"listen to {self.key}")
        self._listening = (task, run)
        tasks.create_task(self._settle_later())

    def _hear(self, reply: coordinator_pb2.WatchReply, run: int) -> None:
        self._progress = reply.progress
        self._events.hear(reply, run=run)
        self._publish(settled=True)

    async def _settle_later(self) -> None:
        await asyncio.sleep(FIRST_WORD_S)
        if not self.settled:
            self._publish(settled=True)

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening[0].cancel()
            self._listening = None

    async def _recall(self, body: Json) -> None:
        """Take what was kept of a job that has ended, if its coordinator did not tell us all."""
        for attempt in range(KEPT_TRIES):
            try:
                found = await self._jobs.kept_events(self.key, uid_of(body))
            except GatewayError as error:
                log.info("events not read", extra={"job": str(self.key), "reason": str(error)})
                await asyncio.sleep(RETRY_S[attempt])
                continue
            told = None if found is None else unpacked(found)
            if told is not None:
                self._events.hear(told, run=run_of(body))
            return

    def _publish(self, *, settled: bool) -> None:
        self.settled = self.settled or settled
        self.version += 1
        self.changed.set()
        self.changed = asyncio.Event()

    def _fail(self, problem: GatewayError) -> None:
        self.problem = problem
        self.changed.set()
        self.changed = asyncio.Event()


def uid_of(body: Json) -> str:
    """Return the uid of an object."""
    return str(body["metadata"]["uid"])


def run_of(body: Json) -> int:
    """Return how often a DiscoJob was started again."""
    return int(body.get("status", {}).get("runs", 0))
