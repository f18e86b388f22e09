"""The newest events of a job, for those who ask later: bounded in number, and in how much they say.

What goes is the oldest; the count tells whoever was slow how much he has missed.
"""

from collections import deque
from itertools import islice

from disco.v1 import coordinator_pb2


class RecentEvents:
    """A ring of events.

    Args:
        max_events: How many are kept.
        max_chars: How long their texts together may be.

    Attributes:
        count: How many there ever were.
    """

    def __init__(self, *, max_events: int, max_chars: int) -> None:
        self.count = 0
        self._events: deque[coordinator_pb2.JobEvent] = deque()
        self._max_events = max_events
        self._max_chars = max_chars
        self._chars = 0

    def add(self, event: coordinator_pb2.JobEvent) -> None:
        """Keep an event, if need be instead of older ones."""
        self.count += 1
        self._events.append(event)
        self._chars += _chars_of(event)
        while len(self._events) > self._max_events or self._chars > self._max_chars:
            self._chars -= _chars_of(self._events.popleft())

    def after(self, count: int) -> list[coordinator_pb2.JobEvent]:
        """Return those kept that came after the first *count*, oldest first."""
        gone = self.count - len(self._events)
        return list(islice(self._events, max(count - gone, 0), None))


def _chars_of(event: coordinator_pb2.JobEvent) -> int:
    failure = event.failure
    return len(event.text) + len(failure.message) + len(failure.traceback) + len(failure.record)
