"""The client's end of gRPC: what generated stubs need of a channel, and the calls they return."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from functools import partial
from typing import Any

import grpc
import grpc.aio

from simulator.network import Connection, Listener, Network, Side
from simulator.servers import Server, ServerEnd
from simulator.world import Process

_CONNECT_FAILS_S = (0.1, 0.5)


class Channel:
    """As much of ``grpc.aio.Channel`` as generated stubs and our programs use."""

    def __init__(self, network: Network, process: Process, address: str) -> None:
        self.network = network
        self.process = process
        self._address = address
        self._connection: Connection | None = None
        self._waiting: list[Callable[[Connection | None], object]] | None = None
        self._closed = False

    def _multicallable(self, kind: str) -> Callable[..., Callable[..., "Call"]]:
        def method(
            path: str, request_serializer: Any, response_deserializer: Any, **_: Any
        ) -> Callable[..., Call]:
            def start(
                request: Any = None,
                *,
                timeout: float | None = None,
                metadata: tuple[tuple[str, str], ...] = (),
            ) -> Call:
                call = _KINDS[kind](self, path, request_serializer, response_deserializer, metadata)
                call.start(request, timeout)
                return call

            return start

        return method

    def __getattr__(self, name: str) -> Any:
        if name in _KINDS:
            return self._multicallable(name)
        raise AttributeError(name)

    def connect(self, then: Callable[[Connection | None], object]) -> None:
        """Tell *then* the connection, or None if there is nobody at the address."""
        if self._connection is not None and self._connection.open[Side.CLIENT]:
            then(self._connection)
            return
        if self._waiting is not None:
            self._waiting.append(then)
            return
        self._waiting = [then]
        world, server = self.network.world, self.network.listeners.get(self._address)
        if (
            server is None
            or self.network.is_cut(self.process, server.process)
            or self.network.is_cut(server.process, self.process)
        ):
            world.after(world.random.uniform(*_CONNECT_FAILS_S), lambda: self._connected(None))
        else:
            latency = 2 * self.network.latency(self.process, server.process)
            world.after(latency, lambda: self._connected(server))

    def _connected(self, server: Listener | None) -> None:
        waiting, self._waiting = self._waiting or [], None
        if not self.process.alive or self._closed:
            return
        connection = None
        if server is not None and server.listening and server.process.alive:
            connection = self._connection = Connection(self.network, self.process, server)
        for then in waiting:
            then(connection)

    async def channel_ready(self) -> None:
        """Wait until there is a connection."""
        loop = asyncio.get_running_loop()
        while True:
            ready: asyncio.Future[Connection | None] = loop.create_future()
            self.connect(partial(_tell, ready))
            if await ready is not None:
                return

    async def close(self) -> None:
        """End all calls."""
        self._closed = True
        if self._connection is not None:
            for call in list(self._connection.calls.values()):
                call.cancel()
            self._connection.close(Side.CLIENT)


def _tell(ready: "asyncio.Future[Connection | None]", connection: Connection | None) -> None:
    if not ready.done():  # else nobody waits any more
        ready.set_result(connection)


class Call:
    """One call, both ends of it; the client's end is what stubs return."""

    def __init__(
        self, channel: Channel, path: str, serializer: Any, deserializer: Any, metadata: Any
    ) -> None:
        self.channel = channel
        self.last_sent = {Side.CLIENT: 0.0, Side.SERVER: 0.0}
        self.metadata = metadata
        self.path = path
        self._serializer = serializer
        self._deserializer = deserializer
        self._loop = channel.process.loop
        self._connection: Connection | None = None
        self._server_end: ServerEnd | None = None
        self._unsent: list[Callable[[], None]] = []
        # What the client's end knows.
        self._inbox: deque[bytes] = deque()
        self._status: tuple[grpc.StatusCode, str] | None = None
        self._cancelled = False
        self._in_flight = 0  # messages that the server has not taken
        self._blocked = 0  # writers that wait for that
        self._changed = asyncio.Event()

    # --- the client's end ---------------------------------------------------------------------

    def start(self, request: Any, timeout: float | None) -> None:
        """Begin."""
        if timeout is not None:
            self._loop.call_later(timeout, self._expire)
        if request is not None:
            self._post(request)
            self._close_writing()
        self.channel.connect(self._connected)

    def _connected(self, connection: Connection | None) -> None:
        if self._status is not None:
            return
        if connection is None:
            self._finish(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")
            return
        self._connection = connection
        connection.calls[id(self)] = self
        connection.send(Side.CLIENT, self, self._begin_serving)
        for act in self._unsent:
            connection.send(Side.CLIENT, self, act)
        self._unsent.clear()

    def _to_server(self, act: "Callable[[ServerEnd], None]") -> None:
        def there() -> None:
            if self._server_end is not None:
                act(self._server_end)

        if self._connection is None:
            self._unsent.append(there)
        else:
            self._connection.send(Side.CLIENT, self, there)

    def _post(self, message: Any) -> None:
        data = self._serializer(message)
        self._in_flight += 1
        self._to_server(lambda end: end.take(data))

    def _close_writing(self) -> None:
        self._to_server(lambda end: end.finish_input())

    def _expire(self) -> None:
        if self._status is None:
            self._finish(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            self._to_server(lambda end: end.cancel())

    def _finish(self, code: grpc.StatusCode, details: str) -> None:
        if self._status is None:
            self._status = code, details
            if self._connection is not None:
                self._forget_if_over()
            self._wake()

    def _forget_if_over(self) -> None:
        over = self._server_end is None or self._server_end.over
        if self._connection is not None and self._status is not None and over:
            self._connection.calls.pop(id(self), None)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def broke(self, side: Side) -> None:
        """Note that the connection is gone, at one of its ends."""
        if side is Side.CLIENT:
            self._finish(grpc.StatusCode.UNAVAILABLE, "the connection broke")
        elif self._server_end is not None:
            self._server_end.break_off()

    def _error(self) -> grpc.aio.AioRpcError:
        assert self._status is not None
        return grpc.aio.AioRpcError(self._status[0], details=self._status[1])

    def cancel(self) -> bool:
        """End the call."""
        if self._status is not None:
            return False
        self._cancelled = True
        self._finish(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
        self._to_server(lambda end: end.cancel())
        return True

    async def code(self) -> grpc.StatusCode:
        """Return how it ended."""
        while self._status is None:
            await self._changed.wait()
        return self._status[0]

    async def details(self) -> str:
        """Return why."""
        await self.code()
        assert self._status is not None
        return self._status[1]

    async def read(self) -> Any:
        """Return the next message, or EOF."""
        try:
            while not self._inbox and self._status is None:
                await self._changed.wait()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._cancelled:
            raise asyncio.CancelledError
        if self._inbox:
            message = self._deserializer(self._inbox.popleft())
            self._to_server(lambda end: end.taken())
            return message
        assert self._status is not None
        if self._status[0] is not grpc.StatusCode.OK:
            raise self._error()
        return grpc.aio.EOF

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def write(self, message: Any) -> None:
        """Send a message, when there is room for it."""
        if self._status is not None:
            raise asyncio.InvalidStateError("RPC already finished.")
        self._blocked += 1
        try:
            while self._in_flight >= self.channel.network.window and self._status is None:
                await self._changed.wait()
        finally:
            self._blocked -= 1
        if self._status is not None:
            raise self._error()
        self._post(message)
        await asyncio.sleep(0)

    async def done_writing(self) -> None:
        """Send no more."""
        self._close_writing()

    @property
    def quiet(self) -> bool:
        """Nothing is on its way, in either direction."""
        end = self._server_end
        return (
            self._status is None
            and end is not None
            and not end.over
            and not (self._inbox or self._in_flight or self._blocked)
            and not (end.inbox or end.in_flight or end.blocked)
        )

    # --- from the server's end ----------------------------------------------------------------

    def _begin_serving(self) -> None:
        connection = self._connection
        assert connection is not None
        assert isinstance(connection.server, Server)
        self._server_end = ServerEnd(self, connection, connection.server)

    def arrived(self, data: bytes) -> None:
        """Take a message from the server."""
        if self._status is None:
            self._inbox.append(data)
            self._wake()

    def ended(self, code: grpc.StatusCode, details: str) -> None:
        """Take the end from the server."""
        self._finish(code, details)

    def room(self) -> None:
        """Note that the server has taken a message."""
        self._in_flight -= 1
        self._wake()

    def forget(self) -> None:
        """Note that the server has nothing more to do with it."""
        self._forget_if_over()


class UnaryCall(Call):
    """A call with one answer."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    async def _answer(self) -> Any:
        answer = await self.read()
        if answer is grpc.aio.EOF:
            raise grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, details="no answer")
        try:
            await self.code()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._status is not None and self._status[0] is not grpc.StatusCode.OK:
            raise self._error()
        return answer


_KINDS: dict[str, type[Call]] = {
    "unary_unary": UnaryCall,
    "unary_stream": Call,
    "stream_unary": UnaryCall,
    "stream_stream": Call,
}
