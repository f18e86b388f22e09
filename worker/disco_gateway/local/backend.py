"""The backend that is this machine: which jobs there are, who may change them, how long they stay.

``runner`` runs them. Nothing is kept beyond the server's end.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from disco.v1 import common_pb2, coordinator_pb2, job_pb2, jobs_pb2
from disco_engine.local.errors import EngineError
from disco_engine.local.session import session_token
from disco_engine.rpc import Line, aio_channel, credentials_of
from disco_engine.wire import portions_of_values, totals_from_wire
from disco_gateway.backend import (
    Caller,
    CodeStore,
    ListQuery,
    NewJob,
    Page,
    Part,
    Position,
    ResultSource,
    Update,
    Verb,
)
from disco_gateway.errors import (
    GoneError,
    JobExistsError,
    JobNotFoundError,
    NotPossibleError,
    OverloadedError,
    UnavailableError,
)
from disco_gateway.local.chaining import let_read, served_parts
from disco_gateway.local.job import FAILED, SUCCEEDED, LocalJob, now
from disco_gateway.local.runner import Runner
from disco_gateway.local.sharing import Policy
from disco_gateway.local.submission import Capacity, order_of
from disco_gateway.local.users import Users, check_owner
from disco_gateway.selectors import parse_selector

DEFAULT_NAMESPACE = "default"

_TELLING_S = 5.0
"""How long those who follow jobs may take to hear how these ended, when the server ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """How jobs are run here.

    Attributes:
        directory: For the files of all jobs; private to this user.
        capacity: What there is to give.
        policy: Who comes first.
        max_queued: Jobs that may wait.
        keep_finished: Jobs that have ended and are kept; older ones are deleted.
        keep_results: Of these, jobs whose results are kept by processes of theirs.
    """

    directory: Path
    capacity: Capacity
    policy: Policy = Policy.FAIR
    max_queued: int = 1_000
    keep_finished: int = 100
    keep_results: int = 20


@asynccontextmanager
async def local_backend(
    settings: LocalSettings, users: Users, code: CodeStore
) -> AsyncIterator["LocalBackend"]:
    """Run jobs while the block runs; at its end all are stopped, and all of their files removed."""
    with ExitStack() as stack:
        async with asyncio.TaskGroup() as tasks:
            backend = LocalBackend(settings, users, code, tasks)
            stack.callback(backend.forget)
            expiring = tasks.create_task(backend.expire(), name="expire")
            try:
                yield backend
            finally:
                expiring.cancel()
                await backend.close()


class LocalBackend:
    """Obeys ``Backend``; made by ``local_backend``."""

    def __init__(
        self, settings: LocalSettings, users: Users, code: CodeStore, tasks: asyncio.TaskGroup
    ) -> None:
        self._settings = settings
        self._users = users
        self._code = code
        self._runner = Runner(
            directory=settings.directory,
            capacity=settings.capacity.workers,
            policy=settings.policy,
            tasks=tasks,
            on_end=self._ended,
        )
        self._jobs: dict[tuple[str, str], LocalJob] = {}
        self._submitting = asyncio.Lock()
        self._held: frozenset[str] = frozenset()  # jobs whose results one is about to read
        self._closing = False
        self._finished = asyncio.Event()  # since ``expire`` has looked
        self._followers: set[asyncio.Task[Any]] = set()

    async def stop(self) -> None:
        """Cancel all jobs, and wait until those who follow one have heard of it, if they listen."""
        self._closing = True
        await self._runner.stop()
        if self._followers:
            await asyncio.wait(self._followers, timeout=_TELLING_S)

    async def close(self) -> None:
        """End all processes."""
        self._closing = True
        await self._runner.close()

    async def kill(self) -> None:
        """End all processes at once; ``close`` then has little to wait for."""
        await self._runner.kill()

    def forget(self) -> None:
        """Let go of what is left, when nothing goes on any more."""
        self._runner.forget()

    async def expire(self) -> None:
        """Delete jobs whose time is over, for ever."""
        while True:
            read = self._read()
            times = [
                job.expires
                for job in self._jobs.values()
                if job.expires is not None and job.uid not in read
            ]
            wait_s = (min(times) - now()).total_seconds() if times else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._finished.wait()
            self._finished.clear()
            read = self._read()
            for job in list(self._jobs.values()):
                if job.expires is not None and job.expires <= now() and job.uid not in read:
                    self._forget(job)

    # --- who ----------------------------------------------------------------------------------

    @property
    def kind(self) -> Literal["kubernetes", "local"]:
        """What ``About`` tells."""
        return "local"

    @property
    def default_namespace(self) -> str:
        """Where jobs go whose submission names no namespace."""
        return DEFAULT_NAMESPACE

    @property
    def code(self) -> CodeStore:
        """Where uploads go."""
        return self._code

    async def authenticate(self, token: str) -> Caller:
        """Return whose token it is."""
        return self._users.of(token)

    async def authorize(self, caller: Caller, verb: Verb, namespace: str) -> None:
        """Do nothing: all may submit and see. Whose job it is, is asked where one is changed."""

    # --- jobs ---------------------------------------------------------------------------------

    async def create(self, caller: Caller, new: NewJob, *, dry_run: bool) -> jobs_pb2.Job:
        """Let a job wait for its turn, or return the one that this request has made."""
        async with self._submitting:
            there = self._of_request(new)
            if there is not None:
                return there.whole()
            if (new.namespace, new.name) in self._jobs:
                raise JobExistsError(new.namespace, new.name)
            uid = str(uuid.uuid4())
            order, message = order_of(new, uid, self._settings.capacity)
            self._check_room()
            parts = served_parts(message)
            reads = self._held = frozenset(part.uid for _, part in parts)
            try:
                if parts:
                    await asyncio.to_thread(let_read, message, parts, self._find)
                new = replace(new, code=None)
                job = LocalJob(uid=uid, new=new, order=order, owner=caller.name, reads=reads)
                return await self._take(job, message, dry_run=dry_run)
            finally:
                self._held = frozenset()

    async def _take(
        self, job: LocalJob, message: job_pb2.JobSpec, *, dry_run: bool
    ) -> jobs_pb2.Job:
        if dry_run:
            told = job.whole()
            told.ClearField("uid")
            told.ClearField("created")
            return told
        try:
            await self._runner.keep(job, message)
        except OSError as error:
            raise UnavailableError(
                f"the server has no room for the job ({error.strerror}): free some on its disk",
                retry_after_s=30.0,
            ) from error
        self._jobs[job.new.namespace, job.new.name] = job
        self._runner.enqueue(job)
        return job.whole()

    def _find(self, namespace: str, name: str) -> LocalJob | None:
        return self._jobs.get((namespace, name))

    def _of_request(self, new: NewJob) -> LocalJob | None:
        for job in self._jobs.values():
            if (job.new.namespace, job.new.request_id) == (new.namespace, new.request_id):
                return job
        return None

    def _check_room(self) -> None:
        if self._closing:
            raise UnavailableError("the server ends", retry_after_s=None)
        if self._runner.waiting >= self._settings.max_queued:
            raise OverloadedError(
                f"{self._settings.max_queued} jobs wait already, the most that this server lets"
                " wait (--max-queued): try again when some have run",
                retry_after_s=10.0,
            )

    async def get(self, namespace: str, name: str) -> jobs_pb2.Job:
        """Return a job with everything."""
        return self._job(namespace, name).whole()

    async def list(self, query: ListQuery) -> Page:
        """Return some of the jobs that are asked for."""
        after = tuple(query.after.split("/"))
        places = sorted(
            place for place in self._jobs if query.namespace in ("", place[0]) and place > after
        )
        looked_at = places[: query.limit]
        selector = parse_selector(query.label_selector)
        jobs = [
            job.as_listed()
            for job in map(self._jobs.__getitem__, looked_at)
            if (not query.phases or job.phase in query.phases)
            and selector.matches(job.new.labels)
            and (query.created_from is None or job.created >= query.created_from)
            and (query.created_before is None or job.created < query.created_before)
        ]
        more = len(places) > len(looked_at)
        return Page(jobs, "/".join(looked_at[-1]) if more else "")

    async def follow(
        self, namespace: str, name: str, since: Position
    ) -> AsyncGenerator[Update, None]:
        """Yield how a job stands, and whenever that changes, until it has ended."""
        job = self._job(namespace, name)
        if since.uid not in ("", job.uid):
            raise GoneError(
                f"the job {job.name} that the cursor is of is gone, and there is another of its"
                " name: begin anew"
            )
        heard = since.event
        self._note_follower()
        while not job.deleted:
            changed, over, position = job.changed, job.over, job.position
            yield Update(job=job.as_watched(), events=job.events.after(heard), position=position)
            heard = position.event
            if over:  # before that was told: more may have happened since
                return
            await changed.wait()
        raise JobNotFoundError(namespace, name)

    def _note_follower(self) -> None:
        """Have ``stop`` wait until the call that goes on has been answered, to its end."""
        call = asyncio.current_task()
        assert call is not None
        self._followers.add(call)
        call.add_done_callback(self._followers.discard)

    async def results(self, namespace: str, name: str) -> tuple[jobs_pb2.Job, ResultSource | None]:
        """Return a job that has succeeded, and where its records are."""
        job = self._job(namespace, name)
        if job.phase != SUCCEEDED or job.progress is None:
            raise NotPossibleError(job.name, f"the job {job.name} has not succeeded")
        if job.lost:
            raise NotPossibleError(job.name, f"the results of {job.name} are gone: {job.lost}")
        if not job.holds_results:
            return job.whole(), None
        addresses = {part.service.service_id: part.service.address for part in job.progress.results}

        def connect(service: str) -> Line:
            return Line(
                channel=aio_channel(addresses[service]), metadata=credentials_of(session_token())
            )

        parts = [
            Part(part.service.service_id, part.stage, part.task, totals_from_wire(part.totals))
            for part in job.progress.results
        ]
        return job.whole(), ResultSource(job_uid=job.uid, parts=parts, connect=connect)

    async def values(
        self, namespace: str, name: str, wanted: coordinator_pb2.ValuesRequest
    ) -> AsyncGenerator[Sequence[common_pb2.NamedValue], None]:
        """Yield what finished tasks of a job left beside their records; kept as long as the job."""
        job = self._job(namespace, name)
        if job.run is None:
            return
        try:
            values = await job.run.values(wanted)
        except EngineError as error:
            raise NotPossibleError(job.name, str(error)) from error
        pairs = ((value.key, value.value) for value in values)
        for portion in portions_of_values(pairs, keys_only=wanted.keys_only):
            yield portion

    async def cancel(self, caller: Caller, namespace: str, name: str, reason: str) -> jobs_pb2.Job:
        """Have a job end."""
        job = self._job(namespace, name)
        check_owner(caller, job.owner, Verb.PATCH, namespace)
        self._runner.cancel(job, f"cancelled by {caller.name}" + f": {reason}" * bool(reason))
        return job.whole()

    async def retry(self, caller: Caller, namespace: str, name: str) -> jobs_pb2.Job:
        """Run a failed job again, from its beginning: what it had finished went with its processes.

        Its name, uid and position among events stay.
        """
        job = self._job(namespace, name)
        check_owner(caller, job.owner, Verb.PATCH, namespace)
        if job.phase != FAILED:
            raise NotPossibleError(
                job.name, f"the job {job.name} has not failed: only failed jobs can be retried"
            )
        self._check_room()
        there = {other.uid for other in self._jobs.values() if other.holds_results}
        if not job.reads <= there:
            raise NotPossibleError(
                job.name,
                f"the results that {job.name} is to read are gone: run the jobs that made them, and"
                " submit it again with theirs",
            )
        self._runner.retry(job)
        return job.whole()

    async def delete(self, caller: Caller, namespace: str, name: str, uid: str) -> None:
        """Remove a job and what it left."""
        job = self._job(namespace, name)
        check_owner(caller, job.owner, Verb.DELETE, namespace)
        if uid not in ("", job.uid):
            raise JobNotFoundError(namespace, name)
        for other in self._jobs.values():
            if job.uid in other.reads and not other.over:
                self._runner.cancel(
                    other, f"it reads the results of {job.name}, which {caller.name} has deleted"
                )
        self._forget(job)

    def _job(self, namespace: str, name: str) -> LocalJob:
        try:
            return self._jobs[namespace, name]
        except KeyError:
            raise JobNotFoundError(namespace, name) from None

    # --- how long -----------------------------------------------------------------------------

    def _ended(self, _: LocalJob) -> None:
        """Let go of the oldest of the jobs that have ended, if there are too many now.

        Those that never ran go first: who cancels a hundred of them must not take everybody's
        results away. Those whose results are read stay until that has ended.
        """
        self._finished.set()
        read = self._read()
        ended = [job for job in self._jobs.values() if job.over and job.uid not in read]
        ended.sort(key=lambda job: (job.run is not None, job.finished or now()))
        for job in _all_but(self._settings.keep_finished, ended):
            self._forget(job)
        holders = [job for job in ended if job.holds_results and not job.deleted]
        for job in _all_but(self._settings.keep_results, holders):
            self._runner.drop_results(
                job,
                f"this server keeps those of the newest {self._settings.keep_results} jobs"
                " (--keep-results): run it again, with an output",
            )

    def _read(self) -> frozenset[str]:
        """Return the uids of the jobs whose results others read, or are about to."""
        active = (job.reads for job in self._jobs.values() if not job.over)
        return self._held.union(*active)

    def _forget(self, job: LocalJob) -> None:
        del self._jobs[job.new.namespace, job.new.name]
        self._runner.discard(job)


def _all_but(newest: int, jobs: Sequence[LocalJob]) -> Sequence[LocalJob]:
    return jobs[: max(0, len(jobs) - newest)]
