"""A server while it is open: how it is called, and which namespace a call means that names none."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from disco.client.calls import Calls, endpoint_of, token_source
from disco.client.connection import Connection
from disco.client.errors import ClientError
from disco.client.forwarding import forwarded
from disco.v1 import jobs_pb2

if TYPE_CHECKING:
    from disco.v1.jobs_pb2_grpc import JobsAsyncStub


class Server:
    """One server, which is open while this is entered as an async context manager.

    Args:
        connection: From ``disco.client.connection.resolve``.
        patience_s: Seconds to go on trying while a server that has answered before does not.
    """

    def __init__(self, connection: Connection, *, patience_s: float = 60.0) -> None:
        self._connection = connection
        self._patience_s = patience_s
        self._opened = AsyncExitStack()
        self._calls: Calls | None = None
        self._about: jobs_pb2.AboutReply | None = None

    async def __aenter__(self) -> Self:
        connection = self._connection
        token = token_source(connection)
        async with AsyncExitStack() as opened:
            if connection.kubectl is None:
                endpoint = endpoint_of(connection)
            else:
                forwarding = await opened.enter_async_context(forwarded(connection.kubectl))
                endpoint = await forwarding.endpoint()
                if not (connection.token or connection.token_file):
                    token = forwarding.token
            self._calls = Calls(endpoint, token, self._patience_s)
            opened.push_async_callback(self._calls.close)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    async def about(self) -> jobs_pb2.AboutReply:
        """Return what answers, and who is asking."""
        request = jobs_pb2.AboutRequest()
        return await self._open.call("About", self._stub.About, request)

    @property
    def _open(self) -> Calls:
        if self._calls is None:
            raise ClientError("the client is not open: use it as `async with AsyncClient(...)`")
        return self._calls

    @property
    def _stub(self) -> "JobsAsyncStub":
        return self._open.stub

    async def _in(self, namespace: str | None) -> str:
        """Return the namespace that a call means."""
        return namespace or self._connection.namespace or (await self._told()).default_namespace

    async def _told(self) -> jobs_pb2.AboutReply:
        """Return what the server tells about itself, asked once."""
        if self._about is None:
            self._about = await self.about()
        return self._about
