"""Owns the numbered events of the job that watchers may read: the newest ones, bounded."""

import time
from collections.abc import Callable

from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.core.model import AttemptId, WorkerId
from disco_engine.recent import RecentEvents
from disco_engine.wire import attempt_to_wire

MAX_EVENTS = 2_000
MAX_TEXT_CHARS = 4 * 1024 * 1024
MAX_EVENT_CHARS = 16 * 1024 + 128
"""What workers keep of that which an attempt prints, and their note on how much came before it."""


class EventLog:
    """A ring of events: the oldest go when there are too many or their texts are too long.

    What a slow watcher misses is gone; the numbers tell it how much that was.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._events = RecentEvents(max_events=MAX_EVENTS, max_chars=MAX_TEXT_CHARS)
        self._wall_clock = wall_clock

    @property
    def last(self) -> int:
        """Number of the newest event; 0: there was none yet."""
        return self._events.count

    def append(
        self,
        kind: str,
        text: str,
        *,
        stage_name: str = "",
        attempt: AttemptId | None = None,
        worker: WorkerId | None = None,
        failure: common_pb2.Failure | None = None,
    ) -> None:
        """Number an event and keep it; of a text that is too long the end is kept."""
        self._events.add(
            coordinator_pb2.JobEvent(
                number=self.last + 1,
                time_s=self._wall_clock(),
                kind=kind,
                stage_name=stage_name,
                attempt=None if attempt is None else attempt_to_wire(attempt),
                worker_id=worker or "",
                text=text[-MAX_EVENT_CHARS:],
                failure=failure,
            )
        )

    def after(self, number: int) -> list[coordinator_pb2.JobEvent]:
        """Return the kept events with greater numbers, oldest first.

        A number that was never given out comes from a coordinator before this one, whose events
        are gone: everything is news to that watcher.
        """
        return self._events.after(number if number <= self.last else 0)
