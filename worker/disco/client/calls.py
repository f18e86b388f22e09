"""Carries out calls to one server: opens the channel, shows the token, tries again, words errors.

``disco.client.aio`` says what is called; nothing else here knows of gRPC's statuses.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from disco.client.answers import Answer, answer_of, error_of
from disco.client.connection import Connection
from disco.client.credentials import token_in
from disco.client.diagnosis import examine, read_ca
from disco.client.errors import ClientError, NotConnectedError, SettingsError
from disco.client.patience import Patience
from disco.v1 import jobs_pb2_grpc
from disco_engine.rpc import MAX_MESSAGE_BYTES, credentials_of, is_loopback

CALL_S = 30.0
"""How long a call may take that is no stream."""

_FIRST_CONTACT_S = 1.0
"""How long to try if nothing has ever answered: then the address is wrong more often than not."""

_TRIES_UNTOLD = 1

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")

TokenSource: TypeAlias = Callable[[], Awaitable[str]]
"""Returns the token to show now; empty: none."""

Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a server is, and how its certificate is checked.

    Attributes:
        address: host:port.
        plaintext: Without TLS.
        ca: Certificates of the authorities whose word counts, PEM; None: the usual ones.
        server_name: The name that the certificate must have; empty: the host.
    """

    address: str
    plaintext: bool
    ca: bytes | None = field(default=None, repr=False)
    server_name: str = ""

    @property
    def host(self) -> str:
        """The address without its port."""
        return self.address.rpartition(":")[0]

    @property
    def has_proxy(self) -> bool:
        """Something that the environment names is between the server and us."""
        return not is_loopback(self.host) and any(map(os.environ.get, _PROXIES))


def endpoint_of(connection: Connection) -> Endpoint:
    """Return where the server of a connection is that need not be reached through kubectl.

    Raises:
        SettingsError: Its ca_file cannot be used.
    """
    ca = None
    if connection.ca_file is not None:
        try:
            ca = read_ca(connection.ca_file)
        except ValueError as error:
            raise SettingsError(f"ca_file: {error}; correct its name or content") from error
    return Endpoint(
        address=connection.address,
        plaintext=connection.plaintext,
        ca=ca,
        server_name=connection.server_name,
    )


def token_source(connection: Connection) -> TokenSource:
    """Return what gives the token of a connection: as it is, or what its file has now."""

    async def give() -> str:
        if connection.token or connection.token_file is None:
            return connection.token
        return token_in(connection.token_file)

    return give


class Calls:
    """The calls to one server.

    Args:
        endpoint: Where it is.
        token: Gives what to show.
        patience_s: Seconds to go on trying while a server that has answered before does not.
    """

    def __init__(self, endpoint: Endpoint, token: TokenSource, patience_s: float) -> None:
        self._endpoint = endpoint
        self._token = token
        self._patience_s = patience_s
        self._has_answered = False
        self._channel = _channel(endpoint)
        self.stub = jobs_pb2_grpc.JobsStub(self._channel)

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._endpoint.address

    async def close(self) -> None:
        """End all calls."""
        await self._channel.close()

    async def call(
        self,
        name: str,
        start: grpc.aio.UnaryUnaryMultiCallable[Any, Reply],
        request: Message,
        *,
        timeout_s: float = CALL_S,
    ) -> Reply:
        """Return the answer to a call that does no harm if it is carried out twice.

        Args:
            name: Of the call, for messages.
            start: The stub's method.
            request: To send.
            timeout_s: For each try.
        """
        return await self.retried(
            name,
            lambda metadata: start(request, metadata=metadata, timeout=timeout_s),
        )

    async def retried(self, name: str, start: Callable[[Any], Awaitable[Reply]]) -> Reply:
        """Return what ``await start(metadata)`` gives, tried again for as long as that helps."""
        patience = Patience()
        while True:
            try:
                reply: Reply = await start(await self._metadata())
            except grpc.aio.AioRpcError as error:
                await self._pause(patience, name, answer_of(error), error)
            else:
                self._has_answered = True
                return reply

    async def stream(
        self,
        name: str,
        start: grpc.aio.UnaryStreamMultiCallable[Any, Reply],
        request: Any,
        *,
        may_end: Callable[[Reply | None], bool],
        on_silence: Callable[[str], None] | None = None,
    ) -> AsyncGenerator[Reply, None]:
        """Yield the replies of a stream, which is taken up where it broke.

        Args:
            name: Of the call, for messages.
            start: The stub's method.
            request: To send first; its cursor is moved on.
            may_end: Whether a stream that ends after a reply, or without any, was not cut short.
            on_silence: Called with a sentence if it cannot be taken up at once: a gateway that is
                replaced by another is no news.
        """
        patience = Patience()
        while True:
            call: Any = start(request, metadata=await self._metadata())
            patience.opened()
            whole = may_end(None)
            broken, cause = _CUT_SHORT, None
            try:
                async for reply in call:
                    self._has_answered = True
                    patience.heard(new=reply.cursor != request.cursor)
                    request.cursor = reply.cursor
                    whole = may_end(reply)
                    yield reply
                if whole:
                    return
            except grpc.aio.AioRpcError as error:
                broken, cause = answer_of(error), error
            finally:
                call.cancel()
            await self._pause(patience, name, broken, cause)
            if on_silence is not None and patience.tries == _TRIES_UNTOLD + 1:
                on_silence(await self._silence(broken))

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = await self._token()
        return credentials_of(token) if token else ()

    async def _pause(
        self, patience: Patience, name: str, answer: Answer, cause: Exception | None
    ) -> None:
        """Wait until the next try.

        Raises:
            ClientError: There will be none.
        """
        self._has_answered |= answer.from_server
        limit_s = self._patience_s
        if not self._has_answered:
            limit_s = min(limit_s, _FIRST_CONTACT_S)
        pause_s = patience.pause_s(answer, limit_s)
        if pause_s is not None:
            await asyncio.sleep(pause_s)
            return
        if answer.is_broken:
            error: ClientError = await self._not_connected(answer)
        else:
            error = error_of(answer, self.address, name)
        error.tried_before = patience.tries > 0
        raise error from cause

    async def _silence(self, answer: Answer) -> str:
        """Return what to say of a server that has answered before."""
        error = await self._not_connected(answer) if answer.is_broken else None
        reason = answer.message if error is None else error.reason
        patience = f"{self._patience_s:.0f} s"
        return f"{self.address} does not answer: {reason}; asking again for {patience}"

    async def _not_connected(self, answer: Answer) -> NotConnectedError:
        endpoint = self._endpoint
        if endpoint.has_proxy:
            remedy = (
                "see whether the proxy that the environment names (https_proxy) lets it through"
            )
            return NotConnectedError(self.address, answer.message, remedy)
        found = await examine(
            endpoint.address,
            plaintext=endpoint.plaintext,
            ca=endpoint.ca,
            server_name=endpoint.server_name,
        )
        if found.reason:
            return NotConnectedError(self.address, found.reason, found.remedy)
        return NotConnectedError(
            self.address, f"the connection breaks ({answer.message})", "try again"
        )


_CUT_SHORT = Answer(
    code=grpc.StatusCode.UNAVAILABLE, message="the stream ended before everything was told"
)


def _channel(endpoint: Endpoint) -> grpc.aio.Channel:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A server that is started again should be found again at once.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # gRPC waits so long for one connection, too, which may lead around the world.
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # A channel of its own does not inherit the failures of one that was closed.
        ("grpc.use_local_subchannel_pool", 1),
        # A stream on which nothing comes may be one whose other end is gone.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 15_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if is_loopback(endpoint.host):
        options.append(("grpc.enable_http_proxy", 0))
    if endpoint.plaintext:
        return grpc.aio.insecure_channel(endpoint.address, options=options)
    if endpoint.server_name:
        options.append(("grpc.ssl_target_name_override", endpoint.server_name))
    credentials = grpc.ssl_channel_credentials(endpoint.ca)
    return grpc.aio.secure_channel(endpoint.address, credentials, options=options)
