"""Reports about attempts, from when they are made until the coordinator has taken them over."""

from collections import deque

from disco.v1 import coordinator_pb2
from disco_engine.core.model import AttemptId

_MESSAGE_REPORTS = 500
_MESSAGE_BYTES = 4 * 1024 * 1024


class ReportBook:
    """Keeps each report until it is confirmed, so that a broken connection loses none."""

    def __init__(self) -> None:
        self._unsent: deque[tuple[AttemptId, coordinator_pb2.AttemptReport]] = deque()
        self._unconfirmed: deque[tuple[AttemptId, coordinator_pb2.AttemptReport]] = deque()

    def __len__(self) -> int:
        """Return how many reports the coordinator has not confirmed."""
        return len(self._unsent) + len(self._unconfirmed)

    @property
    def unsent(self) -> bool:
        """Whether there is something to send."""
        return bool(self._unsent)

    def attempts(self) -> list[AttemptId]:
        """Return what the unconfirmed reports are about."""
        return [attempt for attempt, _ in (*self._unconfirmed, *self._unsent)]

    def add(self, attempt: AttemptId, report: coordinator_pb2.AttemptReport) -> None:
        """Have *report* sent."""
        self._unsent.append((attempt, report))

    def next_message(self) -> coordinator_pb2.Reports:
        """Return the oldest unsent reports, as many as make one message, and call them sent."""
        size = 0
        reports: list[coordinator_pb2.AttemptReport] = []
        while self._unsent and len(reports) < _MESSAGE_REPORTS and size < _MESSAGE_BYTES:
            item = self._unsent.popleft()
            self._unconfirmed.append(item)
            reports.append(item[1])
            size += item[1].ByteSize()
        return coordinator_pb2.Reports(reports=reports)

    def confirm(self, count: int) -> None:
        """Forget the *count* oldest of the sent reports: the coordinator has them."""
        for _ in range(min(count, len(self._unconfirmed))):
            self._unconfirmed.popleft()

    def resend(self) -> None:
        """Call everything unsent: the connection on which it was sent is gone."""
        self._unsent.extendleft(reversed(self._unconfirmed))
        self._unconfirmed.clear()

    def clear(self) -> None:
        """Forget everything: the coordinator that wanted it is gone."""
        self._unsent.clear()
        self._unconfirmed.clear()
