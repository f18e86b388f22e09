"""Opens the doors to a backend, and closes them so that nobody is cut off without a word."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from disco_engine import rpc
from disco_engine.core.settings import MIB
from disco_gateway.backend import Backend
from disco_gateway.calls import Calls
from disco_gateway.certificate import Certificate
from disco_gateway.grpc_door import add_door
from disco_gateway.http_door import application, log
from disco_gateway.limits import Limits
from disco_gateway.methods import SERVICE
from disco_gateway.metrics import Metrics
from disco_gateway.service import Service

_REPLY_BYTES = 16 * MIB
"""Of one message: a frame has at most 8 MiB, and a reply of results about one more."""

_KEEPALIVE_S = 75.0

_ANONYMOUS_CALLS = 200
"""Open at once beside those of ``Jobs``: of health and reflection, which ask for no token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where the doors are.

    Attributes:
        grpc_port: Of the gRPC door.
        http_port: Of the HTTP door; 0: there is none.
    """

    grpc_port: int
    http_port: int


@asynccontextmanager
async def serving(
    backend: Backend,
    *,
    grpc_address: str = "127.0.0.1:0",
    http_address: str = "",
    tls: Certificate | None = None,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Served]:
    """Answer while the block runs; streams that are open at its end are sent elsewhere.

    Args:
        backend: What runs the jobs.
        grpc_address: host:port of the gRPC door; port 0: any free one.
        http_address: host:port of the HTTP door; empty: there is none.
        tls: What both doors show; None: plaintext, which only this machine may hear.
        limits: How much is taken on at once.
        clock: Seconds, for tokens and rights that are asked for again after a while.

    Raises:
        PortTakenError: An address cannot be had.
        IdentityError: The certificate cannot be used, or there is none where there must be.
        ValueError: An address is none.
    """
    limits = limits or Limits()
    calls = Calls(backend, limits, clock=clock)
    metrics = Metrics(calls)
    service = Service(backend, limits, clock=clock)
    async with AsyncExitStack() as stack:
        server = _grpc_server(limits)
        add_door(server, service, calls, metrics)
        grpc_port = await stack.enter_async_context(
            _grpc_served(server, grpc_address, tls, limits.stop_s)
        )
        http_port = 0
        if http_address:
            app = application(service, calls, metrics)
            http_port = await stack.enter_async_context(
                _http_served(app, http_address, tls, limits.stop_s)
            )
        stack.callback(calls.close)
        yield Served(grpc_port=grpc_port, http_port=http_port)


def _grpc_server(limits: Limits) -> grpc.aio.Server:
    return rpc.open_server(
        request_bytes=limits.request_bytes,
        reply_bytes=_REPLY_BYTES,
        most_calls=limits.calls + limits.uploads + limits.streams + _ANONYMOUS_CALLS,
    )


@asynccontextmanager
async def _grpc_served(
    server: grpc.aio.Server, address: str, tls: Certificate | None, stop_s: float
) -> AsyncIterator[int]:
    told = health.aio.HealthServicer()
    await told.set(SERVICE.full_name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(told, server)
    reflection.enable_server_reflection(
        (SERVICE.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    host, port = split_address(address)
    if tls is None:
        check_private(host, address)
        bound = rpc.listen(server, host, port, plaintext=True)
    else:
        bound = rpc.listen(server, host, port, credentials=tls.for_grpc())
    await server.start()
    try:
        yield bound
    finally:
        await told.enter_graceful_shutdown()
        await server.stop(stop_s)


@asynccontextmanager
async def _http_served(
    app: web.Application, address: str, tls: Certificate | None, stop_s: float
) -> AsyncIterator[int]:
    host, port = split_address(address)
    if tls is None:
        check_private(host, address)
    runner = web.AppRunner(
        app,
        logger=log,
        access_log=None,
        handler_cancellation=True,  # a reader that has gone must not be waited for
        keepalive_timeout=_KEEPALIVE_S,
        auto_decompress=False,  # what is counted is what comes
        shutdown_timeout=stop_s,
    )
    await runner.setup()
    try:
        context = tls.for_http() if tls is not None else None
        try:
            site = web.TCPSite(runner, host.strip("[]"), port, ssl_context=context)
            await site.start()
        except OSError as error:
            raise rpc.PortTakenError(address) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port".

    Raises:
        ValueError: It is something else.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65_536):
        raise ValueError(f"{address!r} is no address: expected host:port, such as 127.0.0.1:8089")
    return host, int(port)


def check_private(host: str, address: str) -> None:
    """Check that plaintext stays on this machine: tokens must not travel in the open.

    Raises:
        IdentityError: Others can reach the address.
    """
    if not rpc.is_loopback(host):
        raise rpc.IdentityError(
            f"cannot listen on {address} without a certificate, because others can reach it: give"
            " one, or listen on 127.0.0.1"
        )
