"""A coordinator and a partition service that listen and remember, and real worker processes."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
import pytest

from disco.v1 import (
    common_pb2,
    coordinator_pb2,
    coordinator_pb2_grpc,
    job_pb2,
    partition_pb2,
    partition_pb2_grpc,
)
from disco_engine.core.settings import JobSettings
from disco_engine.rpc import TOKEN_VARIABLE, aio_server, listen
from disco_engine.wire import attempt_from_wire, settings_to_wire

TOKEN = "a-token-for-tests"
PATIENCE_S = 60  # for processes to start, on a machine that is busy


class FakeCoordinator(coordinator_pb2_grpc.CoordinatorServicer):
    """Lets the test say what a coordinator says, and waits for what the worker answers."""

    def __init__(self, job: job_pb2.JobSpec, port: int = 0, epoch: int = 1) -> None:
        self.job = job
        self.epoch = epoch
        self.heartbeat_s = 0.2
        self.hellos: list[coordinator_pb2.Hello] = []
        self.credit = 0
        self.reports: dict[Any, coordinator_pb2.AttemptReport] = {}
        self.report_messages: list[coordinator_pb2.Reports] = []
        self.progress: dict[Any, coordinator_pb2.AttemptProgress] = {}
        self.statuses: list[str] = []
        self.heartbeats = 0
        self.draining = False
        self.ended_well = False
        self.confirms = True
        self.wants_workers = True
        self.put_off = 0
        self.values: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.refusals: list[grpc.StatusCode] = []
        self._to_worker: asyncio.Queue[coordinator_pb2.CoordinatorMessage | None] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._numbers = 0
        self._server = aio_server(TOKEN)
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(self, self._server)
        self.port = listen(self._server, "127.0.0.1", port)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        self.drop_connection()
        await self._server.stop(None)

    async def Work(
        self, request_iterator: AsyncIterator[coordinator_pb2.WorkerMessage], context: Any
    ) -> AsyncIterator[coordinator_pb2.CoordinatorMessage]:
        if not self.wants_workers:
            async with self._changed:
                self.put_off += 1
                self._changed.notify_all()
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "come again")
        hello = (await anext(request_iterator)).hello
        self.credit = 0
        self._to_worker = asyncio.Queue()
        yield coordinator_pb2.CoordinatorMessage(
            welcome=coordinator_pb2.Welcome(
                epoch=self.epoch, job=self.job, heartbeat_s=self.heartbeat_s
            )
        )
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(request_iterator))
            async with self._changed:
                self.hellos.append(hello)
                self._changed.notify_all()
            while (message := await self._to_worker.get()) is not None:
                yield message
            reading.cancel()

    async def _read(self, messages: AsyncIterator[coordinator_pb2.WorkerMessage]) -> None:
        async for message in messages:
            async with self._changed:
                self._take(message)
                self._changed.notify_all()
        async with self._changed:
            self.ended_well = True
            self._changed.notify_all()
        self.drop_connection()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield

    async def Cancel(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def Values(
        self, request: coordinator_pb2.ValuesRequest, context: Any
    ) -> AsyncIterator[coordinator_pb2.ValuesReply]:
        self.asked.append(request.key)
        if self.refusals:
            await context.abort(self.refusals.pop(0), "not now")
        if request.key in self.values:
            value = common_pb2.NamedValue(key=request.key, value=self.values[request.key])
            yield coordinator_pb2.ValuesReply(values=[value])

    def _take(self, message: coordinator_pb2.WorkerMessage) -> None:
        match message.WhichOneof("body"):
            case "credit":
                self.credit += message.credit.tasks
            case "heartbeat":
                self.heartbeats += 1
                for progress in message.heartbeat.running:
                    self.progress[attempt_from_wire(progress.attempt)] = progress
                    if progress.status:
                        self.statuses.append(progress.status)
            case "draining":
                self.draining = True
            case "reports":
                self.report_messages.append(message.reports)
                for report in message.reports.reports:
                    self.reports[attempt_from_wire(report.attempt)] = report
                if self.confirms:
                    confirm = coordinator_pb2.Confirm(reports=len(message.reports.reports))
                    self.tell(coordinator_pb2.CoordinatorMessage(confirm=confirm))
            case _:
                raise AssertionError(message)

    def tell(self, message: coordinator_pb2.CoordinatorMessage) -> None:
        self._to_worker.put_nowait(message)

    def drop_connection(self) -> None:
        self._to_worker.put_nowait(None)

    def task(self, stage: int = 1, **run: Any) -> coordinator_pb2.TaskAssignment:
        self._numbers += 1
        ref = common_pb2.AttemptRef(stage=stage, task=self._numbers, epoch=self.epoch, attempt=1)
        return coordinator_pb2.TaskAssignment(
            attempt=ref, stage_name="map", run=coordinator_pb2.StageTask(**run)
        )

    def assign(self, *tasks: coordinator_pb2.TaskAssignment) -> None:
        self.tell(
            coordinator_pb2.CoordinatorMessage(assignments=coordinator_pb2.Assignments(tasks=tasks))
        )

    def cancel(self, *tasks: coordinator_pb2.TaskAssignment) -> None:
        cancel = coordinator_pb2.CancelAttempts(attempts=[task.attempt for task in tasks])
        self.tell(coordinator_pb2.CoordinatorMessage(cancel=cancel))

    def ask_back(self, tasks: int, *stages: int) -> None:
        hand_back = coordinator_pb2.HandBack(tasks=tasks, stages=stages)
        self.tell(coordinator_pb2.CoordinatorMessage(hand_back=hand_back))

    def finish(self, *, remove_output: bool = False) -> None:
        finish = coordinator_pb2.Finish(remove_output=remove_output)
        self.tell(coordinator_pb2.CoordinatorMessage(finish=finish))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has arrived that makes *condition* true."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(condition)

    async def report_of(
        self, task: coordinator_pb2.TaskAssignment
    ) -> coordinator_pb2.AttemptReport:
        attempt = attempt_from_wire(task.attempt)
        await self.until(lambda: attempt in self.reports)
        return self.reports[attempt]

    async def run(self, **run: Any) -> coordinator_pb2.AttemptReport:
        """Have the worker run one task and return its report."""
        task = self.task(**run)
        self.assign(task)
        return await self.report_of(task)


class FakePartition(partition_pb2_grpc.PartitionServicer):
    """Keeps what is pushed and hands out what the test puts into it."""

    def __init__(self, port: int = 0, name: str = "ps-0") -> None:
        self.name = name
        self.blocks: dict[Any, list[common_pb2.Block]] = {}
        self.complete: dict[Any, common_pb2.Totals] = {}
        self.push_messages = 0
        self.push_streams = 0
        self.answer = partition_pb2.PUSH_STATUS_COMPLETE
        self.open_gate = asyncio.Event()  # pushes are read while it is set
        self.open_gate.set()
        self.replies: list[partition_pb2.FetchReply] = []
        self.break_after: list[int] = []  # how many replies each fetch gets before it breaks
        self.fetches: list[partition_pb2.FetchRequest] = []
        self.fetch_failure: tuple[grpc.StatusCode, str] | None = None
        self.changed = asyncio.Condition()
        self._breaks: list[asyncio.Event] = []
        self._server = aio_server(TOKEN)
        partition_pb2_grpc.add_PartitionServicer_to_server(self, self._server)
        self.port = listen(self._server, "127.0.0.1", port)

    @property
    def address(self) -> coordinator_pb2.ServiceAddress:
        return coordinator_pb2.ServiceAddress(
            service_id=self.name, address=f"127.0.0.1:{self.port}"
        )

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def Push(
        self, request_iterator: AsyncIterator[partition_pb2.PushRequest], context: Any
    ) -> AsyncIterator[partition_pb2.PushReply]:
        self.push_streams += 1
        async for request in request_iterator:
            await self.open_gate.wait()
            results = []
            for output in request.outputs:
                attempt = attempt_from_wire(output.attempt)
                self.blocks.setdefault(attempt, []).extend(output.blocks)
                if output.HasField("complete"):
                    self.complete[attempt] = output.complete
                if output.HasField("complete") or self.answer != 1:
                    results.append(
                        partition_pb2.PushResult(
                            attempt=output.attempt, status=self.answer, message="says the test"
                        )
                    )
            async with self.changed:
                self.push_messages += 1
                self.changed.notify_all()
            if results:
                yield partition_pb2.PushReply(results=results)

    async def Fetch(
        self, request: partition_pb2.FetchRequest, context: Any
    ) -> AsyncIterator[partition_pb2.FetchReply]:
        self.fetches.append(request)
        start = int(request.cursor or b"0")
        if self.fetch_failure is not None:
            await context.abort(*self.fetch_failure)
        left = self.break_after.pop(0) if self.break_after else len(self.replies)
        for number, reply in enumerate(self.replies[start:], start=start + 1):
            if not left:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
            left -= 1
            reply.cursor = str(number).encode()
            yield reply

    async def Attach(self, request: Any, context: Any) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield

    async def RecordPlan(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def Decide(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def Drop(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def Stat(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def hold(self, *frames: bytes, records: int = 1, label: int = 3) -> common_pb2.Totals:
        """Have *frames* to fetch, each in a message of its own, and return their totals."""
        total = common_pb2.Totals(
            blocks=len(frames), records=records * len(frames), bytes=sum(map(len, frames))
        )
        origin = common_pb2.AttemptRef(stage=1, task=7, epoch=1, attempt=1)
        self.replies = [
            partition_pb2.FetchReply(
                blocks=[
                    partition_pb2.FetchedBlock(
                        attempt=origin,
                        block=common_pb2.Block(label=label, records=records, frame=frame),
                    )
                ]
            )
            for frame in frames
        ]
        self.replies.append(partition_pb2.FetchReply(total=total))
        return total

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a push has made *condition* true."""
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(condition)


class WorkerProcess:
    """A real worker, as a supervisor would start it."""

    def __init__(self, process: asyncio.subprocess.Process, scratch: Path, log: Path) -> None:
        self.process = process
        self.scratch = scratch
        self.log = log

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    @property
    def peak_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def started(self, command: str = "") -> list[int]:
        """Return the processes that this worker or its slots have started and that live."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self.process.pid:
                continue
            with suppress(OSError):
                mine = str(self.scratch).encode() in (entry / "environ").read_bytes()
                if mine and command.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    async def alone(self, command: str = "") -> bool:
        """Wait until those that have been killed are dead, and return that none is left."""
        async with asyncio.timeout(PATIENCE_S):
            for pid in self.started(command):
                await ended(pid)
        return not self.started(command)


async def ended(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(process, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)


PROGRAM = """
import json, logging, os, signal, subprocess, sys, time

class Program:
    def plan(self, request):
        return plan(request)

    def run(self, context):
        do = globals()[context.inputs[0].urls[0] if context.inputs else "reduce"]
        do(context)

def load(payload):
    return Program()

def nothing(context):
    pass
"""


class Bench:
    """A fake coordinator and what a test starts around it."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.coordinator: FakeCoordinator
        self.workers: list[WorkerProcess] = []
        self._stops: list[Callable[[], Awaitable[None]]] = []

    async def begin(self, source: str = "", **settings: Any) -> FakeCoordinator:
        """Serve a job whose functions are in *source*; a task's URL is its function's name."""
        modules = self.tmp_path / "modules"
        modules.mkdir(exist_ok=True)
        (modules / "userjob.py").write_text(PROGRAM + textwrap.dedent(source))
        job = job_pb2.JobSpec(
            uid="job-1",
            name="test",
            code=job_pb2.JobCode(loader="userjob:load", python_path=[str(modules)]),
            settings=settings_to_wire(JobSettings(**settings)),
        )
        return await self.serve(FakeCoordinator(job))

    async def serve(self, coordinator: FakeCoordinator) -> FakeCoordinator:
        self.coordinator = coordinator
        await coordinator.start()
        self._stops.append(coordinator.stop)
        return coordinator

    async def partition(self, port: int = 0, name: str = "ps-0") -> FakePartition:
        service = FakePartition(port, name)
        await service.start()
        self._stops.append(service.stop)
        return service

    async def worker(
        self, *flags: str, slots: int = 1, token: str = TOKEN, wait: bool = True
    ) -> WorkerProcess:
        """Start a worker, and wait until the coordinator has heard of it."""
        name = f"w{len(self.workers)}"
        scratch = self.tmp_path / "scratch" / name
        log = self.tmp_path / f"{name}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "disco_engine.worker"),
                *("--coordinator", f"127.0.0.1:{self.coordinator.port}"),
                *("--worker-id", name, "--node", "here", "--slots", str(slots)),
                *("--scratch-dir", str(scratch), *flags),
                env={**os.environ, TOKEN_VARIABLE: token},
                stdin=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        worker = WorkerProcess(process, scratch, log)
        self.workers.append(worker)
        if wait:
            hellos = len(self.coordinator.hellos)
            await self.coordinator.until(lambda: len(self.coordinator.hellos) > hellos)
        return worker

    async def end(self) -> None:
        for worker in self.workers:
            if worker.process.returncode is None:
                worker.process.kill()
                await worker.ended()
        for stop in reversed(self._stops):
            await stop()


Do: TypeAlias = Callable[[str], list[job_pb2.TaskInput]]


def url(function: str) -> list[job_pb2.TaskInput]:
    return [job_pb2.TaskInput(urls=[function])]


@asynccontextmanager
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    try:
        yield made
    finally:
        await made.end()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A place to start a coordinator, partition services and workers."""
    async with _bench(tmp_path) as made:
        yield made


@pytest.fixture
def do() -> Do:
    """Return the inputs of a task that calls a function of the job."""
    return url
