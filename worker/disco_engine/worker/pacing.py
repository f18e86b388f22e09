"""How many tasks to have in hand: enough to keep the slots busy, few enough to share."""

import math

QUEUED_WORK_S = 0.2
"""How much work waits in the worker: several round trips to the coordinator."""

PIPELINED_WORK_S = 0.02
"""How much work waits inside a slot: several round trips to the parent."""

LONG_TASK_S = 1.0
"""Tasks as long as this lose nothing while the next one is fetched, so none is taken in advance."""

MAX_QUEUED = 400
MAX_PIPELINED = 64

_WEIGHT = 0.1  # of the newest task in the moving average


class Pace:
    """A moving average of how long tasks take, and what follows from it."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._average_s: float | None = None

    def observe(self, seconds: float) -> None:
        """Take note that a task took *seconds* in its slot."""
        if self._average_s is None:
            self._average_s = seconds
        else:
            self._average_s += _WEIGHT * (seconds - self._average_s)

    @property
    def depth(self) -> int:
        """How many tasks the worker should have, running and waiting.

        Before the first task has ended nothing is known, and none is taken in advance.
        """
        if self._average_s is None or self._average_s >= LONG_TASK_S:
            return self._slots
        return self._slots * (1 + _tasks_in(QUEUED_WORK_S, self._average_s, 1, MAX_QUEUED))

    @property
    def pipeline(self) -> int:
        """How many tasks should wait inside each slot, besides the one that runs."""
        if self._average_s is None:
            return 0
        return _tasks_in(PIPELINED_WORK_S, self._average_s, 0, MAX_PIPELINED)


def _tasks_in(seconds: float, average_s: float, least: int, most: int) -> int:
    if average_s * most <= seconds:
        return most
    return max(least, math.floor(seconds / average_s))
