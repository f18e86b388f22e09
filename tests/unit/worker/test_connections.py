"""Channels that are shared, forgotten when nobody is reached over them, and closed."""

import gc
from collections.abc import AsyncIterator
from contextlib import ExitStack

import grpc
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from disco_engine.health import served_health
from disco_engine.local.ports import ReservedPort
from disco_engine.worker.connections import Connections


@pytest_asyncio.fixture
async def address() -> AsyncIterator[str]:
    """Serve something, and give where."""
    with ExitStack() as stack:
        port = ReservedPort()
        stack.callback(port.release)
        async with served_health(port.port):
            yield port.address


@pytest_asyncio.fixture
async def connections() -> AsyncIterator[Connections]:
    made = Connections("token")
    yield made
    await made.close()


async def answers(channel: grpc.aio.Channel) -> bool:
    reply = await health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(), timeout=20.0
    )
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def test_all_who_ask_for_an_address_share_a_channel(connections: Connections) -> None:
    assert connections.channel("127.0.0.1:1") is connections.channel("127.0.0.1:1")
    assert connections.channel("127.0.0.1:1") is not connections.channel("127.0.0.1:2")


async def test_a_forgotten_channel_serves_those_who_have_it_and_nobody_else(
    connections: Connections, address: str
) -> None:
    old = connections.channel(address)
    connections.forget(address)
    new = connections.channel(address)
    assert new is not old
    gc.collect()
    assert await answers(old)
    assert await answers(new)
    del old
    gc.collect()
    assert await answers(new)


async def test_forgetting_what_nobody_knows_is_no_error(connections: Connections) -> None:
    connections.forget("127.0.0.1:1")
