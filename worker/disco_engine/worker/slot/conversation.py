"""What a slot and its parent say to each other while attempts run, and in which order.

Work may arrive at any moment, also while an attempt waits for input, so every message is looked
at here first: runs are queued, forgotten ones are struck out, input goes to whoever reads it.
"""

import time
from collections import deque
from collections.abc import Generator

from disco.v1 import common_pb2, coordinator_pb2, partition_pb2, slot_pb2
from disco_engine.core.model import AttemptId
from disco_engine.program import ProgramError
from disco_engine.wire import attempt_from_wire, failure_from_wire
from disco_engine.worker.slot.channel import Channel

# How long a slot that has work may leave messages unread; `Forget` is about saving whole tasks.
_POLL_INTERVAL_S = 0.005


class Conversation:
    """The slot's side: a queue of attempts, at most one open source, and reports."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._queue: deque[tuple[AttemptId, coordinator_pb2.TaskAssignment]] = deque()
        self._polled_at = time.monotonic()
        self._early: deque[slot_pb2.InputBlocks] = deque()  # came while a value was asked for
        self.stop: slot_pb2.Stop | None = None

    def setup(self) -> slot_pb2.Setup:
        """Return the first message, waiting for it."""
        return self._channel.receive().setup

    def next_task(self) -> coordinator_pb2.TaskAssignment | None:
        """Return what to run next, waiting for it; None: the slot is to end."""
        if time.monotonic() >= self._polled_at + _POLL_INTERVAL_S:
            while (message := self._channel.receive_ready()) is not None:
                self._take(message)
            self._polled_at = time.monotonic()
        while not self._queue:
            if self.stop is not None:
                return None
            self._channel.flush()
            self._take(self._channel.receive())
        return self._queue.popleft()[1]

    def read_source(
        self, source: slot_pb2.OpenSource
    ) -> Generator[partition_pb2.FetchedBlock, None, None]:
        """Yield the blocks of one source; nobody else may read until the iterator is closed.

        Raises:
            ProgramError: It could not be read to its end.
        """
        self._channel.send(slot_pb2.FromSlot(open=source))
        over = False
        try:
            while not over:
                message = self._next_input()
                over = message.end or message.HasField("failure")
                yield from message.blocks
                if message.HasField("failure"):
                    raise ProgramError(failure_from_wire(message.failure))
        finally:
            if not over:
                self._close_source()

    def ask(self, key: str) -> bytes | None:
        """Return the value that a sealed task left under *key*; None: none did.

        Raises:
            ProgramError: Nobody could be asked.
        """
        self._channel.send(slot_pb2.FromSlot(ask=slot_pb2.AskValue(key=key)))
        while True:
            message = self._channel.receive()
            match message.WhichOneof("body"):
                case "value":
                    break
                case "input":  # no more than was on its way: the parent holds back the rest
                    self._early.append(message.input)
                case _:
                    self._take(message)
        answer = message.value
        if answer.HasField("failure"):
            raise ProgramError(failure_from_wire(answer.failure))
        return answer.value if answer.HasField("value") else None

    def ready(self, message: slot_pb2.SlotReady) -> None:
        """Tell the parent that set-up is done."""
        self._channel.send(slot_pb2.FromSlot(ready=message))

    def started(self, attempt: common_pb2.AttemptRef) -> None:
        """Tell the parent whose turn it is, before any user code of it runs."""
        self._channel.send(slot_pb2.FromSlot(started=attempt))

    def output(self, blocks: slot_pb2.OutputBlocks) -> None:
        """Send blocks of the current attempt, waiting while the parent takes no more."""
        self._channel.send(slot_pb2.FromSlot(output=blocks))

    def progress(self, message: coordinator_pb2.AttemptProgress) -> None:
        """Tell the parent how far the current attempt is."""
        self._channel.send(slot_pb2.FromSlot(progress=message))

    def report(self, message: slot_pb2.SlotReport, *, at_once: bool = False) -> None:
        """Tell the parent how the attempt ended; together with what is said next, or *at_once*."""
        self._channel.queue(slot_pb2.FromSlot(report=message))
        if at_once:
            self._channel.flush()

    def _take(self, message: slot_pb2.ToSlot) -> None:
        match message.WhichOneof("body"):
            case "run":
                self._queue.append((attempt_from_wire(message.run.attempt), message.run))
            case "forget":
                forgotten = {attempt_from_wire(ref) for ref in message.forget.attempts}
                self._queue = deque(task for task in self._queue if task[0] not in forgotten)
            case "stop":
                self.stop = message.stop
            case other:
                raise RuntimeError(f"the worker sent {other!r} when no slot waits for it")

    def _next_input(self) -> slot_pb2.InputBlocks:
        if self._early:
            return self._early.popleft()
        while True:
            message = self._channel.receive()
            if message.WhichOneof("body") == "input":
                return message.input
            self._take(message)

    def _close_source(self) -> None:
        """Have no more of a source: every one that was opened is ended by its parent once."""
        self._channel.send(slot_pb2.FromSlot(close=slot_pb2.CloseSource()))
        while True:
            message = self._next_input()
            if message.end or message.HasField("failure"):
                return
