"""Answers whether this process is alive and ready: ``grpc.health.v1`` on a port of its own.

A port of its own, because those who ask (a kubelet, for one) can show neither a certificate nor a
token. The server runs on the process's event loop: a loop that hangs answers nobody.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from disco_engine.rpc import listen

READY_SERVICE = "ready"
"""What to ask for to hear whether the process does its work; the empty name: whether it lives."""

_OPTIONS = [("grpc.so_reuseport", 0)]  # a port that is taken must be an error
_ANY_ADDRESS = "[::]"  # IPv4 as well; and only that, where there is no IPv6


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it has no types
    """What is told of this process.

    Attributes:
        ready: It does its work.
    """

    def __init__(self) -> None:
        self.ready = False

    async def Check(  # noqa: D102  (the protocol says it)
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.aio.ServicerContext[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ],
    ) -> health_pb2.HealthCheckResponse:
        answers = health_pb2.HealthCheckResponse
        if request.service == "":
            return answers(status=answers.SERVING)
        if request.service == READY_SERVICE:
            return answers(status=answers.SERVING if self.ready else answers.NOT_SERVING)
        return await context.abort(
            grpc.StatusCode.NOT_FOUND,
            f'{request.service!r} is unknown: ask for "{READY_SERVICE}", or for ""',
        )


@asynccontextmanager
async def served_health(port: int | None) -> AsyncIterator[Health]:
    """Answer on *port* while the block runs; the block says when the process is ready.

    Args:
        port: Where; None: nowhere.

    Raises:
        PortTakenError: The port cannot be had.
    """
    health = Health()
    if port is None:
        yield health
        return
    server = grpc.aio.server(options=_OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    listen(server, _ANY_ADDRESS, port, plaintext=True)
    await server.start()
    try:
        yield health
    finally:
        await server.stop(None)
