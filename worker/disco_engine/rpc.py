"""How our processes call each other: channels, servers, the job's token, message sizes.

Every connection carries the job's bearer token, so that nothing else on the machine or in the
cluster can push, read or seal. The token comes from the environment, never from a command line.
"""

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

TOKEN_VARIABLE = "DISCO_JOB_TOKEN"
MAX_MESSAGE_BYTES = 72 * 1024 * 1024  # the largest plan (64 MiB) and its envelope

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a port that is taken must be an error, not a shared port
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # A restarted peer should be found again at once, not after gRPC's default of up to 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
]


def token_from_environment() -> str:
    """Return the job's token.

    Raises:
        RuntimeError: The variable is not set.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        raise RuntimeError(f"{TOKEN_VARIABLE} is not set: it must hold the job's token")
    return token


def credentials_of(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that a call must carry."""
    return (("authorization", f"Bearer {token}"),)


def aio_channel(address: str) -> grpc.aio.Channel:
    """Return a channel to ``host:port``; pass ``metadata=credentials_of(token)`` to each call."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


def sync_channel(address: str) -> grpc.Channel:
    """Return a blocking channel to ``host:port``, for programs without an event loop."""
    return grpc.insecure_channel(address, options=_OPTIONS)


def aio_server(token: str) -> grpc.aio.Server:
    """Return a server that refuses calls without *token*; health checks are free."""
    return grpc.aio.server(interceptors=[_TokenCheck(token)], options=_OPTIONS)


class PortTakenError(OSError):
    """A server cannot listen where it was told to."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"cannot listen on {address}: the port is taken or the address is not this machine's;"
            " choose another port, or 0 for any free one"
        )


def listen(server: grpc.aio.Server, host: str, port: int) -> int:
    """Bind *server* and return the port it got (*port*, unless that is 0).

    Raises:
        PortTakenError: The port cannot be had.
    """
    address = f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:  # what grpc raises for any failure to bind
        raise PortTakenError(address) from error
    if bound == 0:
        raise PortTakenError(address)
    return bound


class _TokenCheck(grpc.aio.ServerInterceptor):
    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._refusals = {
            kind: _refusing_handler(kind)
            for kind in ("unary_unary", "unary_stream", "stream_stream", "stream_unary")
        }

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith("/grpc.health.v1.Health/"):
            return handler
        for key, value in handler_call_details.invocation_metadata:
            given = value if isinstance(value, bytes) else value.encode()
            if key == "authorization" and hmac.compare_digest(given, self._expected):
                return handler
        return self._refusals[_kind_of(handler)]


def _kind_of(handler: Any) -> str:
    first = "stream" if handler.request_streaming else "unary"
    return f"{first}_{'stream' if handler.response_streaming else 'unary'}"


def _refusing_handler(kind: str) -> Any:
    message = "this call needs the job's token in its 'authorization' metadata"

    async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)

    async def refuse_stream(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)
        yield  # makes it a generator; never reached

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(refuse_stream if kind.endswith("_stream") else refuse)
