"""Which job to look at when: every job at most once a second, and never twice at once.

Decides with the times it is given; ``loop`` waits and looks.

    waiting ──start──▶ running ──done──▶ (forgotten, or waiting again)

A change that arrives while a job is running makes it wait again. A look that failed is repeated
after 1, 2, 4 … 60 s; a change in the meantime is worth a look at once, since what it is about may
have been the reason.
"""

import heapq
from collections import deque
from dataclasses import dataclass

from disco_operator.model import JobKey

SPACING_S = 1.0
BACKOFF_FIRST_S = 1.0
BACKOFF_MOST_S = 60.0


@dataclass(slots=True)
class _Slate:
    """What is known of one job.

    Attributes:
        due: When to look; None: nothing asks for it.
        began: When the last look began.
        running: Whether it goes on.
        failures: How many looks have failed since one succeeded.
    """

    due: float | None = None
    began: float = float("-inf")
    running: bool = False
    failures: int = 0


class Schedule:
    """The jobs that wait for a look, and those being looked at."""

    def __init__(self) -> None:
        self._slates: dict[JobKey, _Slate] = {}
        # (due, order of arrival, job); an entry whose `due` is not its slate's is void.
        self._heap: list[tuple[float, int, JobKey]] = []
        self._arrivals = 0
        self._quiet: deque[tuple[float, JobKey]] = deque()

    def add(self, key: JobKey, now: float, *, delay_s: float = 0.0) -> None:
        """Ask for a look, *delay_s* from now or earlier."""
        self._want(key, self._slates.setdefault(key, _Slate()), now + delay_s)

    def start(self, now: float) -> JobKey | None:
        """Return the job that is due longest, which is running from now on; None: none is due."""
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            slate = self._slates.get(key)
            if slate is None or slate.due != due or slate.running:
                continue
            slate.due, slate.began, slate.running = None, now, True
            return key
        return None

    def done(self, key: JobKey, now: float, *, again_in_s: float | None) -> None:
        """Note that a look at *key* succeeded; look again *again_in_s* later, if given."""
        slate = self._slates[key]
        slate.running, slate.failures = False, 0
        if again_in_s is not None:
            slate.due = min(now + again_in_s, slate.due if slate.due is not None else float("inf"))
        self._settle(key, slate)
        self._forget(now)

    def failed(self, key: JobKey, now: float, *, jitter: float) -> float:
        """Note that a look failed; return the seconds until the next one.

        Args:
            key: The job.
            now: The time.
            jitter: Random, 0 to 1: how much of half the back-off to leave out, so that jobs
                that failed together are not looked at together.
        """
        slate = self._slates[key]
        backoff_s = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2.0 ** min(slate.failures, 10))
        backoff_s = max(BACKOFF_FIRST_S, backoff_s * (1.0 - jitter / 2))
        slate.running, slate.failures = False, slate.failures + 1
        slate.due = min(now + backoff_s, slate.due if slate.due is not None else float("inf"))
        self._settle(key, slate)
        return backoff_s

    def next_due(self) -> float | None:
        """Return when the next look is due; None: nothing waits. May be too early, never late."""
        return self._heap[0][0] if self._heap else None

    def waiting(self, now: float) -> int:
        """Return how many jobs are due and not being looked at."""
        return sum(1 for due in self._dues() if due <= now)

    def oldest_wait_s(self, now: float) -> float:
        """Return how long the job that is due longest has waited."""
        return max((now - due for due in self._dues()), default=0.0) if self._slates else 0.0

    def __len__(self) -> int:
        """Return how many jobs are remembered."""
        return len(self._slates)

    def _dues(self) -> list[float]:
        return [
            slate.due
            for slate in self._slates.values()
            if slate.due is not None and not slate.running
        ]

    def _want(self, key: JobKey, slate: _Slate, due: float) -> None:
        due = max(due, slate.began + SPACING_S)
        if slate.due is None or due < slate.due:
            slate.due = due
            if not slate.running:  # else done() or failed() will
                self._push(key, due)

    def _settle(self, key: JobKey, slate: _Slate) -> None:
        if slate.due is not None:
            slate.due = max(slate.due, slate.began + SPACING_S)
            self._push(key, slate.due)
        else:
            self._quiet.append((slate.began, key))

    def _push(self, key: JobKey, due: float) -> None:
        self._arrivals += 1
        heapq.heappush(self._heap, (due, self._arrivals, key))

    def _forget(self, now: float) -> None:
        # What began over a second ago, succeeded and waits for nothing is as good as never seen.
        while self._quiet and self._quiet[0][0] <= now - SPACING_S:
            began, key = self._quiet.popleft()
            slate = self._slates.get(key)
            if slate and slate.began == began and slate.due is None and not slate.running:
                del self._slates[key]
