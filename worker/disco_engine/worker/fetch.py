"""Read one source from a partition service, whatever happens to the connection in between."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc.aio

from disco.v1 import coordinator_pb2, partition_pb2, partition_pb2_grpc
from disco_engine.core.model import Failure, FailureKind, Totals
from disco_engine.core.parts import StoredPart, part_of
from disco_engine.rpc import is_guarded
from disco_engine.wire import fetch_request, totals_from_wire

RESUME_S = 10.0
"""How long a service that stops answering is waited for, from its last message."""

_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,  # the service is shutting down
    grpc.StatusCode.INTERNAL,  # how a connection that is cut mid-message may appear
    grpc.StatusCode.UNKNOWN,
}

Deliver = Callable[[Sequence[partition_pb2.FetchedBlock]], Awaitable[None]]


class SourceError(Exception):
    """A source cannot be read, or is not what it should be.

    Attributes:
        failure: Of the attempt that wanted to read it.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class SourceSilentError(SourceError):
    """The service that has the source could not be reached for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One thing to read.

    Attributes:
        name: What users call it: "label 3 from ps-0", or its URL.
        address: host:port of the service.
        request: Without a cursor.
        expected: What must be found; None: it is another job's, and whatever the service says it
            has. Our coordinator cannot have it made again.
        records: How many must be found, if that is all that is known.
    """

    name: str
    address: str
    request: partition_pb2.FetchRequest
    expected: Totals | None
    records: int | None = None

    @property
    def foreign(self) -> bool:
        """Whether another job wrote it."""
        return self.expected is None


def wanted_source(source: coordinator_pb2.Source, job_uid: str) -> Wanted:
    """Return what to ask for to read *source*."""
    request = partition_pb2.FetchRequest(job_uid=job_uid, stage=source.stage)
    if source.HasField("task"):
        request.tasks.tasks.append(source.task)
        request.tasks.label = source.label
    else:
        request.label = source.label
    return Wanted(
        name=f"label {source.label} from {source.service.service_id}",
        address=source.service.address,
        request=request,
        expected=totals_from_wire(source.expected),
    )


def wanted_result(url: str) -> Wanted:
    """Return what to ask for to read what another job left in a partition service.

    Raises:
        SourceError: *url* names no such thing; see ``disco_engine.core.parts``.
    """
    try:
        part = part_of(url)
    except ValueError as error:
        raise SourceError(_bad_url(str(error), url)) from error
    if not isinstance(part, StoredPart):
        raise SourceError(_bad_url(f"{url} is a part that only its server can find", url))
    if not is_guarded(part.address):
        raise SourceError(
            _bad_url(
                f"{url} is on another machine, and without certificates the job's token must not"
                " travel there: give the job that made it an output URL, and read the files there",
                url,
            )
        )
    return Wanted(
        name=url,
        address=part.address,
        request=fetch_request(part),
        expected=None,
        records=part.records,
    )


async def fetch(
    wanted: Wanted,
    channel: grpc.aio.Channel,
    metadata: tuple[tuple[str, str], ...],
    deliver: Deliver,
) -> None:
    """Give every block to *deliver*, in order and once, then check that nothing is missing.

    A connection that breaks is resumed where it broke.

    Raises:
        SourceError: It could not be read, or something else was found than expected.
        SourceSilentError: The service did not answer.
    """
    reading = _Reading(wanted, partition_pb2_grpc.PartitionStub(channel), metadata, deliver)
    clock = asyncio.get_running_loop().time
    failures, given_up = 0, clock() + RESUME_S
    while (problem := await reading.stream()) is not None:
        if reading.progressed:
            failures, given_up = 0, clock() + RESUME_S
        if clock() >= given_up:
            raise SourceSilentError(reading.unreadable(f"{problem}, for {RESUME_S:.0f} s"))
        await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
        failures += 1
    reading.check()


class _Reading:
    def __init__(
        self,
        wanted: Wanted,
        stub: "partition_pb2_grpc.PartitionAsyncStub",
        metadata: tuple[tuple[str, str], ...],
        deliver: Deliver,
    ) -> None:
        self._wanted = wanted
        self._stub = stub
        self._metadata = metadata
        self._deliver = deliver
        self._cursor = b""
        self._found = Totals()
        self._total: Totals | None = None
        self.progressed = False

    async def stream(self) -> str | None:
        """Read until the end (None) or until the stream breaks (why; another try may help)."""
        self.progressed = False
        request = partition_pb2.FetchRequest()
        request.CopyFrom(self._wanted.request)
        request.cursor = self._cursor
        call = self._stub.Fetch(request, metadata=self._metadata)
        try:
            async for reply in call:
                await self._take(reply)
        except grpc.aio.AioRpcError as error:
            return self._why(error)
        finally:
            call.cancel()
        return None if self._total is not None else "the stream ended without its totals"

    async def _take(self, reply: partition_pb2.FetchReply) -> None:
        blocks, records, size = self._found
        for fetched in reply.blocks:
            block = fetched.block
            blocks += 1
            records += block.records
            size += len(block.frame)
        if reply.blocks:
            await self._deliver(reply.blocks)
        # Only now: what was not delivered must be asked for again.
        self._found = Totals(blocks, records, size)
        self._cursor = reply.cursor
        self.progressed = True
        if reply.HasField("total"):
            self._total = totals_from_wire(reply.total)

    def check(self) -> None:
        """Compare what was found with what there should be.

        Raises:
            SourceError: They differ.
        """
        for expected in (self._total, self._wanted.expected):
            if expected is None or expected == self._found:
                continue
            for unit in ("records", "blocks", "bytes"):
                there, found = getattr(expected, unit), getattr(self._found, unit)
                if there != found:
                    raise SourceError(self._failure(f"expected {there} {unit}, found {found}"))
        if self._wanted.records not in (None, self._found.records):
            problem = f"{self._found.records} of its {self._wanted.records} records are there"
            raise SourceError(self.unreadable(problem, FailureKind.FATAL))

    def unreadable(self, problem: str, kind: FailureKind = FailureKind.DATA) -> Failure:
        """Return that the source cannot be read.

        Args:
            problem: Why.
            kind: Of the failure, if another job wrote it; ours is made again at once.
        """
        if self._wanted.foreign and kind is not FailureKind.INFRASTRUCTURE:
            problem += (
                "; it is the result of another job, which may have been purged: run that job again,"
                " or give it an output URL, and read the files there"
            )
        return self._failure(f"cannot be read: {problem}", kind)

    def _failure(self, problem: str, kind: FailureKind = FailureKind.DATA) -> Failure:
        name = self._wanted.name
        kind = kind if self._wanted.foreign else FailureKind.INFRASTRUCTURE
        return Failure(kind=kind, message=f"{name}: {problem}", input=name)

    def _why(self, error: grpc.aio.AioRpcError) -> str:
        code, text = error.code(), f"{error.code().name}: {error.details()}"
        if code in _TRANSIENT:
            return text
        begin_anew = code is grpc.StatusCode.ABORTED  # the service was started again meanwhile
        kind = FailureKind.INFRASTRUCTURE if begin_anew else FailureKind.FATAL
        raise SourceError(self.unreadable(text, kind)) from error


def _bad_url(message: str, url: str) -> Failure:
    return Failure(kind=FailureKind.FATAL, message=message, input=url)
