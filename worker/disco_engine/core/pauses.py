"""Which tasks pause before they are tried again, for how long, and until when."""

import heapq
from collections.abc import Iterator

from disco_engine.core.model import TaskRef

FAILURE_PAUSE_S = 0.1
FAILURE_PAUSE_LIMIT_S = 10.0
LOSS_PAUSE_S = 0.05
LOSS_PAUSE_LIMIT_S = 5.0


def pause_after_failures(times: int) -> float:
    """Return how long a task pauses that has failed so many times, in seconds."""
    return _pause(times, FAILURE_PAUSE_S, FAILURE_PAUSE_LIMIT_S)


def pause_after_losses(times: int) -> float:
    """Return how long a task pauses that was lost so many times in a row, in seconds."""
    return _pause(times, LOSS_PAUSE_S, LOSS_PAUSE_LIMIT_S)


def _pause(times: int, first_s: float, limit_s: float) -> float:
    # The exponent is bounded so that the power stays a small number.
    return min(limit_s, first_s * 2.0 ** min(times - 1, 16)) if times > 0 else 0.0


class Pauses:
    """Pauses in the order of their ends; a task has at most one, the newest."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, TaskRef]] = []
        # The valid entry of each task; older ones are skipped when their time comes.
        self._newest: dict[TaskRef, float] = {}

    def start(self, task: TaskRef, until: float) -> None:
        """Let *task* pause, instead of any pause it has."""
        self._newest[task] = until
        heapq.heappush(self._ends, (until, task))

    def over(self, now: float) -> Iterator[TaskRef]:
        """Remove and yield the tasks whose pause has ended."""
        while self._ends and self._ends[0][0] <= now:
            until, task = heapq.heappop(self._ends)
            if self._newest.get(task) == until:
                del self._newest[task]
                yield task
