"""A backend that tests drive: jobs in memory, whose fate is what they are told.

``FakeBackend`` obeys ``Backend``. What a job runs, nobody runs: ``change``, ``add_events`` and
``finish`` say what becomes of it, and whoever follows it hears of it.
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from disco.v1 import common_pb2, coordinator_pb2, jobs_pb2
from disco_engine.core.model import NOTHING
from disco_engine.phases import ENDED
from disco_engine.wire import portions_of_values
from disco_gateway.backend import (
    Caller,
    ListQuery,
    NewJob,
    Page,
    Position,
    ResultSource,
    Update,
    Verb,
)
from disco_gateway.errors import (
    DeniedError,
    GoneError,
    JobExistsError,
    JobNotFoundError,
    NotPossibleError,
    OverloadedError,
    UnauthenticatedError,
)
from disco_gateway.selectors import parse_selector

TOKEN = "token-of-alice"
"""Of alice, who may do everything everywhere."""

_EPOCH = 1
_MAX_CODE_BYTES = 64 * 1024 * 1024


class FakeCodeStore:
    """Code in memory.

    Attributes:
        kept: Under (namespace, SHA-256).
        limit: How many bytes fit into all of it.
    """

    def __init__(self, max_bytes: int = _MAX_CODE_BYTES) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}
        self.limit = 4 * max_bytes
        self._max_bytes = max_bytes

    @property
    def max_bytes(self) -> int:
        """The most that one upload may have."""
        return self._max_bytes

    async def has(self, namespace: str, sha256: str) -> bool:
        """Return whether the code is there."""
        return (namespace, sha256) in self.kept

    async def put(self, namespace: str, sha256: str, code: bytes) -> None:
        """Keep code whose digest was checked."""
        if sum(map(len, self.kept.values())) + len(code) > self.limit:
            raise OverloadedError("the code store is full", retry_after_s=30.0)
        self.kept[namespace, sha256] = code

    async def read(self, namespace: str, sha256: str) -> bytes | None:
        """Return the code, if it is there and what its digest says."""
        code = self.kept.get((namespace, sha256))
        if code is None or hashlib.sha256(code).hexdigest() != sha256:
            return None
        return code


@dataclass(slots=True, kw_only=True)
class FakeJob:
    """One job.

    Attributes:
        job: What is told of it.
        new: The submission; None: it was not submitted here.
        events: All that are kept, ascending by number.
        source: Where its records are; None: nowhere.
        values: What its tasks left beside their records.
        changed: Set and replaced whenever there is something new.
    """

    job: jobs_pb2.Job
    new: NewJob | None = None
    events: list[coordinator_pb2.JobEvent] = field(default_factory=list)
    source: ResultSource | None = None
    values: dict[str, bytes] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        """Wake all who follow."""
        self.changed.set()
        self.changed = asyncio.Event()


class FakeBackend:
    """Jobs in memory.

    Attributes:
        tokens: Who shows which token; take one out, and it has expired.
        rights: (caller, verb, namespace) that are allowed; "*" stands for any.
        jobs: Under (namespace, name).
        asked: (caller, verb, namespace) of each time that rights were asked for.
        authenticated: How often somebody was authenticated.
        failures: What the next calls of a name raise ("get": [UnavailableError("...")]).
    """

    def __init__(
        self, *, kind: Literal["kubernetes", "local"] = "local", code: FakeCodeStore | None = None
    ) -> None:
        self.tokens = {TOKEN: Caller(name="alice", token=TOKEN)}
        self.rights = {("alice", "*", "*")}
        self.jobs: dict[tuple[str, str], FakeJob] = {}
        self.asked: list[tuple[str, Verb, str]] = []
        self.authenticated = 0
        self.failures: dict[str, list[Exception]] = {}
        self._kind: Literal["kubernetes", "local"] = kind
        self._code = code or FakeCodeStore()

    # What tests do

    def add_caller(self, name: str, token: str, *rights: tuple[str, str]) -> Caller:
        """Let somebody in, with (verb, namespace) that he may; "*" stands for any."""
        caller = Caller(name=name, token=token)
        self.tokens[token] = caller
        self.rights |= {(name, verb, namespace) for verb, namespace in rights}
        return caller

    def add(self, namespace: str, name: str, **fields: Any) -> FakeJob:
        """Make a job that nobody submitted; *fields* are those of ``jobs_pb2.Job``."""
        fields.setdefault("phase", coordinator_pb2.JOB_PHASE_RUNNING)
        job = jobs_pb2.Job(namespace=namespace, name=name, uid=str(uuid.uuid4()), **fields)
        if not job.HasField("created"):
            job.created.FromDatetime(datetime.now(UTC))
        entry = FakeJob(job=job)
        self.jobs[namespace, name] = entry
        return entry

    def change(self, namespace: str, name: str, **fields: Any) -> jobs_pb2.Job:
        """Set fields of a job, and tell who follows it."""
        entry = self._entry(namespace, name)
        for field_name in fields:
            entry.job.ClearField(field_name)  # type: ignore[arg-type]
        entry.job.MergeFrom(jobs_pb2.Job(**fields))
        entry.tell()
        return entry.job

    def add_events(self, namespace: str, name: str, *events: Mapping[str, Any]) -> None:
        """Have something happen: fields of ``JobEvent``, which is numbered here."""
        entry = self._entry(namespace, name)
        for fields in events:
            number = entry.events[-1].number + 1 if entry.events else 1
            entry.events.append(coordinator_pb2.JobEvent(number=number, **fields))
        entry.tell()

    def print(
        self, namespace: str, name: str, text: str, *, stage: str = "map", task: int = 0
    ) -> None:
        """Have the first attempt at a task print something."""
        attempt = common_pb2.AttemptRef(stage=1, task=task, epoch=_EPOCH, attempt=1)
        self.add_events(
            namespace,
            name,
            {"kind": "output", "stage_name": stage, "attempt": attempt, "text": text},
        )

    def finish(
        self,
        namespace: str,
        name: str,
        phase: coordinator_pb2.JobPhase.ValueType = coordinator_pb2.JOB_PHASE_SUCCEEDED,
        *,
        source: ResultSource | None = None,
        **fields: Any,
    ) -> jobs_pb2.Job:
        """End a job, with its last event, and with the records of *source* if it has some."""
        entry = self._entry(namespace, name)
        entry.source = source
        if source is not None:
            total = NOTHING
            for part in source.parts:
                total = total.plus(part.totals)
            fields["results"] = jobs_pb2.ResultsInfo(
                records=total.records, bytes=total.bytes, parts=len(source.parts)
            )
        entry.job.MergeFrom(jobs_pb2.Job(phase=phase, **fields))
        entry.job.finished.FromDatetime(datetime.now(UTC))
        self.add_events(
            namespace, name, {"kind": "job-finished", "text": fields.get("message", "")}
        )
        return entry.job

    # What the gateway does

    @property
    def kind(self) -> Literal["kubernetes", "local"]:
        """What ``About`` tells."""
        return self._kind

    @property
    def default_namespace(self) -> str:
        """Where jobs go whose submission names no namespace."""
        return "default"

    @property
    def code(self) -> FakeCodeStore:
        """Where uploads go."""
        return self._code

    async def authenticate(self, token: str) -> Caller:
        """Return whose token it is."""
        self.authenticated += 1
        self._fail("authenticate")
        caller = self.tokens.get(token)
        if caller is None:
            raise UnauthenticatedError("the token is not accepted: bring one that is valid now")
        return caller

    async def authorize(self, caller: Caller, verb: Verb, namespace: str) -> None:
        """Do nothing, if the caller may do this."""
        self.asked.append((caller.name, verb, namespace))
        self._fail("authorize")
        for who, what, where in self.rights:
            if who == caller.name and what in ("*", verb) and where in ("*", namespace):
                return
        raise DeniedError(caller.name, verb, namespace)

    async def create(self, caller: Caller, new: NewJob, *, dry_run: bool) -> jobs_pb2.Job:
        """Start a job, or return the one that this request has made."""
        self._fail("create")
        there = self.jobs.get((new.namespace, new.name))
        if there is not None:
            if there.new is None or there.new.request_id != new.request_id:
                raise JobExistsError(new.namespace, new.name)
            return there.job
        job = jobs_pb2.Job(
            namespace=new.namespace,
            name=new.name,
            uid="" if dry_run else str(uuid.uuid4()),
            labels=dict(new.labels),
            submitted_by=caller.name,
            phase=coordinator_pb2.JOB_PHASE_PENDING,
        )
        job.spec.update(new.manifest_spec)
        if not dry_run:
            job.created.FromDatetime(datetime.now(UTC))
            self.jobs[new.namespace, new.name] = FakeJob(job=job, new=new)
        return job

    async def get(self, namespace: str, name: str) -> jobs_pb2.Job:
        """Return a job with everything."""
        self._fail("get")
        return self._entry(namespace, name).job

    async def list(self, query: ListQuery) -> Page:
        """Return some of the jobs that are asked for."""
        self._fail("list")
        after = tuple(query.after.split("/"))
        places = sorted(
            place for place in self.jobs if query.namespace in ("", place[0]) and place > after
        )
        looked_at = places[: query.limit]
        more = len(places) > len(looked_at)
        jobs = [_short(self.jobs[place].job) for place in looked_at]
        return Page(
            [job for job in jobs if _wanted(query, job)], "/".join(looked_at[-1]) if more else ""
        )

    async def follow(
        self, namespace: str, name: str, since: Position
    ) -> AsyncGenerator[Update, None]:
        """Yield how a job stands, and whenever that changes."""
        self._fail("follow")
        uid = self._entry(namespace, name).job.uid
        if since.uid not in ("", uid):
            raise GoneError(f"the job {namespace}/{name} that the cursor is of is gone: begin anew")
        position = replace(since, uid=uid, epoch=_EPOCH)
        while True:
            entry = self._entry(namespace, name)
            if entry.job.uid != uid:
                raise JobNotFoundError(namespace, name)
            changed = entry.changed
            events = [event for event in entry.events if event.number > position.event]
            if events:
                position = replace(position, event=events[-1].number)
            job = jobs_pb2.Job()
            job.CopyFrom(entry.job)
            job.ClearField("spec")
            yield Update(job=job, events=events, position=position)
            if job.phase in ENDED:
                return
            await changed.wait()

    async def results(self, namespace: str, name: str) -> tuple[jobs_pb2.Job, ResultSource | None]:
        """Return a job that has succeeded, and where its records are."""
        self._fail("results")
        entry = self._entry(namespace, name)
        job = entry.job
        if job.phase != coordinator_pb2.JOB_PHASE_SUCCEEDED:
            raise NotPossibleError(f"{namespace}/{name}", f"the job {name} has not succeeded")
        if job.results.lost or (entry.source is None and not job.results.output_url):
            raise NotPossibleError(
                f"{namespace}/{name}", f"the results of {name} are lost: {job.results.lost}"
            )
        return job, entry.source

    async def values(
        self, namespace: str, name: str, wanted: coordinator_pb2.ValuesRequest
    ) -> AsyncGenerator[Sequence[common_pb2.NamedValue], None]:
        """Yield what finished tasks of a job left beside their records."""
        self._fail("values")
        values = self._entry(namespace, name).values
        selected = (
            (key, values[key])
            for key in sorted(values)
            if (key == wanted.key if wanted.key else key.startswith(wanted.prefix))
        )
        for portion in portions_of_values(selected, keys_only=wanted.keys_only):
            yield portion

    async def cancel(self, caller: Caller, namespace: str, name: str, reason: str) -> jobs_pb2.Job:
        """Stop a job at once."""
        self._fail("cancel")
        entry = self._entry(namespace, name)
        if entry.job.phase not in ENDED:
            message = f"cancelled by {caller.name}" + f": {reason}" * bool(reason)
            self.finish(namespace, name, coordinator_pb2.JOB_PHASE_CANCELLED, message=message)
        return entry.job

    async def retry(self, caller: Caller, namespace: str, name: str) -> jobs_pb2.Job:
        """Let a failed job wait for its turn again."""
        self._fail("retry")
        entry = self._entry(namespace, name)
        if entry.job.phase != coordinator_pb2.JOB_PHASE_FAILED:
            raise NotPossibleError(f"{namespace}/{name}", f"the job {name} has not failed")
        entry.job.phase = coordinator_pb2.JOB_PHASE_PENDING
        entry.job.ClearField("finished")
        entry.tell()
        return entry.job

    async def delete(self, caller: Caller, namespace: str, name: str, uid: str) -> None:
        """Forget a job."""
        self._fail("delete")
        entry = self._entry(namespace, name)
        if uid not in ("", entry.job.uid):
            raise JobNotFoundError(namespace, name)
        del self.jobs[namespace, name]
        entry.tell()

    def _entry(self, namespace: str, name: str) -> FakeJob:
        try:
            return self.jobs[namespace, name]
        except KeyError:
            raise JobNotFoundError(namespace, name) from None

    def _fail(self, call: str) -> None:
        if self.failures.get(call):
            raise self.failures[call].pop(0)


def _short(job: jobs_pb2.Job) -> jobs_pb2.Job:
    short = jobs_pb2.Job()
    short.CopyFrom(job)
    for name in ("spec", "stages", "failures"):
        short.ClearField(name)
    return short


def _wanted(query: ListQuery, job: jobs_pb2.Job) -> bool:
    created = job.created.ToDatetime(tzinfo=UTC)
    return (
        (not query.phases or job.phase in query.phases)
        and parse_selector(query.label_selector).matches(job.labels)
        and (query.created_from is None or created >= query.created_from)
        and (query.created_before is None or created < query.created_before)
    )
