"""Which ready task a worker gets: the order within a stage, and how much one worker may hold."""

from collections import deque
from typing import NamedTuple

from disco_engine.core.model import NodeName, WorkerId

AVOID_S = 5.0
"""How long a task waits for another worker than the one it failed on."""

_LOOK_AHEAD = 8


class Avoid(NamedTuple):
    """Where a task would rather not run, because it failed there.

    Attributes:
        worker: The worker it failed on.
        node: The node it failed on, if it could not read its input there; else None.
        until: When it no longer minds, on the coordinator's clock.
    """

    worker: WorkerId
    node: NodeName | None
    until: float


class Asker(NamedTuple):
    """Who asks for a task.

    Attributes:
        worker: Its name.
        node: Where it runs.
        other_worker: Another usable worker takes tasks of the stage.
        other_node: Another one on another node does.
    """

    worker: WorkerId
    node: NodeName
    other_worker: bool
    other_node: bool


class ReadyQueue:
    """The ready tasks of one stage, first in, first out, but nearby ones first.

    Every operation takes constant time, averaged over a task's way through the queue: a task that
    is taken from one of the lists stays behind in the others as an index that is skipped later.
    Closing the queue takes no time at all: what is ready stays so, but nobody gets it.
    """

    def __init__(self) -> None:
        self._closed = False
        self._ready: set[int] = set()
        self._all: deque[int] = deque()
        self._by_node: dict[NodeName, deque[int]] = {}
        # Tasks that have failed somewhere; they go first, wherever they do not mind.
        self._failed: deque[int] = deque()
        self._avoid: dict[int, Avoid] = {}

    def __len__(self) -> int:
        return 0 if self._closed else len(self._ready)

    def close(self) -> None:
        """Give nothing out until ``open``."""
        self._closed = True

    def open(self) -> None:
        """Give out what is ready."""
        self._closed = False

    def add(self, task: int, node: NodeName | None = None, avoid: Avoid | None = None) -> None:
        """Let *task* be taken.

        Args:
            task: Its index in the stage.
            node: Where its data is; None: everywhere or unknown.
            avoid: Where it failed before; None: nowhere.
        """
        self._ready.add(task)
        if avoid is not None:
            self._avoid[task] = avoid
            self._failed.append(task)
            return
        self._avoid.pop(task, None)
        self._all.append(task)
        if node is not None:
            self._by_node.setdefault(node, deque()).append(task)

    def take(self, asker: Asker, now: float) -> int | None:
        """Remove and return the task that *asker* should run; None: there is none for it."""
        if self._closed or not self._ready:
            return None
        task = self._take_failed(asker, now)
        if task is None:
            task = self._first(self._by_node.get(asker.node))
        if task is None:
            task = self._first(self._all)
        if task is not None:
            self._ready.discard(task)
        return task

    def remove(self, task: int) -> None:
        """Let *task* not be taken any more."""
        self._ready.discard(task)
        self._avoid.pop(task, None)

    def _first(self, queue: deque[int] | None) -> int | None:
        while queue:
            task = queue.popleft()
            if task in self._ready and task not in self._avoid:
                return task
        return None

    def _take_failed(self, asker: Asker, now: float) -> int | None:
        queue = self._failed
        # A bounded look-ahead: what is behind it is asked for again soon, by this or another one.
        for _ in range(min(len(queue), _LOOK_AHEAD)):
            task = queue.popleft()
            avoid = self._avoid.get(task)
            if task not in self._ready or avoid is None:
                continue
            if not minds(avoid, asker, now):
                del self._avoid[task]
                return task
            queue.append(task)
        return None


def minds(avoid: Avoid, asker: Asker, now: float) -> bool:
    """Return whether a task would rather wait than run where *asker* is."""
    if now >= avoid.until:
        return False
    if avoid.node is not None and avoid.node == asker.node and asker.other_node:
        return True
    return avoid.worker == asker.worker and asker.other_worker


def most_attempts(slots: int, all_slots: int, unfinished: int) -> int:
    """Return how many attempts a worker may hold, so that none hoards what others could run.

    Half of the worker's share of what is unfinished, and at least one per slot: much at first, so
    that a worker never waits for its next task; little at the end, so that no worker has a queue
    while another has nothing. A worker that is alone may have it all.

    Args:
        slots: Of the worker, at least 1.
        all_slots: Of all usable workers that take the stage.
        unfinished: Attempts that run anywhere and tasks that are ready.

    Source:
        Guided self-scheduling: Polychronopoulos and Kuck, IEEE Trans. Computers C-36 (1987).
    """
    if slots >= all_slots:
        return unfinished
    return max(slots, slots * unfinished // (2 * all_slots))
