"""One coordinator's ``Watch`` stream, taken up again whenever it breaks, until the job is over.

Shared by whoever listens: ``following`` for the operator, ``gateway.hub`` for people.
"""

import asyncio
from collections.abc import Callable

import grpc
import grpc.aio

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.phases import ENDED
from disco_engine.rpc import Line

RETRY_S = (0.5, 1.0, 2.0, 5.0)
CANCEL_DEADLINE_S = 3.0


class Stream:
    """A coordinator that is listened to.

    Args:
        connect: Opens a connection to the coordinator; asked anew whenever it is called again. One
            that stays open tries by itself, several times a second, and thousands of those take
            all the time there is.
        on_reply: Called with each reply, after the attributes have changed, and with whether the
            stream had been broken before it.
        on_break: Called when a stream that was open has broken.
        epoch: Of the coordinator that was heard last; 0: none was.
        last_event: Number of its newest event that was heard; only newer ones are asked for.
        least_pause_s: Asked how long to wait at least before it is called again.

    Attributes:
        progress: The newest; None: nothing yet.
        epoch: Of the coordinator that numbers the events; 0: it does not know yet.
        last_event: The newest that was heard of.
        broken_at: Since when there has been no stream, on the loop's clock; None: it is open.
        problem: Why there is none.
    """

    def __init__(
        self,
        connect: Callable[[], Line],
        *,
        on_reply: Callable[[coordinator_pb2.WatchReply, bool], None],
        on_break: Callable[[], None],
        epoch: int = 0,
        last_event: int = 0,
        least_pause_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._connect = connect
        self._on_reply = on_reply
        self._on_break = on_break
        self._least_pause_s = least_pause_s
        self.progress: coordinator_pb2.JobProgress | None = None
        self.epoch = epoch
        self.last_event = last_event
        self.broken_at: float | None = _now()
        self.problem = ""

    @property
    def silent(self) -> bool:
        """There is no stream now."""
        return self.broken_at is not None

    @property
    def silent_s(self) -> float:
        """Seconds without a stream; 0: it is open."""
        return 0.0 if self.broken_at is None else _now() - self.broken_at

    @property
    def over(self) -> bool:
        """Whether the coordinator has said how the job ended."""
        return self.progress is not None and self.progress.phase in ENDED

    async def listen(self) -> None:
        """Read the stream, again and again, until the job is over."""
        failures = 0
        while not self.over:
            problem = await self._read()
            if self.broken_at is None:  # it was open: that is news
                failures = 0
                self.broken_at = _now()
                self._on_break()
            self.problem = problem
            pause_s = RETRY_S[min(failures, len(RETRY_S) - 1)]
            await asyncio.sleep(max(pause_s, self._least_pause_s()))
            failures += 1

    async def cancel(self, reason: str) -> None:
        """Ask the coordinator to end its job.

        Raises:
            grpc.aio.AioRpcError: It cannot be asked now.
        """
        request = coordinator_pb2.CancelRequest(reason=reason)
        line = self._connect()
        stub = coordinator_pb2_grpc.CoordinatorStub(line.channel)
        try:
            await stub.Cancel(request, metadata=line.metadata, timeout=CANCEL_DEADLINE_S)
        finally:
            await line.channel.close()

    async def _read(self) -> str:
        """Read one stream to its end and return why it ended."""
        request = coordinator_pb2.WatchRequest(after_event=self.last_event)
        line = self._connect()
        stub = coordinator_pb2_grpc.CoordinatorStub(line.channel)
        call = stub.Watch(request, metadata=line.metadata)
        try:
            async for reply in call:
                if not self._hear(reply):
                    return "another coordinator has taken over"
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        finally:
            call.cancel()
            await line.channel.close()
        return "the coordinator ended the stream"

    def _hear(self, reply: coordinator_pb2.WatchReply) -> bool:
        """Take a reply; return False if it must be asked for again: events count from 1 again."""
        progress, was_broken = reply.progress, self.broken_at is not None
        self.broken_at, self.problem = None, ""
        if progress.epoch and progress.epoch != self.epoch:
            known, self.epoch = self.epoch, progress.epoch
            if known and self.last_event:
                self.last_event = 0
                return False
        self.progress = progress
        self.last_event = max(self.last_event, progress.last_event)
        self._on_reply(reply, was_broken)
        return True


async def all_events(line: Line, *, timeout_s: float) -> coordinator_pb2.WatchReply:
    """Return progress with all events that a coordinator still keeps, also after the end.

    Args:
        line: To the coordinator; closed afterwards.
        timeout_s: For everything.

    Raises:
        grpc.aio.AioRpcError: It cannot be asked now.
    """
    stub = coordinator_pb2_grpc.CoordinatorStub(line.channel)
    call = stub.Watch(coordinator_pb2.WatchRequest(), metadata=line.metadata, timeout=timeout_s)
    try:
        async for reply in call:
            return reply
    finally:
        call.cancel()
        await line.channel.close()
    return coordinator_pb2.WatchReply()


def _now() -> float:
    return asyncio.get_running_loop().time()
