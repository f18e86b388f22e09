"""A server on this machine, with users, and jobs that go on when a test lets them."""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct

from disco.v1 import coordinator_pb2, jobs_pb2, jobs_pb2_grpc
from disco_gateway.fake import FakeCodeStore
from disco_gateway.local.backend import LocalBackend, LocalSettings, local_backend
from disco_gateway.local.sharing import Policy
from disco_gateway.local.submission import Capacity
from disco_gateway.local.users import Users
from disco_gateway.serving import serving

GATED = dedent(
    """
    import os, time
    from pathlib import Path
    from disco import Job

    class Gated(Job):
        partitions = 1

        @staticmethod
        def map(line, params):
            place = Path(params.place)
            (place / f"began-{line}").touch()
            print("this is", line)
            while not (place / "open").exists():
                time.sleep(0.01)
            if (place / "fail").exists():
                raise RuntimeError("told to fail")
            yield line, os.getppid()

        @staticmethod
        def reduce(pairs, params):
            return list(pairs)
    """
)


@dataclass
class Gate:
    """Where a job's tasks say that they run, and wait until they may go on."""

    place: Path

    def __post_init__(self) -> None:
        self.place.mkdir()

    def open(self) -> None:
        (self.place / "open").touch()

    def fail(self) -> None:
        (self.place / "fail").touch()

    def mend(self) -> None:
        (self.place / "fail").unlink()

    @property
    def began(self) -> int:
        return len(list(self.place.glob("began-*")))


def gated(gate: Gate, tasks: int = 1, **more: Any) -> dict[str, Any]:
    """Return the spec of a job whose tasks wait at *gate*."""
    return {
        "job": "gated:Gated",
        "code": {"inline": GATED},
        "inputs": [f"raw://{number}" for number in range(tasks)],
        "params": {"place": str(gate.place)},
        **more,
    }


@dataclass
class Person:
    """Somebody who calls the server."""

    name: str
    stub: Any
    metadata: tuple[tuple[str, str], ...]

    async def submit(self, name: str, spec: dict[str, Any], **more: Any) -> jobs_pb2.Job:
        struct = Struct()
        struct.update(spec)
        request = jobs_pb2.SubmitRequest(name=name, spec=struct, **more)
        job: jobs_pb2.Job = await self.stub.Submit(request, metadata=self.metadata)
        return job

    async def get(self, name: str) -> jobs_pb2.Job:
        request = jobs_pb2.GetRequest(namespace="default", name=name)
        job: jobs_pb2.Job = await self.stub.Get(request, metadata=self.metadata)
        return job

    async def cancel(self, name: str, reason: str = "") -> jobs_pb2.Job:
        request = jobs_pb2.CancelJobRequest(namespace="default", name=name, reason=reason)
        job: jobs_pb2.Job = await self.stub.Cancel(request, metadata=self.metadata)
        return job

    async def retry(self, name: str) -> jobs_pb2.Job:
        request = jobs_pb2.RetryRequest(namespace="default", name=name)
        job: jobs_pb2.Job = await self.stub.Retry(request, metadata=self.metadata)
        return job

    async def delete(self, name: str) -> None:
        request = jobs_pb2.DeleteRequest(namespace="default", name=name)
        await self.stub.Delete(request, metadata=self.metadata)

    async def watch(
        self, name: str, cursor: str = ""
    ) -> AsyncGenerator[jobs_pb2.WatchJobReply, None]:
        request = jobs_pb2.WatchJobRequest(namespace="default", name=name, cursor=cursor)
        async for reply in self.stub.Watch(request, metadata=self.metadata):
            yield reply

    async def until(self, name: str, *phases: str) -> jobs_pb2.Job:
        """Watch until the job is in one of the phases ("RUNNING")."""
        wanted = {coordinator_pb2.JobPhase.Value(f"JOB_PHASE_{phase}") for phase in phases}
        job = jobs_pb2.Job()
        async for reply in self.watch(name):
            job = reply.job
            if job.phase in wanted:
                return job
        raise AssertionError(f"{name} ended otherwise: {job}")

    async def until_it_has(self, name: str, workers: int) -> None:
        """Watch until so many workers are connected to a job's coordinator."""
        async for reply in self.watch(name):
            if reply.job.workers == workers:
                return
        raise AssertionError(f"{name} ended and never had {workers} workers")

    async def results(self, name: str) -> tuple[jobs_pb2.ResultsInfo, int]:
        """Return what the results are, and how many records came."""
        info, records = jobs_pb2.ResultsInfo(), 0
        request = jobs_pb2.ResultsRequest(namespace="default", name=name)
        async for reply in self.stub.Results(request, metadata=self.metadata):
            if reply.HasField("info"):
                info = reply.info
            records += sum(block.records for block in reply.blocks)
        return info, records

    async def logs(self, name: str) -> str:
        request = jobs_pb2.LogsRequest(namespace="default", name=name)
        replies = self.stub.Logs(request, metadata=self.metadata)
        return "".join([entry.text async for reply in replies for entry in reply.entries])


@dataclass
class Server:
    """A server on loopback.

    Attributes:
        directory: Of the files of all jobs.
    """

    backend: LocalBackend
    channel: grpc.aio.Channel
    directory: Path
    people: dict[str, Person] = field(default_factory=dict)

    def processes(self) -> dict[int, str]:
        """Return the command lines of its processes by id: of all jobs, slots included."""
        return processes_in(self.directory)

    def __getattr__(self, name: str) -> Person:
        """Return the one of that name."""
        return Person(
            name,
            jobs_pb2_grpc.JobsStub(self.channel),
            (("authorization", f"Bearer token-of-{name}-0123"),),
        )


PEOPLE = (("ann", ()), ("bob", ()), ("root", ("admin",)))


@asynccontextmanager
async def served(
    directory: Path,
    *,
    workers: int = 2,
    per_job: int = 99,
    policy: Policy = Policy.FAIR,
    **settings: Any,
) -> AsyncIterator[Server]:
    users = Users((f"token-of-{name}-0123", name, groups) for name, groups in PEOPLE)
    backends = local_backend(
        LocalSettings(
            directory=directory,
            capacity=Capacity(workers=workers, workers_per_job=per_job, slots=1),
            policy=policy,
            **settings,
        ),
        users,
        FakeCodeStore(),
    )
    async with (
        backends as backend,
        serving(backend) as doors,
        grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc_port}") as channel,
    ):
        yield Server(backend, channel, directory)


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start servers, which end with the test and leave nothing."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Server:
            directory = Path(tempfile.mkdtemp(dir=tmp_path))
            return await stack.enter_async_context(served(directory, **settings))

        yield start
    assert processes_in(tmp_path) == {}, "processes were left"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


Gates = Iterator[Gate]


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    """Gates, as many as are needed."""
    return (Gate(tmp_path / f"gate-{number}") for number in range(100))


async def eventually(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait for what other processes do, of which nothing here is told."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {timeout_s} s"
        await asyncio.sleep(0.02)


def processes_below(pid: int) -> dict[int, str]:
    """Return the command lines of all processes that one has started, directly or not, by id."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(stat.parent.name)] = int(fields[1])
    found = [pid]
    for candidate in found:
        found.extend(child for child, parent in parents.items() if parent == candidate)
    lines = {}
    for process in found[1:]:
        with contextlib.suppress(OSError):
            lines[process] = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    return lines


def processes_in(directory: Path) -> dict[int, str]:
    """Return what we have started that has its files there, and what that has started.

    Servers of other tests, which last longer than theirs, are none of it.
    """
    ours = processes_below(os.getpid())
    roots = {pid: line for pid, line in ours.items() if str(directory) in line}
    return roots | {pid: line for root in roots for pid, line in processes_below(root).items()}
