"""Fakes that speak the coordinator's protocols over real sockets, and a scripted machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from disco.v1 import (
    common_pb2,
    coordinator_pb2,
    coordinator_pb2_grpc,
    job_pb2,
    partition_pb2,
    partition_pb2_grpc,
)
from disco_engine.coordinator import link
from disco_engine.coordinator.job_run import run_job
from disco_engine.core.actions import Action, JobPhase, ResultPart, StageCounts
from disco_engine.core.events import Event
from disco_engine.core.model import AttemptId, ServiceId
from disco_engine.core.settings import JobSettings
from disco_engine.core.values import ValueBook
from disco_engine.rpc import aio_channel, aio_server, credentials_of, listen
from disco_engine.wire import attempt_from_wire, attempt_to_wire, settings_to_wire

TOKEN = "the job's token"
UID = "job-1"
PATIENCE_S = 60.0

E_ = TypeVar("E_")


class Observed:
    """Something a test can watch: it waits until what it wants to see is there."""

    def __init__(self) -> None:
        self._noted = asyncio.Event()

    def note(self) -> None:
        self._noted.set()
        self._noted = asyncio.Event()

    async def until(self, seen: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not seen():
                await self._noted.wait()


class FakeMachine(Observed):
    """Notes every event and answers as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = JobPhase.RUNNING
        self.epoch = 0
        self.events: list[Event] = []
        self.counts: list[StageCounts] = []
        self.parts: list[ResultPart] = []
        self.untaken: list[str] = []
        self.values = ValueBook()
        self.knows_values = True
        self.script: Callable[[Event], Sequence[Action]] = lambda event: ()

    def make(
        self,
        settings: JobSettings,
        *,
        epoch: int,
        has_output: bool,
        services: Collection[ServiceId],
        now: float,
    ) -> FakeMachine:
        self.epoch = epoch
        return self

    def handle(self, event: Event) -> Sequence[Action]:
        self.events.append(event)
        actions = self.script(event)
        self.note()
        return actions

    def stage_counts(self) -> Sequence[StageCounts]:
        return self.counts

    def untaken_stages(self) -> Sequence[str]:
        return self.untaken

    def results(self) -> Sequence[ResultPart]:
        return self.parts

    def heard(self, kind: type[E_]) -> list[E_]:
        return [event for event in self.events if isinstance(event, kind)]

    async def hears(self, kind: type[E_], times: int = 1) -> E_:
        """Wait for the nth event of a kind, and return it."""
        await self.until(lambda: len(self.heard(kind)) >= times)
        return self.heard(kind)[times - 1]


class FakePartition(partition_pb2_grpc.PartitionServicer, Observed):
    """Seals whatever it is asked to, remembers, and fails in the ways a test asks for."""

    def __init__(self, service_id: str) -> None:
        Observed.__init__(self)
        self.service_id = service_id
        self.incarnation = "first"
        self.epoch = 0
        self.plan: bytes | None = None
        self.full = False
        self.cannot_write = False
        self.verdicts: dict[AttemptId, int] = {}
        self.decisions: list[list[tuple[str, AttemptId]]] = []
        self.dropped: list[list[AttemptId]] = []
        self.attached: list[int] = []
        self.unanswered_decides = 0
        """So many calls of Decide are carried out but not answered."""
        self.may_decide = asyncio.Event()
        self.may_decide.set()
        self.may_record = asyncio.Event()
        self.may_record.set()
        self.silent = False
        """Nobody hears whether it is there."""
        self.host = "127.0.0.1"  # what others are told
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def start(self) -> None:
        self._server = aio_server(TOKEN)
        self.port = listen(self._server, "127.0.0.1", self.port)
        partition_pb2_grpc.add_PartitionServicer_to_server(self, self._server)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def sealed(self, wanted: int = partition_pb2.DECISION_RESULT_SEALED) -> list[AttemptId]:
        return [attempt for attempt, verdict in self.verdicts.items() if verdict == wanted]

    async def _check(self, epoch: int, context: Any) -> None:
        if epoch < self.epoch:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, f"epoch {epoch} is older than {self.epoch}"
            )

    async def Attach(self, request: Any, context: Any) -> AsyncIterator[partition_pb2.AttachReply]:
        if request.epoch:
            await self._check(request.epoch, context)
            self.epoch = request.epoch
            if self.cannot_write:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full: /data")
        self.attached.append(request.epoch)
        yield partition_pb2.AttachReply(
            state=partition_pb2.ServiceState(
                service_id=self.service_id,
                node=f"node of {self.service_id}",
                incarnation=self.incarnation,
                epoch=self.epoch,
                plan=self.plan,
            )
        )
        for attempt in self.sealed():
            told = partition_pb2.SealedAttempt(attempt=attempt_to_wire(attempt))
            yield partition_pb2.AttachReply(sealed=[told])
        for attempt in self.sealed(partition_pb2.DECISION_RESULT_KEPT):
            told = partition_pb2.SealedAttempt(attempt=attempt_to_wire(attempt))
            yield partition_pb2.AttachReply(copies=[told])
        self.note()

    async def RecordPlan(self, request: Any, context: Any) -> partition_pb2.RecordPlanReply:
        await self._check(request.epoch, context)
        if self.plan not in (None, request.plan):
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "another plan is kept")
        self.plan = request.plan
        self.note()
        await self.may_record.wait()
        return partition_pb2.RecordPlanReply()

    async def Decide(self, request: Any, context: Any) -> partition_pb2.DecideReply:
        await self._check(request.epoch, context)
        called = []
        results: list[Any] = []
        for decision in request.decisions:
            seal = decision.HasField("seal")
            attempt = attempt_from_wire(decision.seal.attempt if seal else decision.discard)
            wanted, said = partition_pb2.DECISION_RESULT_DISCARDED, "discard"
            if seal and decision.seal.copy:
                wanted, said = partition_pb2.DECISION_RESULT_KEPT, "keep"
            elif seal:
                wanted, said = partition_pb2.DECISION_RESULT_SEALED, "seal"
            called.append((said, attempt))
            if said == "seal" and self.verdicts.get(attempt) == partition_pb2.DECISION_RESULT_KEPT:
                self.verdicts[attempt] = wanted
            results.append(self.verdicts.setdefault(attempt, wanted))
        self.decisions.append(called)
        self.note()
        await self.may_decide.wait()
        if self.unanswered_decides:
            self.unanswered_decides -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
        return partition_pb2.DecideReply(results=results)

    async def Drop(self, request: Any, context: Any) -> partition_pb2.DropReply:
        await self._check(request.epoch, context)
        attempts = [attempt_from_wire(attempt) for attempt in request.attempts]
        self.dropped.append(attempts)
        for attempt in attempts:
            self.verdicts[attempt] = partition_pb2.DECISION_RESULT_DISCARDED
        self.note()
        return partition_pb2.DropReply()

    def Push(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError  # workers push; the coordinator never does

    def Fetch(self, request: Any, context: Any) -> Any:
        raise NotImplementedError  # workers fetch; the coordinator never does

    async def Stat(self, request: Any, context: Any) -> partition_pb2.StatReply:
        if self.silent:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "nobody hears it")
        return partition_pb2.StatReply(
            service_id=self.service_id,
            incarnation=self.incarnation,
            full=self.full,
            full_reason="the disk is full: /data" if self.full else "",
            epoch=self.epoch,
        )


class FakeWorker:
    """One stream of a worker: a test says what it sends and looks at what it gets."""

    def __init__(self, channel: grpc.aio.Channel, worker_id: str, token: str = TOKEN) -> None:
        self.worker_id = worker_id
        self.channel = channel
        stub = coordinator_pb2_grpc.CoordinatorStub(channel)
        self.call = stub.Work(metadata=credentials_of(token))

    async def hello(
        self, *, epoch: int = 0, attempts: Sequence[common_pb2.AttemptRef] = ()
    ) -> coordinator_pb2.Welcome:
        """Say hello and return the answer."""
        await self.say(
            hello=coordinator_pb2.Hello(
                worker_id=self.worker_id, node="n1", slots=2, epoch=epoch, attempts=attempts
            )
        )
        return (await self.hear()).welcome

    async def say(self, **body: Any) -> None:
        await self.call.write(coordinator_pb2.WorkerMessage(**body))

    async def report(self, *reports: coordinator_pb2.AttemptReport) -> None:
        await self.say(reports=coordinator_pb2.Reports(reports=reports))

    async def hear(self) -> coordinator_pb2.CoordinatorMessage:
        async with asyncio.timeout(PATIENCE_S):
            message = await self.call.read()
        assert isinstance(message, coordinator_pb2.CoordinatorMessage), "the stream has ended"
        return message

    async def hear_end(self) -> grpc.StatusCode:
        """Read whatever still comes and return how the stream ended."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while isinstance(await self.call.read(), coordinator_pb2.CoordinatorMessage):
                    pass
            except grpc.aio.AioRpcError:
                pass
            code = await self.call.code()
        assert isinstance(code, grpc.StatusCode)
        return code

    async def leave(self) -> None:
        """End the stream, as a worker does that has finished."""
        await self.call.done_writing()

    def die(self) -> None:
        """Break the stream, as a worker does that is killed."""
        self.call.cancel()


class FakeWatcher:
    """One who watches the job, and reads when the test says so."""

    def __init__(self, stub: coordinator_pb2_grpc.CoordinatorAsyncStub, after_event: int) -> None:
        request = coordinator_pb2.WatchRequest(after_event=after_event)
        self.call = stub.Watch(request, metadata=credentials_of(TOKEN))

    async def read(self) -> coordinator_pb2.WatchReply:
        async with asyncio.timeout(PATIENCE_S):
            reply = await self.call.read()
        assert isinstance(reply, coordinator_pb2.WatchReply), "the stream has ended"
        return reply

    async def rest(self) -> list[coordinator_pb2.WatchReply]:
        """Read until the stream ends."""
        replies = []
        async with asyncio.timeout(PATIENCE_S):
            while isinstance(reply := await self.call.read(), coordinator_pb2.WatchReply):
                replies.append(reply)
        return replies


class Coordinator:
    """A coordinator in this process, with a fake machine, real sockets and fake services."""

    def __init__(self, machine: FakeMachine, services: list[FakePartition]) -> None:
        self.machine = machine
        self.services = services
        self.settings = JobSettings(worker_lease_s=60.0, service_lease_s=60.0)
        self.token = TOKEN
        self.wait_for_services_s: float | None = None
        self.least_epoch = 1
        self.port = 0
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._channels: list[grpc.aio.Channel] = []

    def begin(self) -> None:
        """Start it, without waiting until it serves."""

        def on_ready(port: int) -> None:
            self.port = port
            self._ready.set()

        spec = job_pb2.JobSpec(uid=UID, name="a job", settings=settings_to_wire(self.settings))
        self._running = asyncio.create_task(
            run_job(
                spec,
                host="127.0.0.1",
                port=self.port,
                services={ServiceId(s.service_id): s.address for s in self.services},
                token=self.token,
                on_ready=on_ready,
                stop=self._stop,
                make_machine=self.machine.make,
                least_epoch=self.least_epoch,
                wait_for_services_s=self.wait_for_services_s,
            )
        )

    async def start(self) -> None:
        """Start it and wait until it serves workers."""
        self.begin()
        await self.ready()

    async def ready(self) -> None:
        """Wait until it serves workers."""
        async with asyncio.timeout(PATIENCE_S):
            await self._ready.wait()

    def channel(self) -> grpc.aio.Channel:
        channel = aio_channel(f"127.0.0.1:{self.port}")
        self._channels.append(channel)
        return channel

    def worker(self, worker_id: str = "w1", token: str = TOKEN) -> FakeWorker:
        return FakeWorker(self.channel(), worker_id, token)

    def stub(self) -> coordinator_pb2_grpc.CoordinatorAsyncStub:
        return coordinator_pb2_grpc.CoordinatorStub(self.channel())

    def watch(self, after_event: int = 0) -> FakeWatcher:
        return FakeWatcher(self.stub(), after_event)

    def stop(self) -> None:
        self._stop.set()

    async def cancel(
        self, stub: coordinator_pb2_grpc.CoordinatorAsyncStub, reason: str = "a test wants it"
    ) -> coordinator_pb2.CancelReply:
        request = coordinator_pb2.CancelRequest(reason=reason)
        return await stub.Cancel(request, metadata=credentials_of(TOKEN), timeout=PATIENCE_S)

    async def failure(self) -> BaseException:
        """Wait until the coordinator ends by itself and return the error that ended it."""
        assert self._running is not None
        async with asyncio.timeout(PATIENCE_S):
            try:
                await self._running
            except Exception as error:
                cause: BaseException = error
                while isinstance(cause, BaseExceptionGroup):
                    cause = cause.exceptions[0]
                return cause
        raise AssertionError("the coordinator has not failed")

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
        self._stop.set()
        if self._running is not None and not self._running.done():
            await self._running


Start = Callable[..., Awaitable[Coordinator]]


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest_asyncio.fixture
async def start_service() -> AsyncIterator[Callable[[str], Awaitable[FakePartition]]]:
    """Give a function that starts a fake partition service."""
    async with AsyncExitStack() as stack:

        async def start(service_id: str) -> FakePartition:
            service = FakePartition(service_id)
            stack.push_async_callback(service.stop)
            await service.start()
            return service

        yield start


@pytest.fixture(autouse=True)
def checked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what the coordinator notices when it next looks at a service be noticed soon."""
    monkeypatch.setattr(link, "CHECK_INTERVAL_S", 0.2)


@pytest_asyncio.fixture
async def service(start_service: Callable[[str], Awaitable[FakePartition]]) -> FakePartition:
    return await start_service("ps-0")


@pytest_asyncio.fixture
async def coordinator(machine: FakeMachine, service: FakePartition) -> AsyncIterator[Coordinator]:
    """Give a coordinator of one service that has not been started yet."""
    made = Coordinator(machine, [service])
    try:
        yield made
    finally:
        await made.close()
