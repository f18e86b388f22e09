"""The newest progress of a job and its recent events, handed from one thread to any others."""

import threading
from collections.abc import Iterable, Iterator

from disco.v1 import coordinator_pb2
from disco_engine.phases import ENDED
from disco_engine.recent import RecentEvents

_KEPT_EVENTS = 5_000
_KEPT_CHARS = 4 * 1024 * 1024


class ProgressBoard:
    """Written by one thread, followed by any number; a slow reader misses snapshots, not events.

    (Events it does miss if it falls thousands behind: memory is bounded.)
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._progress: coordinator_pb2.JobProgress | None = None
        self._events = RecentEvents(max_events=_KEPT_EVENTS, max_chars=_KEPT_CHARS)
        self._error: Exception | None = None

    @property
    def progress(self) -> coordinator_pb2.JobProgress | None:
        """The newest snapshot; None before the first."""
        return self._progress

    @property
    def over(self) -> bool:
        """Whether nothing more will be posted."""
        return self._error is not None or (
            self._progress is not None and self._progress.phase in ENDED
        )

    @property
    def error(self) -> Exception | None:
        """What ``fail`` was given, if that is how it ended."""
        return self._error

    def post(
        self,
        progress: coordinator_pb2.JobProgress | None,
        events: Iterable[coordinator_pb2.JobEvent] = (),
    ) -> None:
        """Show a new snapshot (None: the old one is still right) and add events."""
        with self._changed:
            if self.over:
                return
            if progress is not None:
                self._progress = progress
            for event in events:
                self._events.add(event)
            self._changed.notify_all()

    def fail(self, error: Exception) -> bool:
        """End it: readers get *error* once they have read the events.

        Returns:
            Whether it was not over yet; if it was, nothing happens.
        """
        with self._changed:
            if self.over:
                return False
            self._error = error
            self._changed.notify_all()
            return True

    def wait_over(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; return whether it came within *timeout_s* seconds (None: ever)."""
        with self._changed:
            return self._changed.wait_for(lambda: self.over, timeout_s)

    def result(self, timeout_s: float | None) -> coordinator_pb2.JobProgress:
        """Wait for the end and return the last snapshot.

        Raises:
            Exception: What ``fail`` was given.
            TimeoutError: The end did not come within *timeout_s* seconds (None: no limit).
        """
        if not self.wait_over(timeout_s):
            raise TimeoutError(f"the job still runs after {timeout_s:g} s")
        if self._error is not None:
            raise self._error
        assert self._progress is not None
        return self._progress

    def numbered(self, after: int) -> list[tuple[int, coordinator_pb2.JobEvent]]:
        """Return the events that are kept, but for the first *after*; the first of all is 1."""
        with self._changed:
            events, count = self._events.after(after), self._events.count
        return list(enumerate(events, start=count - len(events) + 1))

    def follow(self) -> Iterator[coordinator_pb2.WatchReply]:
        """Yield the newest snapshot with the events since the one before, until the end.

        Raises:
            Exception: What ``fail`` was given, after the events before it.
        """
        read = 0
        seen: coordinator_pb2.JobProgress | None = None
        while True:
            with self._changed:
                while not (self.over or self._events.count > read or self._progress is not seen):
                    self._changed.wait()
                over, error, seen = self.over, self._error, self._progress
                events, read = self._events.after(read), self._events.count
            if events or seen is not None:
                yield coordinator_pb2.WatchReply(progress=seen, events=events)
            if error is not None:
                raise error
            if over:
                return
