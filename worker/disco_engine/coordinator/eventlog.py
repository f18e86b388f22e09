"""Owns the numbered events of the job that watchers may read: the newest ones, bounded."""

import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from disco.v1 import coordinator_pb2
from disco_engine.core.model import AttemptId, WorkerId
from disco_engine.wire import attempt_to_wire

MAX_EVENTS = 2_000
MAX_TEXT_CHARS = 4 * 1024 * 1024
MAX_EVENT_CHARS = 16 * 1024


class EventLog:
    """A ring of events: the oldest go when there are too many or their texts are too long.

    What a slow watcher misses is gone; the numbers tell it how much that was.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._events: deque[coordinator_pb2.JobEvent] = deque()
        self._wall_clock = wall_clock
        self._chars = 0
        self.last = 0
        """Number of the newest event; 0: there was none yet."""

    def append(
        self,
        kind: str,
        text: str,
        *,
        stage_name: str = "",
        attempt: AttemptId | None = None,
        worker: WorkerId | None = None,
    ) -> None:
        """Number an event and keep it; of a text that is too long the end is kept."""
        self.last += 1
        text = text[-MAX_EVENT_CHARS:]
        self._events.append(
            coordinator_pb2.JobEvent(
                number=self.last,
                time_s=self._wall_clock(),
                kind=kind,
                stage_name=stage_name,
                attempt=None if attempt is None else attempt_to_wire(attempt),
                worker_id=worker or "",
                text=text,
            )
        )
        self._chars += len(text)
        while len(self._events) > MAX_EVENTS or self._chars > MAX_TEXT_CHARS:
            self._chars -= len(self._events.popleft().text)

    def after(self, number: int) -> list[coordinator_pb2.JobEvent]:
        """Return the kept events with greater numbers, oldest first.

        A number that was never given out comes from a coordinator before this one, whose events
        are gone: everything is news to that watcher.
        """
        if number > self.last:
            number = 0
        oldest = self.last - len(self._events)  # the number before the oldest kept one
        return list(islice(self._events, max(number - oldest, 0), None))
