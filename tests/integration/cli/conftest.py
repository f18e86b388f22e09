"""The command line as a process of its own, and a server that tests drive."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest

from disco_engine.records.blocks import encode_parts, store
from disco_gateway.backend import ResultSource
from disco_gateway.fake import TOKEN, FakeBackend
from disco_gateway.fake_partition import Blocks, serving_partition, source_of
from disco_gateway.serving import serving

COUNT = """
from disco import Job

class Count(Job):
    partitions = 2

    @staticmethod
    def map(line, params):
        for word in line.split():
            yield word.decode(), getattr(params, "weight", 1)

    @staticmethod
    def reduce(pairs, params):
        totals = {}
        for word, count in pairs:
            totals[word] = totals.get(word, 0) + count
        return totals.items()
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    status: int
    out: str
    err: str


@dataclass(kw_only=True)
class Shell:
    """A user with a directory, an environment, and ``disco``."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    async def start(self, *arguments: str, stdin: str | None = None) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "disco.cli.main", *arguments),
            cwd=self.directory,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        if stdin is not None:
            assert process.stdin is not None
            process.stdin.write(stdin.encode())
            process.stdin.close()
        return process

    async def ended(self, process: asyncio.subprocess.Process) -> Ended:
        out, err = await process.communicate()
        assert process.returncode is not None
        done = Ended(status=process.returncode, out=out.decode(), err=err.decode())
        assert "Traceback" not in done.err or "disco/" not in done.err, done.err
        return done

    async def disco(self, *arguments: str, stdin: str | None = None) -> Ended:
        return await self.ended(await self.start(*arguments, stdin=stdin))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISCO_")}
    return Shell(
        directory=home,
        environment={**kept, "HOME": str(home), "DISCO_CONFIG": str(home / "config.yaml")},
    )


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
async def server(backend: FakeBackend, shell: Shell) -> AsyncIterator[FakeBackend]:
    """Give the backend of a server that the shell's ``disco`` talks to."""
    async with serving(backend) as served:
        shell.environment["DISCO_SERVER"] = f"disco://127.0.0.1:{served.grpc_port}"
        shell.environment["DISCO_TOKEN"] = TOKEN
        yield backend


@pytest.fixture
async def served(shell: Shell) -> AsyncIterator[Shell]:
    """Give a shell whose ``disco`` talks to a ``disco serve`` of two workers."""
    for name in ("CONFIG", "STATE", "CACHE", "DATA"):
        shell.environment[f"XDG_{name}_HOME"] = str(shell.directory / f".{name.lower()}")
    serving = await shell.start("serve", "--listen", "127.0.0.1:0", "--no-http", "--workers", "2")
    assert serving.stderr is not None
    try:
        assert b"Serving jobs on 127.0.0.1:" in await serving.stderr.readline()
        yield shell
    finally:
        serving.send_signal(signal.SIGINT)
        ended = await shell.ended(serving)
    assert ended.status == 0, ended.err


def blocks_of(*records: tuple[object, object]) -> Blocks:
    """Return what a task that wrote these records has left in its partition service."""
    keys, values = [key for key, _ in records], [value for _, value in records]
    return list(encode_parts(store(keys, values))) if records else []


@pytest.fixture
async def results() -> AsyncIterator[ResultSource]:
    """Give the records of a job: three in its first part, one in its second."""
    tasks = [blocks_of(("a", 3), ("b", 2), ("c", 1)), blocks_of(("d", 9))]
    async with serving_partition(tasks) as partition:
        yield source_of(partition)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, of which nothing here is told."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def is_watched(server: FakeBackend) -> bool:
    return any(verb == "watch" for _, verb, _ in server.asked)


async def eventually(ask: Callable[[], Awaitable[Ended]], out: str) -> None:
    """Ask until the answer is what is hoped for: of what happens there, nothing here is told."""
    async with asyncio.timeout(60):
        while (await ask()).out != out:
            pass
