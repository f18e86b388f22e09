"""The coordinator as a process, with real partition services and workers played by the test."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

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
from disco_engine.core import label_table
from disco_engine.core.model import Totals
from disco_engine.core.settings import JobSettings
from disco_engine.local.ports import ReservedPort
from disco_engine.rpc import TOKEN_VARIABLE, aio_channel, credentials_of
from disco_engine.wire import settings_to_wire

TOKEN = "the job's token"
UID = "job-1"
PATIENCE_S = 60.0
INPUTS = 20
FRAME = b"ten bytes."


class Child:
    """A process of the job and where it listens."""

    def __init__(self, module: str, name: str, directory: Path) -> None:
        self.ready_file = directory / f"{name}.ready"
        self.port = 0
        self._module = module
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, *flags: str, env: dict[str, str] | None = None) -> None:
        """Start it without waiting for anything."""
        self.ready_file.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self._module, "--port", str(self.port)),
            *("--ready-file", str(self.ready_file), *flags),
            env={**os.environ, TOKEN_VARIABLE: TOKEN} if env is None else env,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def serve(self, *flags: str) -> None:
        """Start it and wait until it serves."""
        await self.start(*flags)
        await self.serving()

    async def serving(self) -> None:
        """Wait until it serves."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.ready_file.exists():
                assert self._process is not None
                if self._process.returncode is not None:
                    raise AssertionError((await self.ended())[1])
                await asyncio.sleep(0.01)  # a file tells nobody when it appears
        self.port = json.loads(self.ready_file.read_text())["port"]

    async def first_line(self) -> bytes:
        """Wait for the first thing it logs."""
        assert self._process is not None
        assert self._process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.stderr.readline()

    async def ended(self) -> tuple[int, str]:
        """Wait until it ends; return its exit status and what it logged."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE_S):
            _, logged = await self._process.communicate()
        status = self._process.returncode
        assert status is not None
        return status, logged.decode()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def close_stdin(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def close(self) -> None:
        """Kill it if it runs."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.communicate()
            self._process = None


class Job:
    """One job's processes, started and stopped as the test says."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spec_file = directory / "job"
        self.code = job_pb2.JobCode()
        self.settings = JobSettings(worker_lease_s=20.0, service_lease_s=5.0)
        self.services = [Child("disco_engine.partition", f"ps-{n}", directory) for n in (0, 1)]
        self.coordinator = Child("disco_engine.coordinator", "coordinator", directory)
        self.channels = AsyncExitStack()

    async def serve_partition(self, number: int) -> None:
        name = f"ps-{number}"
        await self.services[number].serve(
            *("--job-uid", UID, "--service-id", name, "--node", f"node-{number}"),
            *("--data-dir", str(self.directory / name)),
        )

    def coordinator_flags(self) -> Sequence[str]:
        spec = job_pb2.JobSpec(
            uid=UID, name="a job", code=self.code, settings=settings_to_wire(self.settings)
        )
        self.spec_file.write_bytes(spec.SerializeToString())
        flags = ["--job-file", str(self.spec_file)]
        for number, service in enumerate(self.services):
            flags += ["--partition-service", f"ps-{number}={service.address}"]
        return flags

    async def channel(self, address: str) -> grpc.aio.Channel:
        return await self.channels.enter_async_context(aio_channel(address))

    async def worker(self, name: str) -> Worker:
        stub = coordinator_pb2_grpc.CoordinatorStub(await self.channel(self.coordinator.address))
        return Worker(self, stub.Work(metadata=credentials_of(TOKEN)), name)

    async def cancel(self, reason: str) -> coordinator_pb2.CancelReply:
        stub = coordinator_pb2_grpc.CoordinatorStub(await self.channel(self.coordinator.address))
        request = coordinator_pb2.CancelRequest(reason=reason)
        return await stub.Cancel(request, metadata=credentials_of(TOKEN), timeout=PATIENCE_S)

    async def watch(self) -> list[coordinator_pb2.WatchReply]:
        """Watch until the job is over."""
        stub = coordinator_pb2_grpc.CoordinatorStub(await self.channel(self.coordinator.address))
        call = stub.Watch(coordinator_pb2.WatchRequest(), metadata=credentials_of(TOKEN))
        async with asyncio.timeout(PATIENCE_S):
            return [reply async for reply in call]

    async def close(self) -> None:
        await self.channels.aclose()
        for child in (self.coordinator, *self.services):
            await child.close()


class Worker:
    """Plays a worker: one block for label 0 from every task, pushed to a real service.

    The plan is a stage of many tasks and a stage that reads all of label 0.
    """

    def __init__(self, job: Job, call: Any, name: str) -> None:
        self.ran: list[tuple[int, int]] = []
        """Stage and task of every attempt that was run."""
        self.name = name
        self._job = job
        self._call = call

    async def hello(self, *, slots: int = 1) -> coordinator_pb2.Welcome:
        hello = coordinator_pb2.Hello(worker_id=self.name, node="node-0", slots=slots)
        await self._say(hello=hello)
        return (await self.read()).welcome

    async def work(self, *, reports: int | None = None) -> None:
        """Run tasks one after the other until told to finish, or until so many are reported."""
        while reports is None or reports > 0:
            await self._say(credit=coordinator_pb2.Credit(tasks=1))
            while not (message := await self.read()).HasField("assignments"):
                if message.HasField("finish"):
                    await self._call.done_writing()
                    return
            (task,) = message.assignments.tasks
            self.ran.append((task.attempt.stage, task.attempt.task))
            await self._say(reports=coordinator_pb2.Reports(reports=[await self._run(task)]))
            if reports is not None:
                reports -= 1

    async def assigned_for(self, *, credit: int) -> int:
        """Grant credit and return how many tasks came before a later report was confirmed."""
        await self._say(credit=coordinator_pb2.Credit(tasks=credit))
        while not (message := await self.read()).HasField("assignments"):
            pass  # the confirmation of what was reported before
        assigned = len(message.assignments.tasks)
        unknown = common_pb2.AttemptRef(stage=0, task=0, epoch=77, attempt=1)
        report = coordinator_pb2.AttemptReport(attempt=unknown, failed=common_pb2.Failure())
        await self._say(reports=coordinator_pb2.Reports(reports=[report]))
        while not (message := await self.read()).HasField("confirm"):
            assigned += len(message.assignments.tasks)
        return assigned

    def die(self) -> None:
        self._call.cancel()

    async def _run(self, task: coordinator_pb2.TaskAssignment) -> coordinator_pb2.AttemptReport:
        result = coordinator_pb2.AttemptResult()
        if task.HasField("plan"):
            result.plan.stages.add(name="map", grouping=job_pb2.GROUPING_SPLIT)
            result.plan.stages.add(name="reduce", grouping=job_pb2.GROUPING_GROUP_LABEL)
            for number in range(INPUTS):
                result.plan.inputs.add(urls=[f"/input/{number}"])
        else:
            result.records_in = sum(source.expected.records for source in task.run.sources)
            pushed = await self._push(task)
            if pushed is None:
                return coordinator_pb2.AttemptReport(
                    attempt=task.attempt,
                    failed=common_pb2.Failure(
                        kind=common_pb2.FAILURE_KIND_INFRASTRUCTURE, message="refused"
                    ),
                )
            result.label_table = label_table.pack({0: pushed})
        return coordinator_pb2.AttemptReport(attempt=task.attempt, finished=result)

    async def _push(self, task: coordinator_pb2.TaskAssignment) -> Totals | None:
        """Push the task's block; None: the service was restarted, and refuses the attempt."""
        totals = common_pb2.Totals(blocks=1, records=1, bytes=len(FRAME))
        outputs = partition_pb2.AttemptBlocks(
            attempt=task.attempt,
            layout=task.run.layout,
            blocks=[common_pb2.Block(label=0, records=1, frame=FRAME)],
            complete=totals,
        )
        channel = await self._job.channel(task.run.push_to.address)
        call = partition_pb2_grpc.PartitionStub(channel).Push(metadata=credentials_of(TOKEN))
        await call.write(partition_pb2.PushRequest(job_uid=UID, outputs=[outputs]))
        async with asyncio.timeout(PATIENCE_S):
            reply = await call.read()
        await call.done_writing()
        assert isinstance(reply, partition_pb2.PushReply)
        if reply.results[0].status == partition_pb2.PUSH_STATUS_REFUSED:
            return None
        assert reply.results[0].status == partition_pb2.PUSH_STATUS_COMPLETE
        return Totals(1, 1, len(FRAME))

    async def _say(self, **body: Any) -> None:
        await self._call.write(coordinator_pb2.WorkerMessage(**body))

    async def read(self) -> coordinator_pb2.CoordinatorMessage:
        async with asyncio.timeout(PATIENCE_S):
            message = await self._call.read()
        assert isinstance(message, coordinator_pb2.CoordinatorMessage), "the stream has ended"
        return message


@pytest_asyncio.fixture
async def job(tmp_path: Path) -> AsyncIterator[Job]:
    made = Job(tmp_path)
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture
async def running(job: Job) -> Job:
    """Give a job whose partition services and coordinator serve."""
    for number in range(len(job.services)):
        await job.serve_partition(number)
    await job.coordinator.serve(*job.coordinator_flags())
    return job


async def test_a_job_runs_to_its_end_and_can_still_be_watched(running: Job) -> None:
    worker = await running.worker("w1")
    assert (await worker.hello()).epoch > 1_700_000_000  # seconds since 1970: of its start
    await worker.work()
    (reply,) = await running.watch()
    progress = reply.progress
    assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert [(s.name, s.tasks_total, s.tasks_done) for s in progress.stages] == [
        ("map", INPUTS, INPUTS),
        ("reduce", 1, 1),
    ]
    assert progress.stages[1].records_in == INPUTS
    assert [part.totals.records for part in progress.results] == [1]
    running.coordinator.signal(signal.SIGTERM)
    status, logged = await running.coordinator.ended()
    assert status == 0
    assert all(json.loads(line)["event"] for line in logged.splitlines())


async def test_no_more_tasks_are_assigned_than_there_is_credit_for(running: Job) -> None:
    worker = await running.worker("w1")
    await worker.hello(slots=5)
    await worker.work(reports=1)  # the plan
    assert await worker.assigned_for(credit=3) == 3
    assert await worker.assigned_for(credit=2) == 2


async def test_a_cancelled_job_tells_its_workers_and_its_watchers(running: Job) -> None:
    worker = await running.worker("w1")
    await worker.hello(slots=5)
    await worker.work(reports=1)
    await worker.assigned_for(credit=3)
    assert not (await running.cancel("enough")).already_over
    kinds = [(await worker.read()).WhichOneof("body") for _ in range(2)]
    assert kinds == ["cancel", "finish"]
    (reply,) = await running.watch()
    assert reply.progress.phase == coordinator_pb2.JOB_PHASE_CANCELLED
    assert reply.progress.message == "enough"
    assert (await running.cancel("again")).already_over


async def test_a_worker_that_comes_back_is_given_again_what_it_no_longer_has(
    running: Job,
) -> None:
    worker = await running.worker("w1")
    await worker.hello(slots=5)
    await worker.work(reports=1)
    await worker.assigned_for(credit=3)
    worker.die()
    again = await running.worker("w1")
    await again.hello()
    await again.work()
    (reply,) = await running.watch()
    assert reply.progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert sorted(again.ran) == [*((1, t) for t in range(INPUTS)), (2, 0)]


async def test_a_new_coordinator_goes_on_from_what_is_sealed(running: Job) -> None:
    first = await running.worker("w1")
    before = (await first.hello()).epoch
    await first.work(reports=1 + INPUTS // 2)
    # The next assignment follows the seal of the one before, or both are in flight: a snapshot
    # with all of them done says that the services have them.
    await _until_done(running, INPUTS // 2)
    running.coordinator.signal(signal.SIGKILL)
    await running.coordinator.ended()
    await running.coordinator.serve(*running.coordinator_flags())
    second = await running.worker("w1")
    assert (await second.hello()).epoch > before
    await second.work()
    (reply,) = await running.watch()
    assert reply.progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert (0, 0) not in second.ran
    assert sorted(first.ran[1:] + second.ran) == [*((1, t) for t in range(INPUTS)), (2, 0)]


async def test_a_partition_service_that_is_killed_and_restarted_costs_no_result(
    running: Job,
) -> None:
    worker = await running.worker("w1")
    await worker.hello()
    await worker.work(reports=1 + INPUTS // 2)
    running.services[0].signal(signal.SIGKILL)
    await running.services[0].ended()
    await running.serve_partition(0)
    await worker.work()
    (reply,) = await running.watch()
    assert reply.progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert reply.progress.stages[1].records_in == INPUTS


async def test_two_coordinators_of_one_job_end_with_the_older_one_fenced(running: Job) -> None:
    newer = Child("disco_engine.coordinator", "newer", running.directory)
    try:
        await newer.serve(*running.coordinator_flags())
        status, logged = await running.coordinator.ended()
        assert status == 4
        assert "this coordinator has been replaced" in logged
    finally:
        await newer.close()


async def test_a_taken_port_is_said_in_one_line(running: Job) -> None:
    second = Child("disco_engine.coordinator", "second", running.directory)
    second.port = running.coordinator.port
    try:
        await second.start(*running.coordinator_flags())
        status, logged = await second.ended()
        assert status == 3
        assert f"cannot listen on 127.0.0.1:{second.port}" in logged
        assert "Traceback" not in logged
    finally:
        await second.close()


async def test_it_stops_while_it_still_waits_for_its_services(job: Job) -> None:
    for service in job.services:
        service.port = 1  # nobody listens there
    await job.coordinator.start(*job.coordinator_flags())
    await job.coordinator.first_line()
    job.coordinator.signal(signal.SIGTERM)
    status, _ = await job.coordinator.ended()
    assert status == 0


async def test_it_waits_for_services_as_long_as_it_is_told(job: Job) -> None:
    job.settings = JobSettings(service_lease_s=0.2)
    ports = [ReservedPort() for _ in job.services]
    for service, port in zip(job.services, ports, strict=True):
        service.port = port.port
    await job.coordinator.start(*job.coordinator_flags(), "--wait-for-services", "1000")
    for number in range(len(job.services)):
        await job.serve_partition(number)
    await job.coordinator.serving()
    assert (await (await job.worker("w1")).hello()).epoch
    for port in ports:
        port.release()


@pytest.mark.parametrize("whole", [True, False])
async def test_code_that_comes_in_a_file_takes_the_place_of_the_job_s(
    job: Job, whole: bool
) -> None:
    job.code = job_pb2.JobCode(
        loader="a:b", payload=b"old", modules_zip=b"old zip", python_path=["/old"]
    )
    code = job_pb2.JobCode(loader="c:d", payload=b"new")
    if whole:
        code.modules_zip = b"new zip"
        code.python_path.append("/new")
    file = job.directory / "code"
    file.write_bytes(code.SerializeToString())
    for number in range(len(job.services)):
        await job.serve_partition(number)
    await job.coordinator.serve(*job.coordinator_flags(), "--code-file", str(file))
    welcome = await (await job.worker("w1")).hello()
    assert welcome.job.uid == UID
    got = welcome.job.code
    assert (got.loader, got.payload) == ("c:d", b"new")
    assert got.modules_zip == (b"new zip" if whole else b"old zip")
    assert got.python_path == (["/new"] if whole else ["/old"])


async def test_code_in_several_files_is_put_together_and_checked(job: Job) -> None:
    content = job_pb2.JobCode(loader="c:d", payload=b"new" * 1000).SerializeToString()
    files = [job.directory / f"code.{number}" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(content[number * 1000 : (number + 1) * 1000 if number < 2 else None])
    for number in range(len(job.services)):
        await job.serve_partition(number)
    flags = [f"--code-file={file}" for file in files]
    digest = hashlib.sha256(content).hexdigest()
    await job.coordinator.serve(*job.coordinator_flags(), *flags, f"--code-sha256={digest}")
    welcome = await (await job.worker("w1")).hello()
    assert welcome.job.code.payload == b"new" * 1000


async def test_code_that_is_not_what_was_submitted_is_not_run(job: Job) -> None:
    file = job.directory / "code"
    file.write_bytes(job_pb2.JobCode(loader="evil:load", payload=b"x").SerializeToString())
    await job.coordinator.start(
        *job.coordinator_flags(), f"--code-file={file}", f"--code-sha256={'ab' * 32}"
    )
    status, logged = await job.coordinator.ended()
    assert status == 2
    assert "is not what was submitted" in logged


async def test_it_ends_when_its_supervisor_is_gone(running: Job) -> None:
    await running.coordinator.close()
    await running.coordinator.serve(*running.coordinator_flags(), "--exit-on-stdin-eof")
    running.coordinator.close_stdin()
    status, _ = await running.coordinator.ended()
    assert status == 0


async def test_services_that_do_not_answer_are_named(job: Job) -> None:
    job.settings = JobSettings(service_lease_s=0.5)
    for service in job.services:
        service.port = 1
    await job.coordinator.start(*job.coordinator_flags())
    status, logged = await job.coordinator.ended()
    assert status == 1
    assert "ps-0 at 127.0.0.1:1, ps-1 at 127.0.0.1:1" in logged
    assert "Traceback" not in logged


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--partition-service", "ps-0"), "'ps-0' is not of the form ps-0=HOST:PORT"),
        (("--job-file", "/nowhere"), "/nowhere is not a readable job"),
        (("--code-file", "/nowhere"), "/nowhere is not readable code"),
        (("--code-file", "/dev/null"), "the code in /dev/null names no loader"),
    ],
)
async def test_wrong_flags_are_explained(job: Job, flags: tuple[str, ...], message: str) -> None:
    await job.coordinator.start(*job.coordinator_flags(), *flags)
    status, logged = await job.coordinator.ended()
    assert status == 2
    assert message in logged


async def test_a_missing_token_is_explained(job: Job) -> None:
    env = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    await job.coordinator.start(*job.coordinator_flags(), env=env)
    status, logged = await job.coordinator.ended()
    assert status == 2
    assert f"{TOKEN_VARIABLE} is not set" in logged


async def _until_done(job: Job, tasks: int) -> None:
    stub = coordinator_pb2_grpc.CoordinatorStub(await job.channel(job.coordinator.address))
    call = stub.Watch(coordinator_pb2.WatchRequest(), metadata=credentials_of(TOKEN))
    async with asyncio.timeout(PATIENCE_S):
        async for reply in call:
            if reply.progress.stages and reply.progress.stages[0].tasks_done >= tasks:
                break
    call.cancel()
