"""One slot process, from its start to its end: its socket, its output pipe, its process group."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from disco.v1 import slot_pb2
from disco_engine.rpc import TLS_VARIABLE, TOKEN_VARIABLE
from disco_engine.worker.capture import OutputCapture
from disco_engine.worker.framing import SlotProtocol

_MODULE = "disco_engine.worker.slot"
_PIPE_CHUNK = 64 * 1024
_CHUNKS_AT_ONCE = 16  # more would keep the event loop from everything else
_NOT_FOR_SLOTS = frozenset({TOKEN_VARIABLE, TLS_VARIABLE})
_LAST_WORDS_S = 1.0  # between the end of a slot's socket and that of its process


class SlotProcess:
    """A running slot. It leads a process group, which ends with it."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: int, stack_pipe: int) -> None:
        self.protocol: SlotProtocol
        self._process = process
        self._pipe = pipe
        self._stack_pipe = stack_pipe
        self._capture = OutputCapture()
        self._read_for = 0
        self._closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(
        cls, scratch: Path, on_message: Callable[[slot_pb2.FromSlot], None]
    ) -> "SlotProcess":
        """Start a process whose temporary files go below *scratch*.

        Raises:
            OSError: The machine has no room for another process.
        """
        loop = asyncio.get_running_loop()
        environment = {k: v for k, v in os.environ.items() if k not in _NOT_FOR_SLOTS}
        environment["TMPDIR"] = str(scratch)
        ours, theirs = socket.socketpair()
        pipe, pipe_end = os.pipe()
        os.set_blocking(pipe, False)
        stack_pipe, stack_pipe_end = os.pipe()
        for descriptor in (stack_pipe, stack_pipe_end):  # it is read at the end only
            os.set_blocking(descriptor, False)
        try:
            process = await asyncio.create_subprocess_exec(
                # Not -c or a script: -P keeps files of the working directory from hiding modules.
                *(sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(stack_pipe_end)),
                pass_fds=(theirs.fileno(), stack_pipe_end),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=pipe_end,
                stderr=pipe_end,
                start_new_session=True,
                env=environment,
            )
        except BaseException:
            ours.close()
            os.close(pipe)
            os.close(stack_pipe)
            raise
        finally:
            theirs.close()
            os.close(pipe_end)
            os.close(stack_pipe_end)
        slot = cls(process, pipe, stack_pipe)
        _, slot.protocol = await loop.create_unix_connection(
            lambda: SlotProtocol(on_message, slot._on_closed), sock=ours
        )
        loop.add_reader(pipe, slot._read_some)
        return slot

    @property
    def pid(self) -> int:
        """The process's id, and its group's."""
        return self._process.pid

    def send(self, *messages: slot_pb2.ToSlot) -> None:
        """Send *messages* in order; nothing happens if the slot is gone."""
        self.protocol.send(*messages)

    def output_of(self, number: int) -> str:
        """Return what the attempt that was started as *number* printed; it is over."""
        # It was flushed before the slot said so, and a pipe holds no more than this at a time. What
        # came together with an earlier attempt's end, was flushed before that came.
        if self._read_for != self.protocol.received:
            self._read_for = self.protocol.received
            self._read(_CHUNKS_AT_ONCE)
        return self._capture.take(number)

    def signal(self, number: int) -> None:
        """Send a signal to the process, not to what it has started."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """End the process and all it has started, at once."""
        if self._process.returncode is None:
            self._kill_group()

    async def wait(self) -> tuple[int, Exception | None]:
        """Wait for the end, and clean up after it.

        Returns:
            The exit status (minus the signal's number if a signal ended it), and what was wrong
            with its messages, if anything was.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                exited = tasks.create_task(self._process.wait())
                either: set[asyncio.Future[Any]] = {exited, self._closed}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                # A process that has closed its socket is about to exit. The other way round, what
                # it has started may hold its end of the socket.
                await asyncio.wait((exited,), timeout=_LAST_WORDS_S)
                self._kill_group()
            self.protocol.read_to_end()
            await asyncio.wait((self._closed,), timeout=_LAST_WORDS_S)
        finally:
            self._end()
        error = self._closed.result() if self._closed.done() else None
        return exited.result(), error

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _end(self) -> None:
        self.kill()
        self.protocol.close()
        if self._pipe >= 0:
            self._read(_CHUNKS_AT_ONCE)
            self._close_pipe()
        # All that the process has said was taken, so this is of the attempt that ran.
        with suppress(BlockingIOError):
            self._capture.feed(os.read(self._stack_pipe, _PIPE_CHUNK))
        os.close(self._stack_pipe)

    def _on_closed(self, error: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None if isinstance(error, ConnectionError) else error)

    def _read_some(self) -> None:
        self._read(_CHUNKS_AT_ONCE)

    def _read(self, chunks: int) -> None:
        if self._pipe < 0:
            return
        try:
            for _ in range(chunks):
                data = os.read(self._pipe, _PIPE_CHUNK)
                if not data:
                    self._close_pipe()  # closed by the user's code: no more will come
                    return
                self._capture.feed(data)
                if len(data) < _PIPE_CHUNK:
                    return
        except BlockingIOError:
            return

    def _close_pipe(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe)
        os.close(self._pipe)
        self._pipe = -1
