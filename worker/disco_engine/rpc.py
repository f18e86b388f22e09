"""How our processes call each other: channels, servers, certificates, the job's token, sizes.

Every call carries the job's bearer token, so that nothing else on the machine or in the cluster can
push, read or seal. The token comes from the environment, never from a command line. Where packets
leave the machine, both ends of every connection also show a certificate of the job's own authority.
"""

import hmac
import ipaddress
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio

TOKEN_VARIABLE = "DISCO_JOB_TOKEN"
TLS_VARIABLE = "DISCO_TLS_DIR"
TLS_NAME = "disco-job"
"""The name in every certificate. Which job a certificate is for, its authority says."""

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
    # A pod that was replaced has another address, and its name is looked up when a connection
    # breaks: gRPC's default would wait for half a minute between two looks.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
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


class IdentityError(RuntimeError):
    """What should prove who a process is cannot be used: correct the files that it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """What a process proves who it is with, and by whose word it knows the others.

    Attributes:
        ca: The certificate of the job's authority, PEM. Nobody else's word counts.
        certificate: The process's own, PEM, for TLS_NAME, as server and as client.
        key: The private key to it, PEM.
    """

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def from_directory(cls, directory: Path) -> Self:
        """Read ``ca.crt``, ``tls.crt`` and ``tls.key``.

        Raises:
            IdentityError: A file is missing, unreadable or not what its name says.
        """
        content = {}
        for name in ("ca.crt", "tls.crt", "tls.key"):
            path = directory / name
            try:
                content[name] = path.read_bytes()
            except OSError as error:
                raise IdentityError(
                    f"{TLS_VARIABLE}: {path} cannot be read ({error.strerror}): the directory must"
                    " hold ca.crt, tls.crt and tls.key, readable by this process"
                ) from error
        _check_pair(directory)
        return cls(ca=content["ca.crt"], certificate=content["tls.crt"], key=content["tls.key"])

    @classmethod
    def from_environment(cls) -> Self | None:
        """Read the files in the directory that the environment names; None: it names none.

        Raises:
            IdentityError: They cannot be used.
        """
        directory = os.environ.get(TLS_VARIABLE, "")
        return cls.from_directory(Path(directory)) if directory else None

    def for_channels(self) -> grpc.ChannelCredentials:
        """Return what a client shows and demands."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)

    def for_servers(self) -> grpc.ServerCredentials:
        """Return what a server shows and demands."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], self.ca, require_client_auth=True
        )


def _check_pair(directory: Path) -> None:
    """Find out here what gRPC would later report as a port that is taken, or not at all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = "ca.crt"
    try:
        context.load_verify_locations(directory / names)
        names = "tls.crt and tls.key"
        context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    except ssl.SSLError as error:
        raise IdentityError(
            f"{TLS_VARIABLE}: {names} in {directory} cannot be used ({error.reason or error}):"
            " certificates and key must be PEM, and the key must be that of tls.crt"
        ) from error


_TLS_OPTIONS = [*_OPTIONS, ("grpc.ssl_target_name_override", TLS_NAME)]


def aio_channel(address: str, *, identity: TlsIdentity | None = None) -> grpc.aio.Channel:
    """Return a channel to ``host:port``; pass ``metadata=credentials_of(token)`` to each call.

    Args:
        address: Where to.
        identity: Who we are; None: who the environment says we are, or nobody in particular.

    Raises:
        IdentityError: The files that the environment names cannot be used.
    """
    identity = identity or TlsIdentity.from_environment()
    if identity is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    return grpc.aio.secure_channel(address, identity.for_channels(), options=_TLS_OPTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A connection to a process of a job, and what each call on it must carry."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...]


def sync_channel(address: str, *, identity: TlsIdentity | None = None) -> grpc.Channel:
    """Return a blocking channel to ``host:port``, for programs without an event loop.

    Arguments and errors are those of ``aio_channel``.
    """
    identity = identity or TlsIdentity.from_environment()
    if identity is None:
        return grpc.insecure_channel(address, options=_OPTIONS)
    return grpc.secure_channel(address, identity.for_channels(), options=_TLS_OPTIONS)


def aio_server(token: str) -> grpc.aio.Server:
    """Return a server that refuses calls without *token*."""
    return grpc.aio.server(interceptors=[_TokenCheck(token)], options=_OPTIONS)


def open_server(*, request_bytes: int, reply_bytes: int, most_calls: int) -> grpc.aio.Server:
    """Return a server that lets every call in: who serves looks at what it shows.

    Args:
        request_bytes: Of one message that comes, at most.
        reply_bytes: Of one message that goes, at most.
        most_calls: At once; more are refused with RESOURCE_EXHAUSTED.
    """
    own = {
        "grpc.max_receive_message_length": request_bytes,
        "grpc.max_send_message_length": reply_bytes,
    }
    return grpc.aio.server(
        options=list({**dict(_OPTIONS), **own}.items()), maximum_concurrent_rpcs=most_calls
    )


class PortTakenError(OSError):
    """A server cannot listen where it was told to."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"cannot listen on {address}: the port is taken or the address is not this machine's;"
            " choose another port, or 0 for any free one"
        )


def listen(
    server: grpc.aio.Server,
    host: str,
    port: int,
    *,
    plaintext: bool = False,
    credentials: grpc.ServerCredentials | None = None,
) -> int:
    """Bind *server* and return the port it got (*port*, unless that is 0).

    If the environment names certificates, nobody is let in without one of the same authority. If
    it names none, only this machine can be listened to: tokens must not travel in the open.

    Args:
        server: What to bind.
        host: An address of this machine.
        port: Which port; 0: any free one.
        plaintext: Let everybody in, whatever the environment says.
        credentials: What to show and demand; None: what the environment says.

    Raises:
        PortTakenError: The port cannot be had.
        IdentityError: There are no certificates, but others could reach the address; or those that
            the environment names cannot be used.
    """
    address = f"{host}:{port}"
    if credentials is None and not plaintext:
        identity = TlsIdentity.from_environment()
        credentials = None if identity is None else identity.for_servers()
    if credentials is None and not plaintext and not is_loopback(host):
        raise IdentityError(
            f"cannot listen on {address} without certificates, because others can reach it: set"
            f" {TLS_VARIABLE}, or listen on 127.0.0.1"
        )
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
    except RuntimeError as error:  # what grpc raises for any failure to bind
        raise PortTakenError(address) from error
    if bound == 0:
        raise PortTakenError(address)
    return bound


def is_loopback(host: str) -> bool:
    """Return whether *host* is this machine, by a name or address that is never another's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_guarded(address: str) -> bool:
    """Return whether a token may be sent to ``host:port``: to this machine, or encrypted."""
    host, _, _port = address.rpartition(":")
    return bool(os.environ.get(TLS_VARIABLE)) or is_loopback(host)


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
        if handler is None:
            return None
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
