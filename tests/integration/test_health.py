"""Whether the processes live and are ready, as a kubelet asks them."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from disco.v1 import job_pb2
from disco_engine.core.settings import JobSettings
from disco_engine.health import READY_SERVICE, served_health
from disco_engine.local.ports import ReservedPort
from disco_engine.process import EXIT_PORT_TAKEN
from disco_engine.rpc import TOKEN_VARIABLE, PortTakenError
from disco_engine.wire import settings_to_wire

PATIENCE_S = 60.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(port: int, service: str = "", timeout_s: float = PATIENCE_S) -> int:
    """Ask, and wait until somebody listens there at all."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service), wait_for_ready=True, timeout=timeout_s
        )
    status: int = reply.status
    return status


async def becomes_ready(port: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await health(port, READY_SERVICE) != SERVING:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # as a kubelet does: nobody is told


class Processes:
    """A job's processes, each with a health port."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._ports: dict[str, ReservedPort] = {}

    def port(self, name: str) -> int:
        if name not in self._ports:
            self._ports[name] = ReservedPort()
            self._stack.callback(self._ports[name].release)
        return self._ports[name].port

    async def start(self, module: str, *flags: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", f"disco_engine.{module}", *flags),
            *("--health-port", str(self.port(f"{module} health"))),
            env={**os.environ, TOKEN_VARIABLE: "token"},
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.wait()

        self._stack.push_async_callback(end)
        return process

    async def start_partition(self) -> asyncio.subprocess.Process:
        return await self.start(
            "partition",
            *("--job-uid", "job-1", "--service-id", "ps-0", "--node", "n"),
            *("--data-dir", str(self._directory / "data"), "--port", str(self.port("partition"))),
        )

    async def start_coordinator(self) -> asyncio.subprocess.Process:
        spec = job_pb2.JobSpec(uid="job-1", settings=settings_to_wire(JobSettings()))
        file = self._directory / "job"
        file.write_bytes(spec.SerializeToString())
        return await self.start(
            "coordinator",
            *("--job-file", str(file), "--port", str(self.port("coordinator"))),
            *("--partition-service", f"ps-0=127.0.0.1:{self.port('partition')}"),
            *("--wait-for-services", "1000"),
        )

    async def start_worker(self) -> asyncio.subprocess.Process:
        return await self.start(
            "worker",
            *("--coordinator", f"127.0.0.1:{self.port('coordinator')}", "--worker-id", "w"),
            *("--node", "n", "--scratch-dir", str(self._directory / "scratch")),
        )


@pytest_asyncio.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    async with AsyncExitStack() as stack:
        yield Processes(tmp_path, stack)


async def test_each_lives_from_the_start_and_is_ready_when_it_does_its_work(
    processes: Processes,
) -> None:
    worker, coordinator = processes.port("worker health"), processes.port("coordinator health")
    await processes.start_worker()
    assert await health(worker) == SERVING
    assert await health(worker, READY_SERVICE) == NOT_SERVING
    await processes.start_coordinator()
    assert await health(coordinator) == SERVING
    assert await health(coordinator, READY_SERVICE) == NOT_SERVING
    await processes.start_partition()
    for name in ("partition", "coordinator", "worker"):
        await becomes_ready(processes.port(f"{name} health"))


async def test_a_process_that_hangs_answers_nobody(processes: Processes) -> None:
    process = await processes.start_partition()
    port = processes.port("partition health")
    await becomes_ready(port)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await health(port, timeout_s=0.3)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_health_port_that_is_taken_ends_the_process(processes: Processes) -> None:
    async with served_health(processes.port("worker health")):
        process = await processes.start_worker()
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == EXIT_PORT_TAKEN


async def test_other_services_are_unknown() -> None:
    port = ReservedPort()
    async with served_health(port.port):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health(port.port, "disco.v1.Coordinator")
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    port.release()


async def test_a_port_is_given_back(processes: Processes) -> None:
    for _ in range(2):
        async with served_health(processes.port("any")):
            with pytest.raises(PortTakenError):
                async with served_health(processes.port("any")):
                    pass


async def test_without_a_port_there_is_no_server() -> None:
    async with served_health(None) as told:
        told.ready = True
