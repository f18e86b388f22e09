"""Clients of gateways that run in the test's own process, over backends that it drives."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from disco import servers
from disco.client import submitted
from disco.client.aio import AsyncClient
from disco.client.config import Context, load
from disco.client.connection import Connection, resolve
from disco.client.submission import Submission
from disco.payload import LOADER, Header, join_payload
from disco.v1 import job_pb2
from disco_gateway.fake import TOKEN, FakeBackend
from disco_gateway.serving import serving

T = TypeVar("T")

CODE = job_pb2.JobCode(loader=LOADER, payload=join_payload(Header(), b"")).SerializeToString()


@dataclass
class Replicas:
    """Gateways over one backend, of which one answers at a time, always at the same address.

    Attributes:
        port: Where.
    """

    backend: FakeBackend
    port: int = 0
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self, **options: Any) -> None:
        address = f"127.0.0.1:{self.port}"
        served = await self._stack.enter_async_context(
            serving(self.backend, grpc_address=address, **options)
        )
        self.port = served.grpc_port

    async def stop(self) -> None:
        """End it; streams are sent elsewhere."""
        await self._stack.aclose()

    async def replace(self) -> None:
        """Let another take over."""
        await self.stop()
        await self.start()

    def connection(self, **more: Any) -> Connection:
        more.setdefault("token", TOKEN)
        return resolve(server=f"disco://127.0.0.1:{self.port}", environment={}, **more)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the user of these machines has out of the tests, and the other way round."""
    for name in ("SERVER", "NAMESPACE", "TOKEN", "TOKEN_FILE", "CA_FILE", "CONTEXT", "MASTER"):
        monkeypatch.delenv(f"DISCO_{name}", raising=False)
    monkeypatch.setenv("DISCO_CONFIG", str(tmp_path / "home" / "config.yaml"))
    monkeypatch.setenv("DISCO_STATE", str(tmp_path / "home" / "submitted"))
    monkeypatch.setattr(submitted, "_here", set())


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(kind="kubernetes")


@pytest.fixture
async def gateway(backend: FakeBackend) -> AsyncIterator[Replicas]:
    replicas = Replicas(backend)
    await replicas.start()
    yield replicas
    await replicas.stop()


@pytest.fixture
async def client(gateway: Replicas) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(gateway.connection()) as opened:
        yield opened


@dataclass(frozen=True)
class Elsewhere:
    """A gateway on a thread of its own, for clients that block."""

    loop: asyncio.AbstractEventLoop
    replicas: Replicas

    @property
    def backend(self) -> FakeBackend:
        return self.replicas.backend

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def do(self, function: Any, *arguments: Any, **named: Any) -> Any:
        """Call a method of the backend where it lives."""

        async def call() -> Any:
            return function(*arguments, **named)

        return self.run(call())


@pytest.fixture
def elsewhere(backend: FakeBackend) -> Iterator[Elsewhere]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="gateway")
    thread.start()
    there = Elsewhere(loop, Replicas(backend))
    there.run(there.replicas.start())
    yield there
    there.run(there.replicas.stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def submission(**spec: Any) -> Submission:
    return Submission(
        spec={"job": "jobs:Words", "inputs": ["raw://a b"], **spec}, code=CODE, name_prefix="words"
    )


@pytest.fixture(scope="session")
def served_ddfs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the root of DDFS that jobs of ``served`` have."""
    return str(tmp_path_factory.mktemp("ddfs"))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, served_ddfs: str) -> Iterator[Context]:
    """Start ``disco serve`` for a user with a home of his own, and give the context it makes."""
    place = tmp_path_factory.mktemp("served")
    environment = {
        **os.environ,
        "DISCO_CONFIG": str(place / "config.yaml"),
        "XDG_STATE_HOME": str(place / "state"),
        "DISCO_DDFS": served_ddfs,
    }
    command = [sys.executable, "-P", "-m", "disco.cli.main", "serve", "--no-http"]
    command += ["--listen", "127.0.0.1:0", "--workers", "1"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            assert "Serving jobs on 127.0.0.1:" in first, first
            (context,) = load(place / "config.yaml").contexts.values()
            yield context
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


@pytest.fixture
def served_master(served: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the address of ``served``, with its token in the environment."""
    monkeypatch.setenv("DISCO_TOKEN_FILE", served.token_file)
    monkeypatch.setattr(servers, "_servers", {})
    yield served.server
    for known in servers._servers.values():
        known.client.close()
