"""Which tasks pause before they are tried again, and until when."""

import heapq
from collections.abc import Iterator

from disco_engine.core.model import TaskRef


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
