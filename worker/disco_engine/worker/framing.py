"""The parent's end of a slot's socket pair: messages with a length before them, not blocking."""

import asyncio
import os
import struct
from collections.abc import Callable
from typing import cast

from disco.v1 import slot_pb2

_HEADER = struct.Struct("<I")
_BUFFER_BYTES = 256 * 1024
_WRITE_HIGH_BYTES = 4 * 1024 * 1024  # read ahead for a slot that reads a source
_WRITE_LOW_BYTES = 1024 * 1024
_REST_S = 0.005
"""Between two looks at a slot whose attempts ask for nothing, so that what they say comes together.

It saves the parent from waking up for every attempt of a slot that runs thousands a second."""


class SlotProtocol(asyncio.BufferedProtocol):
    """Parses what a slot sends and hands each message on; large ones are received in place.

    Attributes:
        received: How often something was received; what came together has the same number.
    """

    def __init__(
        self,
        on_message: Callable[[slot_pb2.FromSlot], None],
        on_closed: Callable[[Exception | None], None],
    ) -> None:
        self._on_message = on_message
        self._on_closed = on_closed
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._end = 0  # what was received and not yet parsed lies in [0, end)
        self._large: memoryview | None = None
        self._large_end = 0
        self._transport: asyncio.Transport | None = None
        self._held = False
        self._asked = False  # the attempt that the slot has started last wants an answer
        self._resting: asyncio.TimerHandle | None = None
        self._to_end = False
        self.received = 0
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport is None or self._transport.is_closing()

    def send(self, *messages: slot_pb2.ToSlot) -> None:
        """Send *messages* in order, without waiting; await ``drain`` before sending much."""
        if self.closed:
            return
        parts: list[bytes] = []
        for message in messages:
            data = message.SerializeToString()
            parts.append(_HEADER.pack(len(data)))
            parts.append(data)
        assert self._transport is not None
        self._transport.write(b"".join(parts))

    async def drain(self) -> None:
        """Wait until the slot has taken most of what was sent."""
        await self._drained.wait()

    def pause(self) -> None:
        """Read nothing from the slot until ``resume``: soon it has to wait when it sends."""
        self._held = True
        self._settle()

    def resume(self) -> None:
        """Read again."""
        self._held = False
        self._settle()

    def read_to_end(self) -> None:
        """Read what the slot has left, whoever would like it to wait: it is gone."""
        self._to_end = True
        self._settle()

    def close(self) -> None:
        """Send and receive nothing more."""
        if self._transport is not None:
            self._transport.abort()

    # --- called by the event loop -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the conversation."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES, low=_WRITE_LOW_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """End it: the slot is gone or its messages make no sense."""
        if self._resting is not None:
            self._resting.cancel()
        if isinstance(exc, ConnectionError):
            # Perhaps nobody has read what it said before it ended: the transport reads nothing more
            # once it could not send.
            try:
                self._read_rest()
            except Exception as error:
                exc = error
        self._drained.set()
        self._on_closed(exc)

    def pause_writing(self) -> None:
        """Make ``drain`` wait."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """Let those who wait in ``drain`` go on."""
        self._drained.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to receive into."""
        if self._large is not None:
            return self._large[self._large_end :]
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """Handle every message that is complete."""
        self.received += 1
        if self._large is not None:
            self._large_end += nbytes
            if self._large_end == len(self._large):
                large, self._large = self._large, None
                self._parse(large)
            return
        self._end += nbytes
        start = 0
        while self._end - start >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer, start)
            body = start + _HEADER.size
            if self._end - body >= length:
                start = body + length
                self._parse(self._view[body:start])
            elif length + _HEADER.size > _BUFFER_BYTES:
                self._begin_large(length, body)
                return
            else:
                break
        rest = self._end - start
        if start and rest:
            self._buffer[:rest] = self._buffer[start : self._end]
        self._end = rest

    def _parse(self, data: memoryview) -> None:
        # Any buffer will do, whatever the type stub says.
        message = slot_pb2.FromSlot.FromString(data)  # type: ignore[arg-type]
        if message.HasField("started"):
            if not (self._asked or self._resting):
                self._rest()
            self._asked = False
        elif message.HasField("open") or message.HasField("ask"):
            self._asked = True
        self._on_message(message)

    def _read_rest(self) -> None:
        assert self._transport is not None
        descriptor = self._transport.get_extra_info("socket").fileno()
        while True:
            try:
                received = os.readv(descriptor, [self.get_buffer(-1)])
            except OSError:
                return
            if not received:
                return
            self.buffer_updated(received)

    def _rest(self) -> None:
        self._resting = asyncio.get_running_loop().call_later(_REST_S, self._go_on)
        self._settle()

    def _go_on(self) -> None:
        self._resting = None
        self._settle()

    def _settle(self) -> None:
        """Read, or do not, as everything that has been said about it asks for."""
        if self.closed:
            return
        transport = cast(asyncio.Transport, self._transport)
        if self._to_end or not (self._held or self._resting):
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _begin_large(self, length: int, body: int) -> None:
        self._large = memoryview(bytearray(length))
        self._large_end = self._end - body
        self._large[: self._large_end] = self._view[body : self._end]
        self._end = 0
