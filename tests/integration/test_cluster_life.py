"""The processes as a cluster runs them: workers that are drained, that are choosy, that stay."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest_asyncio

from disco import Job
from disco.submission import job_spec
from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.local.ports import ReservedPort
from disco_engine.rpc import TOKEN_VARIABLE, aio_channel, credentials_of

TOKEN = "the job's token"
PATIENCE_S = 60.0
Progress = coordinator_pb2.JobProgress


class Patient(Job):
    """Its map waits until there is a file."""

    partitions = 1
    max_attempts = 1

    @staticmethod
    def map(line, params):  # type: ignore[no-untyped-def]
        import os
        import time

        while not os.path.exists(params["file"]):
            time.sleep(0.01)
        yield line, 1

    @staticmethod
    def reduce(pairs, params):  # type: ignore[no-untyped-def]
        yield "lines", sum(count for _, count in pairs)


class Uneven(Patient):
    """Its map is quick, but for lines that wait until two of them are there at the same time."""

    @staticmethod
    def map(line, params):  # type: ignore[no-untyped-def]
        import time
        from pathlib import Path

        if line.startswith("long"):
            file = Path(params["file"])
            file.with_name(line).touch()
            while len(list(file.parent.glob("long-*"))) < 2:
                time.sleep(0.01)
        yield line, 1


class Worker:
    """A worker process, what it logs and what it has started."""

    def __init__(self, process: asyncio.subprocess.Process, scratch: Path) -> None:
        self.process = process
        self.scratch = scratch

    async def logs(self, text: str) -> None:
        """Read its log until there is *text*."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := await self.process.stderr.readline():
                if text in line.decode():
                    return
        raise AssertionError(f"it ended without {text!r}")

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    def children(self) -> list[str]:
        """Return the state of every process that it has started and that is there."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                if int(parent) == self.process.pid:
                    found.append(state)
        return found


class Cluster:
    """One job's coordinator and partition service; workers come as the test says."""

    def __init__(
        self,
        directory: Path,
        stack: AsyncExitStack,
        job: Job | None = None,
        lines: Sequence[str] = ("a line",),
    ) -> None:
        self.directory = directory
        self.go = directory / "go"
        self._stack = stack
        self._ports = {"coordinator": ReservedPort(), "partition": ReservedPort()}
        for port in self._ports.values():
            stack.callback(port.release)
        self.spec = job_spec(
            job or Patient(),
            {"input": [f"raw://{line}\n" for line in lines], "params": {"file": str(self.go)}},
            name="patient",
        )

    async def start(self) -> None:
        partition = self._ports["partition"]
        await self._run(
            "partition",
            *("--job-uid", self.spec.uid, "--service-id", "ps-0", "--node", "n"),
            *("--data-dir", str(self.directory / "data"), "--port", str(partition.port)),
        )
        await self.coordinator()

    async def coordinator(self) -> None:
        job_file = self.directory / "job"
        job_file.write_bytes(self.spec.SerializeToString())
        coordinator, partition = self._ports["coordinator"], self._ports["partition"]
        self.coordinating = await self._run(
            "coordinator",
            *("--job-file", str(job_file), "--port", str(coordinator.port)),
            *("--partition-service", f"ps-0={partition.address}", "--wait-for-services", "1000"),
        )

    async def worker(self, name: str, *flags: str) -> Worker:
        scratch = self.directory / f"scratch-{name}"
        process = await self._run(
            "worker",
            *("--coordinator", self._ports["coordinator"].address, "--worker-id", name),
            *("--node", "n", "--scratch-dir", str(scratch), *flags),
            stderr=asyncio.subprocess.PIPE,
        )
        return Worker(process, scratch)

    async def until(self, seen: Callable[[Progress], bool]) -> Progress:
        """Watch until there is something to see, and return it."""
        async with aio_channel(self._ports["coordinator"].address) as channel:
            call = coordinator_pb2_grpc.CoordinatorStub(channel).Watch(
                coordinator_pb2.WatchRequest(),
                metadata=credentials_of(TOKEN),
                wait_for_ready=True,
            )
            async with asyncio.timeout(PATIENCE_S):
                async for reply in call:
                    if seen(reply.progress):
                        return reply.progress
        raise AssertionError("the job was over before")

    async def end(self) -> Progress:
        return await self.until(lambda p: p.phase >= coordinator_pb2.JOB_PHASE_SUCCEEDED)

    async def _run(
        self, module: str, *flags: str, stderr: int = asyncio.subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", f"disco_engine.{module}", *flags),
            env={**os.environ, TOKEN_VARIABLE: TOKEN},
            stderr=stderr,
        )

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.communicate()

        self._stack.push_async_callback(end)
        return process


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        made = Cluster(tmp_path, stack)
        await made.start()
        yield made


def runs_map(progress: Progress) -> bool:
    return bool(progress.stages) and progress.stages[0].tasks_running == 1


async def test_what_a_drained_worker_hands_back_is_no_failure_of_the_job(cluster: Cluster) -> None:
    """The job allows one failure at most, that is none."""
    assert cluster.spec.settings.max_attempts == 1
    drained = await cluster.worker("w0", "--drain", "0.2")
    await cluster.until(runs_map)
    assert await drained.terminate() == 0
    cluster.go.touch()
    await cluster.worker("w1")
    progress = await cluster.end()
    assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress
    assert progress.stages[0].retries == 1


async def test_what_waits_behind_a_long_task_goes_to_a_worker_that_comes_late(
    tmp_path: Path,
) -> None:
    """The first worker, used to quick tasks, has all of them; the job ends if two run at once."""
    lines = [*(f"quick-{n}" for n in range(20)), *(f"long-{n}" for n in range(4))]
    async with AsyncExitStack() as stack:
        cluster = Cluster(tmp_path, stack, Uneven(), lines)
        await cluster.start()
        await cluster.worker("w0")
        await cluster.until(lambda p: bool(p.stages) and p.stages[0].tasks_done == 20)
        await cluster.worker("w1")
        progress = await cluster.end()
    assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress
    assert [stage.retries for stage in progress.stages] == [0, 0]


async def test_a_stage_waits_for_the_workers_that_take_it_and_the_job_says_so(
    cluster: Cluster,
) -> None:
    cluster.go.touch()
    await cluster.worker("w0", "--except-stage", "reduce")
    progress = await cluster.until(lambda p: p.message == "no worker takes stage reduce")
    assert [(stage.name, stage.workers) for stage in progress.stages] == [("map", 1), ("reduce", 0)]
    assert progress.stages[0].tasks_done == 1
    await cluster.worker("w1", "--stage", "reduce")
    assert (await cluster.end()).phase == coordinator_pb2.JOB_PHASE_SUCCEEDED


async def test_a_worker_that_lingers_stays_without_slots_and_files_until_it_is_told_to_end(
    cluster: Cluster,
) -> None:
    cluster.go.touch()
    worker = await cluster.worker("w0", "--linger")
    assert (await cluster.end()).phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    await worker.logs("the job is over")
    assert worker.children() == []
    assert not worker.scratch.exists()
    late = await cluster.worker("w1", "--linger")  # it takes the place of one that was lost
    await late.logs("the job is over")
    assert worker.process.returncode is None
    assert await worker.terminate() == await late.terminate() == 0


async def test_a_worker_that_lingers_commits_again_for_a_new_coordinator(tmp_path: Path) -> None:
    """The first was lost when it had said that the job succeeded, and only workers had heard it."""
    async with AsyncExitStack() as stack:
        cluster = Cluster(tmp_path, stack)
        cluster.spec.output.url, cluster.spec.output.format = str(tmp_path / "out"), "text"
        cluster.go.touch()
        await cluster.start()
        worker = await cluster.worker("w0", "--linger")
        first = await cluster.end()
        await worker.logs("the job is over")
        cluster.coordinating.kill()
        await cluster.coordinating.wait()
        await cluster.coordinator()
        second = await cluster.end()
        assert (second.phase, second.epoch > first.epoch) == (first.phase, True)
        assert (tmp_path / "out/part-00000.txt").read_text() == "lines\t1\n"
        assert await worker.terminate() == 0


async def test_a_worker_that_lingers_still_drains(cluster: Cluster) -> None:
    worker = await cluster.worker("w0", "--linger", "--drain", "0.2")
    await cluster.until(runs_map)
    assert await worker.terminate() == 0


async def test_a_worker_that_lingers_still_gives_up(cluster: Cluster) -> None:
    worker = await cluster.worker(
        "w0", "--linger", "--give-up-after", "0.2", "--coordinator", "127.0.0.1:1"
    )
    await worker.logs("the worker gives up")
    async with asyncio.timeout(PATIENCE_S):
        assert await worker.process.wait() == 1


async def test_lingering_makes_no_sense_for_a_child(cluster: Cluster) -> None:
    worker = await cluster.worker("w0", "--linger", "--exit-on-stdin-eof")
    await worker.logs("--linger is for a supervisor that outlives its workers")
