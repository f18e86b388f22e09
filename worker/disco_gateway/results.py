"""Results out of partition services, part by part, for readers that come back on another replica.

Consecutive parts of one service are read in one selection. The cursor that a reader keeps says
which part is being read, how much of it he has, which selection is running and where the service
was in it. If the service has been started again since, its word is worthless: the part is read
again from its beginning, and what the reader has is skipped, because the blocks of one attempt
always come in the same order.

One message of the service is in memory at a time, however slowly it is read.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import grpc
import grpc.aio

from disco.v1 import jobs_pb2, partition_pb2, partition_pb2_grpc
from disco_engine import wire
from disco_engine.core.model import NOTHING, Totals
from disco_engine.rpc import Line
from disco_gateway.backend import Part, ResultSource
from disco_gateway.cursors import Place, place_to_text
from disco_gateway.errors import (
    GoneError,
    InvalidRequestError,
    NotPossibleError,
    UnavailableError,
)

RUN_PARTS = 500
"""Parts in one selection, at most: 500 tasks are 2 KB of request."""

_RETRY_AFTER_S = 0.2
_SILENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,  # the service is shutting down
    grpc.StatusCode.INTERNAL,  # how a connection that is cut mid-message may appear
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


async def result_replies(
    request: jobs_pb2.ResultsRequest,
    job: jobs_pb2.Job,
    source: ResultSource | None,
    place: Place | None,
    *,
    patience_s: float,
) -> AsyncGenerator[jobs_pb2.ResultsReply, None]:
    """Yield what the reader of a job's results is told.

    Args:
        request: What he wants.
        job: Which job.
        source: Where its records are; None: in its output.
        place: Where he was; None: at the beginning.
        patience_s: How long to go on trying while a partition service does not answer.

    Raises:
        InvalidRequestError: There are no such parts, or the place is of another request.
        GoneError: The place is in the results of another job.
        NotPossibleError: The results are not what the job said.
        UnavailableError: A partition service does not answer.
    """
    reply = jobs_pb2.ResultsReply(info=job.results)
    if source is None:
        yield reply
        return
    reading = Reading(source, _start(request, job, source, place), f"{job.namespace}/{job.name}")
    pieces = _pieces(reading, source, patience_s)
    async with aclosing(pieces):
        async for piece in pieces:
            reply.blocks.extend(piece)
            reply.cursor = place_to_text(reading.place)
            yield reply
            reply = jobs_pb2.ResultsReply()
    reply.cursor = place_to_text(reading.place)
    reply.total.CopyFrom(wire.totals_to_wire(reading.total))
    yield reply


def _start(
    request: jobs_pb2.ResultsRequest, job: jobs_pb2.Job, source: ResultSource, place: Place | None
) -> Place:
    count = len(source.parts)
    if request.first_part > count:
        raise InvalidRequestError.of(
            "first_part",
            f"the result has {count} parts, counted from 0, and no {request.first_part}",
        )
    first = request.first_part
    stop = min(count, first + request.parts) if request.parts else count
    if place is None:
        return Place(uid=job.uid, first=first, stop=stop, part=first)
    if place.uid != job.uid:
        raise GoneError(
            f"the cursor is of another job that was called {job.namespace}/{job.name}: begin anew"
        )
    if (place.first, place.stop) != (first, stop):
        raise InvalidRequestError.of(
            "cursor", "first_part and parts must be as in the request that it is of"
        )
    return place


class Reading:
    """Whose blocks come, whether all of them came, and what to ask for next. It decides only.

    Attributes:
        place: How far it is.
        service: Id of the partition service that has the running selection.
    """

    def __init__(self, source: ResultSource, start: Place, subject: str) -> None:
        self.place = start
        self.service = ""
        self._job_uid = source.job_uid
        self._parts = source.parts
        self._subject = subject
        self._skip = NOTHING  # of the part being read: what the reader has, but comes again

    @property
    def total(self) -> Totals:
        """All that was asked for."""
        totals = NOTHING
        for part in self._parts[self.place.first : self.place.stop]:
            totals = totals.plus(part.totals)
        return totals

    def request(self) -> partition_pb2.FetchRequest | None:
        """Return what to ask for, of ``service``; None: that was all."""
        if not (self.place.inner and self._is_run(self.place.run_first, self.place.run_stop)):
            self.start_over()
        while self.place.part < self.place.stop:
            run = self._parts[self.place.run_first : self.place.run_stop]
            if tasks := [part.task for part in run if part.totals.blocks]:
                self.service = run[0].service
                return partition_pb2.FetchRequest(
                    job_uid=self._job_uid,
                    stage=run[0].stage,
                    tasks=partition_pb2.TaskSelector(tasks=tasks),
                    cursor=self.place.inner,
                    copies=run[0].copy,
                )
            self._leave_until(self.place.run_stop)
            self.start_over()
        return None

    def start_over(self) -> None:
        """Have a new selection begin with the part being read; what was sent of it is skipped."""
        first = self.place.part
        self.place = replace(self.place, run_first=first, run_stop=self._run_stop(first), inner=b"")
        self._skip = self.place.sent

    def _is_run(self, first: int, stop: int) -> bool:
        """Tell whether parts can be one selection that the part being read is in."""
        return first <= self.place.part < stop <= self._run_stop(first)

    def _run_stop(self, first: int) -> int:
        """Return behind which part a selection must end that begins with *first*."""
        stop = first
        for part in self._parts[first : min(self.place.stop, first + RUN_PARTS)]:
            if _selected_as(part) != _selected_as(self._parts[first]):
                break
            stop += 1
        return stop

    def take(self, fetched: partition_pb2.FetchReply) -> list[jobs_pb2.ResultBlock]:
        """Return what is new to the reader, and go on to behind it.

        Raises:
            NotPossibleError: What came is not what there should be.
        """
        fresh = []
        for entry in fetched.blocks:
            self._leave_until(self._part_of(entry.attempt.task))
            block = entry.block
            one = Totals(1, block.records, len(block.frame))
            if self._skip.blocks:
                self._skip = self._skip.minus(one)
                if not self._skip.blocks and self._skip != NOTHING:
                    raise self._damaged("has other blocks than it had a while ago")
                continue
            self.place = replace(self.place, sent=self.place.sent.plus(one))
            fresh.append(
                jobs_pb2.ResultBlock(part=self.place.part, records=block.records, frame=block.frame)
            )
        self.place = replace(self.place, inner=fetched.cursor)
        if fetched.HasField("total"):
            self._leave_until(self.place.run_stop)
            self.start_over()
        return fresh

    def _part_of(self, task: int) -> int:
        """Return which part a block is of that a task wrote: this one, or one that follows."""
        for number in range(self.place.part, self.place.run_stop):
            if self._parts[number].task == task:
                return number
        raise self._damaged(f"is followed by a block of task {task}, which is none of those wanted")

    def _leave_until(self, stop: int) -> None:
        """Go on to part *stop*, if all of those before it came."""
        while self.place.part < stop:
            expected = self._parts[self.place.part].totals
            if self._skip.blocks or self.place.sent != expected:
                raise self._damaged(f"has {self.place.sent}, and should have {expected}")
            self.place = replace(self.place, part=self.place.part + 1, sent=NOTHING)

    def _damaged(self, problem: str) -> NotPossibleError:
        return NotPossibleError(
            self._subject,
            f"part {self.place.part} of the results of {self._subject} {problem}: they are damaged;"
            " run the job again",
        )


def _selected_as(part: Part) -> tuple[str, int, bool]:
    """Return what parts have in common that are read in one selection."""
    return part.service, part.stage, part.copy


class _SilentError(Exception):
    """A partition service does not answer, or only half; another try may help."""


class _StaleError(Exception):
    """A partition service has been started again: its cursor is worthless."""


class _Lines:
    """Open connections to partition services: as many as there are, for as long as one reads."""

    def __init__(self, source: ResultSource) -> None:
        self._connect = source.connect
        self._open: dict[str, Line] = {}

    async def __aenter__(self) -> "_Lines":
        return self

    async def __aexit__(self, *_: object) -> None:
        for service in tuple(self._open):
            await self.drop(service)

    def to(self, service: str) -> Line:
        """Return the connection to a service."""
        if service not in self._open:
            self._open[service] = self._connect(service)
        return self._open[service]

    async def drop(self, service: str) -> None:
        """Close a connection: the next one may lead to where the service is now."""
        await self._open.pop(service).channel.close()


async def _pieces(
    reading: Reading, source: ResultSource, patience_s: float
) -> AsyncGenerator[list[jobs_pb2.ResultBlock], None]:
    """Yield what comes, message by message; nothing is asked for before it is wanted."""
    clock = asyncio.get_running_loop().time
    async with _Lines(source) as lines:
        given_up_s = clock() + patience_s
        while (request := reading.request()) is not None:
            service = reading.service
            fetched = _fetched(lines.to(service), request, patience_s)
            try:
                async with aclosing(fetched):
                    async for message in fetched:
                        if blocks := reading.take(message):
                            yield blocks
                        given_up_s = clock() + patience_s
            except _StaleError as error:
                reading.start_over()
                problem: Exception = error
            except _SilentError as error:
                await lines.drop(service)
                problem = error
            else:
                continue
            if clock() >= given_up_s:
                raise UnavailableError(
                    f"partition service {service} did not answer for {patience_s:g} s ({problem})",
                    retry_after_s=5.0,
                ) from problem
            await asyncio.sleep(_RETRY_AFTER_S)


async def _fetched(
    line: Line, request: partition_pb2.FetchRequest, patience_s: float
) -> AsyncGenerator[partition_pb2.FetchReply, None]:
    """Yield the messages of one stream to its end; each is read when it is wanted, and not before.

    Raises:
        _SilentError: The stream broke.
        _StaleError: The request's cursor is worthless.
        NotPossibleError: The service does not have what is asked for.
    """
    call = partition_pb2_grpc.PartitionStub(line.channel).Fetch(request, metadata=line.metadata)
    try:
        while True:
            async with asyncio.timeout(patience_s):
                message = await call.read()
            if not isinstance(message, partition_pb2.FetchReply):  # the end
                raise _SilentError("it ended a stream without its totals")
            yield message
            if message.HasField("total"):
                return
    except TimeoutError as error:
        raise _SilentError("it is silent") from error
    except grpc.aio.AioRpcError as error:
        raise _meaning_of(error, request) from error
    finally:
        call.cancel()


def _meaning_of(error: grpc.aio.AioRpcError, request: partition_pb2.FetchRequest) -> Exception:
    code, text = error.code(), f"{error.code().name}: {error.details()}"
    if code in _SILENT:
        return _SilentError(text)
    if code is grpc.StatusCode.ABORTED or (
        code is grpc.StatusCode.INVALID_ARGUMENT and request.cursor
    ):
        return _StaleError(text)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return UnavailableError(
            "the partition service does not accept the gateway's credentials", retry_after_s=5.0
        )
    return NotPossibleError(
        "results", f"the partition service cannot give the results ({text}): run the job again"
    )
