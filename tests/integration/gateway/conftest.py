"""A gateway over a backend that the test drives, and connections to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status  # type: ignore[import-untyped]

from disco.v1 import jobs_pb2_grpc
from disco_gateway.fake import TOKEN, FakeBackend
from disco_gateway.serving import Served, serving

M = TypeVar("M", bound=Message)
_OPTIONS = [("grpc.max_receive_message_length", 16 * 1024 * 1024)]


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One that runs, and what a client needs of it."""

    backend: FakeBackend
    served: Served
    channel: grpc.aio.Channel

    @property
    def stub(self) -> "jobs_pb2_grpc.JobsAsyncStub":
        return jobs_pb2_grpc.JobsStub(self.channel)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.served.http_port}"


def channel_to(served: Served) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{served.grpc_port}", options=_OPTIONS)


@asynccontextmanager
async def gateway_over(backend: FakeBackend, **options: Any) -> AsyncIterator[Gateway]:
    options.setdefault("http_address", "127.0.0.1:0")
    async with (
        serving(backend, **options) as served,
        channel_to(served) as channel,
    ):
        yield Gateway(backend=backend, served=served, channel=channel)


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(kind="kubernetes")


@pytest.fixture
async def gateway(backend: FakeBackend) -> AsyncIterator[Gateway]:
    async with gateway_over(backend) as running:
        yield running


def showing(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


ALICE = showing(TOKEN)


async def refused(call: Any) -> status_pb2.Status:
    """Await a call, or read a stream, that must fail; return what was said."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (_read(call) if hasattr(call, "__aiter__") else call)
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    return status


async def _read(call: Any) -> None:
    async for _ in call:
        pass


def detail(status: Any, kind: type[M]) -> M:
    """Return the one detail of a kind."""
    found = kind()
    (packed,) = (detail for detail in status.details if detail.Is(kind.DESCRIPTOR))
    packed.Unpack(found)
    return found


def http_of(gateway: Gateway, token: str = TOKEN) -> aiohttp.ClientSession:
    """Open a session with the HTTP door, as whoever has the token; empty: as nobody."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return aiohttp.ClientSession(gateway.url, headers=headers)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
