"""The tasks of one stage while it runs: how each stands, which are ready, how many are done.

Single tasks change through ``task.step`` only, and only in ``StageTasks.apply``, which keeps the
counters, the queue and the job's values in agreement with them. What the tasks read and what they
left, ``core.stages`` adds.
"""

from abc import ABC, abstractmethod

from disco_engine.core.actions import Work
from disco_engine.core.model import NodeName
from disco_engine.core.scheduling import Avoid, ReadyQueue
from disco_engine.core.task import step
from disco_engine.core.task_events import Action, Event, Ready, Started, Unready
from disco_engine.core.task_state import Limits, Task, TaskState
from disco_engine.core.values import ValueBook

_BUSY = frozenset({TaskState.RUNNING, TaskState.KEEPING, TaskState.SEALING})


class StageTasks(ABC):
    """The tasks of one stage.

    Args:
        number: Its index in the job: 0 is the plan stage.
        work: What its tasks are.
        name: For people.
        limits: How often each task may fail.
        values: What all tasks of the job leave beside their records.

    Attributes:
        planned: Its tasks are known.
        open: Its inputs are complete, so its tasks may run.
        tasks: In the order of their indices.
        queue: The tasks that are ready; closed while the stage is not open.
        avoid: Where tasks that wait for a retry should not run.
        rivals: How many attempts were started beside others.
        floor: Attempts up to this number belong to tasks of an earlier planning of the stage.
    """

    def __init__(
        self, number: int, work: Work, name: str, *, limits: Limits, values: ValueBook
    ) -> None:
        self.number = number
        self.work = work
        self.name = name
        self.floor = 0
        self._limits = limits
        self._values = values
        self._empty()

    def _empty(self) -> None:
        self.planned = False
        self.open = False
        self.tasks: list[Task] = []
        self.queue = ReadyQueue()
        self.avoid: dict[int, Avoid] = {}
        self.rivals = 0
        self._waiting: set[int] = set()
        # Became ready after they had been lost: the inputs may have been the reason.
        self._lost_before: set[int] = set()
        self._busy = self._done = self._retries = 0

    @abstractmethod
    def _home_of(self, index: int) -> NodeName | None:
        """Return the node with most of what a task reads; None: none in particular."""

    @property
    def any_done(self) -> bool:
        """At least one task is done."""
        return self._done > 0

    @property
    def any_running(self) -> bool:
        """At least one task has been given to a worker and is not done."""
        return self._busy > 0

    @property
    def complete(self) -> bool:
        """Every task is done."""
        return self.planned and self._done == len(self.tasks)

    def mostly_done(self, share: float) -> bool:
        """Return whether that share of its tasks is done, and at least one, but not all."""
        return max(1, int(share * len(self.tasks))) <= self._done < len(self.tasks)

    def apply(self, index: int, event: Event) -> list[Action]:
        """Give *event* to a task and return what must be done.

        Raises:
            IllegalTransition: The event cannot happen.
        """
        old = self.tasks[index]
        new, actions = step(old, event)
        if new is old:
            return actions
        self.tasks[index] = new
        if new.state is not old.state:
            self._busy += (new.state in _BUSY) - (old.state in _BUSY)
            self._done += (new.state is TaskState.DONE) - (old.state is TaskState.DONE)
            if old.state is TaskState.READY:
                self.queue.remove(index)
            elif old.state is TaskState.WAITING:
                self._waiting.discard(index)
            if new.state is TaskState.READY:
                self.queue.add(index, self._home_of(index), self.avoid.pop(index, None))
                if new.losses:
                    self._lost_before.add(index)
            elif new.state is TaskState.WAITING:
                self._waiting.add(index)
        if new.output is not old.output or new.state is TaskState.DONE:
            self._note_values(new)
        if isinstance(event, Started):
            if old.state is TaskState.RUNNING:
                self.rivals += 1
            elif self.is_retried(index):
                self._retries += 1
        return actions

    def _note_values(self, task: Task) -> None:
        output = task.output
        if output is not None and task.state is TaskState.DONE:
            self._values.put(task.ref, output.values)
        else:  # what the task had before, if it was done before, counts until it is done again
            self._values.reserve(task.ref, output.values if output else ())

    def is_retried(self, index: int) -> bool:
        """Return whether a task was given out more than once, not counting what was given back."""
        task = self.tasks[index]
        return task.started - task.returned > self.floor + 1

    def open_inputs(self, *, renewed: bool) -> None:
        """Make every task ready that waits.

        Args:
            renewed: The inputs were incomplete for a while.
        """
        self.open = True
        self.queue.open()
        ready = Ready(renewed)
        for index in sorted(self._waiting):
            self.apply(index, ready)

    def close_inputs(self) -> None:
        """Let no more tasks start until the inputs are complete again.

        What is ready stays in the closed queue, so this takes no time for each task; but what was
        lost before waits, so that its losses are forgotten when the inputs have been renewed.
        """
        self.open = False
        self.queue.close()
        for index in sorted(self._lost_before):
            if self.tasks[index].state is TaskState.READY:
                self.apply(index, Unready())
        self._lost_before.clear()
