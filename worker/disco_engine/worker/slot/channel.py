"""The slot's end of the socket pair: messages with a length before them, blocking.

A slot without its parent has nobody to work for, so the end of the conversation ends the process
at once, together with whatever the user's code started in its process group.
"""

import errno
import os
import signal
import socket
import struct
from contextlib import suppress
from typing import NoReturn

from disco.v1 import slot_pb2

HEADER = struct.Struct("<I")
_BUFFER_BYTES = 256 * 1024
UNFIT_STATUS = 75
"""With which a slot ends that has reported an attempt and can do nothing more."""

_CUT_OFF = b"""\
This process has no connection to its worker: the job's code has closed it, or has forked and let
both processes go on. A process that was forked must end with os._exit.
"""


class Channel:
    """Sends and receives the messages of ``slot.proto``."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0  # what was received and not yet parsed lies in [start, end)
        self._end = 0
        self._unsent: list[bytes] = []

    def queue(self, message: slot_pb2.FromSlot) -> None:
        """Send *message* together with the next one, or at the next ``flush``."""
        data = message.SerializeToString()
        self._unsent.append(HEADER.pack(len(data)))
        self._unsent.append(data)

    def flush(self) -> None:
        """Send what was queued, waiting while the parent takes no more."""
        if not self._unsent:
            return
        data = b"".join(self._unsent)
        self._unsent.clear()
        try:
            self._connection.sendall(data)
        except OSError as error:
            leave(error)

    def send(self, message: slot_pb2.FromSlot) -> None:
        """Send what was queued, then *message*."""
        self.queue(message)
        self.flush()

    def receive(self) -> slot_pb2.ToSlot:
        """Return the next message, waiting for it."""
        size = HEADER.size
        self._need(size)
        (length,) = HEADER.unpack_from(self._buffer, self._start)
        if size + length > _BUFFER_BYTES:
            return self._receive_large(length)
        self._need(size + length)
        start = self._start + size
        self._start = start + length
        # Any buffer will do, whatever the type stub says.
        return slot_pb2.ToSlot.FromString(self._view[start : self._start])  # type: ignore[arg-type]

    def receive_ready(self) -> slot_pb2.ToSlot | None:
        """Return the next message if any of it has arrived, else None at once."""
        if self._end == self._start:
            try:
                self._fill(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
        return self.receive()

    def _need(self, size: int) -> None:
        while self._end - self._start < size:
            self._fill(0)

    def _fill(self, flags: int) -> None:
        if self._start:
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        self._end += self._receive_into(self._view[self._end :], flags)

    def _receive_large(self, length: int) -> slot_pb2.ToSlot:
        data = bytearray(length)
        start = self._start + HEADER.size
        done = self._end - start
        data[:done] = self._view[start : self._end]
        self._start = self._end = 0
        with memoryview(data) as view:
            while done < length:
                done += self._receive_into(view[done:], socket.MSG_WAITALL)
        return slot_pb2.ToSlot.FromString(data)  # type: ignore[arg-type]

    def _receive_into(self, view: memoryview, flags: int) -> int:
        try:
            received = self._connection.recv_into(view, 0, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            leave(error)
        if received == 0:
            leave()
        return received


def leave(error: OSError | None = None) -> NoReturn:
    """End this process; if it leads a process group, end all of that.

    Args:
        error: Why nothing can be said to the parent. A word about it is worth while only if that
            is the job's own doing, and nobody else's.
    """
    if error is not None and error.errno == errno.EBADF:
        with suppress(OSError):
            os.write(2, _CUT_OFF)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
