"""The server's end of gRPC: what generated code and servicers need of a server and a context."""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import grpc
import grpc.aio

from simulator.disk import PowerCut
from simulator.network import Connection, Conversation, Network, Side
from simulator.world import Process

_BREAK_NOTICED_S = 0.1


class Caller(Conversation, Protocol):
    """The client's end of a call, as the server's end knows it."""

    path: str
    metadata: tuple[tuple[str, str], ...]

    def arrived(self, data: bytes) -> None:
        """Take a message."""

    def ended(self, code: grpc.StatusCode, details: str) -> None:
        """Take the end."""

    def room(self) -> None:
        """Take note that a message was taken."""

    def forget(self) -> None:
        """Take note that the server has nothing more to do with it."""


class Server:
    """As much of ``grpc.aio.Server`` as our programs use."""

    def __init__(self, network: Network, process: Process, token: str) -> None:
        self.network = network
        self.process = process
        self.listening = False
        self.credentials = f"Bearer {token}"
        self.handlers: dict[str, Any] = {}
        self._address = ""
        process.on_death.append(self._unlisten)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Take the methods of a service."""
        for handler in handlers:
            self.handlers.update(handler._method_handlers)

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """They came as generic ones."""

    def bind(self, address: str) -> None:
        """Choose where to listen."""
        self._address = address

    async def start(self) -> None:
        """Listen: whoever had the address before has it no more."""
        self.listening = True
        self.network.listeners[self._address] = self

    async def stop(self, grace: float | None) -> None:
        """Listen no more, and end all connections."""
        self._unlisten()
        for connection in list(self.network.connections):
            if connection.server is self:
                connection.close(Side.SERVER)

    def _unlisten(self) -> None:
        self.listening = False
        if self.network.listeners.get(self._address) is self:
            del self.network.listeners[self._address]


class ServerEnd:
    """What a servicer sees of a call: its requests, and its context."""

    def __init__(self, call: Caller, connection: Connection, server: Server) -> None:
        self.inbox: deque[bytes] = deque()
        self.in_flight = 0  # messages that the client has not taken
        self.blocked = 0  # writers that wait for that
        self.over = False
        self._call = call
        self._connection = connection
        self._server = server
        self._handler = self._server.handlers[call.path]
        self._input_over = False
        self._broken = False
        self._changed = asyncio.Event()
        self._task = self._server.process.loop.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            code, details = await self._handle()
        except _Aborted as abort:
            code, details = abort.args
        except asyncio.CancelledError:
            code, details = grpc.StatusCode.CANCELLED, "the call was cancelled"
        except PowerCut:
            return
        except (grpc.aio.UsageError, StopAsyncIteration):  # the call had ended before
            code, details = grpc.StatusCode.CANCELLED, "the call had ended"
        except Exception as error:
            self._server.process.note_bug(f"{self._call.path} raised", error)
            code, details = grpc.StatusCode.UNKNOWN, repr(error)
        self.over = True
        self._send(lambda: self._call.ended(code, details))
        self._call.forget()

    async def _handle(self) -> tuple[grpc.StatusCode, str]:
        handler = self._handler
        if dict(self._call.metadata).get("authorization") != self._server.credentials:
            return grpc.StatusCode.UNAUTHENTICATED, "this call needs the job's token"
        request: Any = self if handler.request_streaming else await anext(self)
        name = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        answer = getattr(handler, name)(request, self)
        if inspect.isasyncgen(answer):
            async for message in answer:
                await self.write(message)
        else:
            message = await answer
            if not handler.response_streaming:
                self._post(message)
        return grpc.StatusCode.OK, ""

    # --- from the client's end ----------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Take a message."""
        self.inbox.append(data)
        self._wake()

    def finish_input(self) -> None:
        """Note that no more will come."""
        self._input_over = True
        self._wake()

    def taken(self) -> None:
        """Note that the client has taken a message."""
        self.in_flight -= 1
        self._wake()

    def cancel(self) -> None:
        """Note that the client is not interested any more."""
        self.break_off()

    def break_off(self) -> None:
        """Note that the connection is gone: the input ends, and a moment later the handler."""
        if self._broken or self.over:
            return
        self._broken = self._input_over = True
        self.inbox.clear()
        self._wake()
        world = self._server.network.world

        def end() -> None:
            if self._server.process.alive:
                self._task.cancel()

        world.after(world.random.uniform(0, _BREAK_NOTICED_S), end)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _send(self, act: Callable[[], None]) -> None:
        self._connection.send(Side.SERVER, self._call, act)

    def _post(self, message: Any) -> None:
        data = self._handler.response_serializer(message)
        self.in_flight += 1
        self._send(lambda: self._call.arrived(data))

    # --- for the servicer ---------------------------------------------------------------------

    def __aiter__(self) -> "ServerEnd":
        return self

    async def __anext__(self) -> Any:
        while not self.inbox:
            if self._input_over:
                raise StopAsyncIteration
            await self._changed.wait()
        message = self._handler.request_deserializer(self.inbox.popleft())
        self._send(self._call.room)
        return message

    async def write(self, message: Any) -> None:
        """Send a message, when there is room for it."""
        self.blocked += 1
        try:
            while self.in_flight >= self._server.network.window and not self._broken:
                await self._changed.wait()
        finally:
            self.blocked -= 1
        if self._broken:
            raise grpc.aio.UsageError("RPC already finished.")
        self._post(message)
        await asyncio.sleep(0)

    def abort(self, code: grpc.StatusCode, details: str = "") -> Awaitable[None]:
        """End the call with an error."""
        raise _Aborted(code, details)


class _Aborted(Exception):
    """Ends a servicer's method."""
