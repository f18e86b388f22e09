"""The coordinator as a process, with real partition services and workers played by the test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

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
from disco_engine.rpc import TOKEN_VARIABLE, aio_channel, credentials_of
from disco_engine.wire import settings_to_wire

TOKEN = "the job's token"
UID = "job-1"
PATIENCE_S = 60.0
INPUTS = 20
FRAME = b"ten bytes."
_ENVIRONMENT = {TOKEN_VARIABLE: TOKEN, "GRPC_VERBOSITY": "ERROR"}  # as in the image


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
            env={**os.environ, **_ENVIRONMENT} if env is None else env,
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

    async def until_done(self, tasks: int) -> None:
        """Wait until so many tasks of the first stage are done."""
        stub = coordinator_pb2_grpc.CoordinatorStub(await self.channel(self.coordinator.address))
        call = stub.Watch(coordinator_pb2.WatchRequest(), metadata=credentials_of(TOKEN))
        async with asyncio.timeout(PATIENCE_S):
            async for reply in call:
                if reply.progress.stages and reply.progress.stages[0].tasks_done >= tasks:
                    break
        call.cancel()

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
