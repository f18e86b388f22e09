"""What has been heard of one job, for all who follow it: bounded, and in order. Decides only."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from disco.v1 import coordinator_pb2
from disco_engine.coordinator.eventlog import MAX_EVENTS
from disco_gateway.backend import Position

EVENT_CHARS = 600
"""What an event counts for besides its text: the memory that protobuf takes for it."""


class HeardEvents:
    """The newest events of one job, numbered by one coordinator.

    A job has one coordinator after the other, each of which numbers from 1. Which of them it is,
    says the epoch; together with the run of the job, since the services of a retry may have seen
    no epoch yet, and clocks of nodes differ.

    Args:
        max_chars: Returns how much may be kept now: each event's text, and ``EVENT_CHARS`` for it.
    """

    def __init__(self, max_chars: Callable[[], int]) -> None:
        self._max_chars = max_chars
        self._events: deque[coordinator_pb2.JobEvent] = deque()
        self._chars = 0
        self.epoch = 0
        """Of the events, the job's run included; 0: nothing was heard yet."""
        self.last = 0
        """Number of the newest event."""

    def hear(self, told: coordinator_pb2.WatchReply, *, run: int) -> None:
        """Take what a coordinator told; what is old, or of an older coordinator, is left out.

        Args:
            told: Its reply.
            run: How often the job had been started again.
        """
        if not told.progress.epoch:
            return
        epoch = (run << 32) | told.progress.epoch
        if epoch < self.epoch:
            return
        if epoch > self.epoch:
            self.clear()
            self.epoch = epoch
        for event in told.events:
            if event.number > self.last:
                # A copy: part of a reply, however small, keeps all of it in memory.
                copy = coordinator_pb2.JobEvent()
                copy.CopyFrom(event)
                self._events.append(copy)
                self._chars += _chars_of(copy)
                self.last = event.number
        self.last = max(self.last, told.progress.last_event)
        most = self._max_chars()
        while self._events and (len(self._events) > MAX_EVENTS or self._chars > most):
            self._chars -= _chars_of(self._events.popleft())

    def clear(self) -> None:
        """Forget everything."""
        self._events.clear()
        self._chars = self.epoch = self.last = 0

    def since(
        self, position: Position, uid: str
    ) -> tuple[Sequence[coordinator_pb2.JobEvent], Position]:
        """Return the events that somebody has not heard, and where he is after them.

        Args:
            position: Where he is.
            uid: The job's.
        """
        mine = position.uid == uid
        if mine and position.epoch > self.epoch:  # what we have is older than what he has
            return (), position
        if not self.epoch:
            return (), Position(uid=uid)
        after = position.event if mine and position.epoch == self.epoch else 0
        behind = Position(uid=uid, epoch=self.epoch, event=max(self.last, after))
        skip = next(
            (i for i, event in enumerate(self._events) if event.number > after), len(self._events)
        )
        return tuple(islice(self._events, skip, None)), behind


def _chars_of(event: coordinator_pb2.JobEvent) -> int:
    return EVENT_CHARS + len(event.text)
