"""What a job's tasks left beside their records: the value of each key, and how much there may be.

A value counts when its attempt is sealed, and belongs to the task: when the task is done again, its
values are replaced, and they go when its stage is planned anew. If several tasks left one under the
same key, the latest stage has the last word, and in it the task with the greatest number. So the
answer never depends on who came first.

How much there may be is counted from when an attempt has finished, not from its seal: of tasks that
end at the same moment, each finds what the others will have taken.
"""

import re
from bisect import bisect_left, insort
from collections.abc import Iterator

from disco_engine.core.model import TaskRef, Values

MAX_VALUE_BYTES = 1024 * 1024
MAX_TASK_BYTES = 4 * 1024 * 1024
MAX_JOB_BYTES = 64 * 1024 * 1024
MAX_KEY_CHARACTERS = 255

_KEY = re.compile(r"[A-Za-z0-9_\-@:]+")
_ENTRY_BYTES = 64  # what a value costs beside its own bytes, so that many small ones count, too


def key_problem(key: object) -> str:
    """Return what is wrong with the name of a value; empty: nothing."""
    if not isinstance(key, str):
        return f"it is of the type {type(key).__name__}, not str"
    if not _KEY.fullmatch(key):
        return "it must consist of letters A-Z and a-z, digits and _ - @ :"
    if len(key) > MAX_KEY_CHARACTERS:
        return f"it has {len(key):,} characters; {MAX_KEY_CHARACTERS} are the most"
    return ""


def size_of(key: str, value: bytes) -> int:
    """Return what a value counts for in the limits of task and job."""
    return _ENTRY_BYTES + len(key) + len(value)


def size_of_all(values: Values) -> int:
    """Return what several count for."""
    return sum(size_of(key, value) for key, value in values)


class ValueBook:
    """The values of the tasks that are done, and room for those that are about to be.

    Attributes:
        size: What they count for, together; if a task has some and is about to have others, the
            larger of the two.
    """

    def __init__(self) -> None:
        self.size = 0
        self._reserved: dict[TaskRef, int] = {}  # beyond what the task has
        self._by_task: dict[TaskRef, dict[str, bytes]] = {}
        self._by_key: dict[str, list[TaskRef]] = {}  # ascending: the last has the word

    def room_for(self, task: TaskRef, values: Values) -> bool:
        """Return whether the job may have these, in place of those that *task* has or awaits."""
        size = self.size - self._reserved.get(task, 0) + self._growth(task, values)
        return size <= MAX_JOB_BYTES

    def _growth(self, task: TaskRef, values: Values) -> int:
        before = self._by_task.get(task, {})
        return max(0, size_of_all(values) - size_of_all(tuple(before.items())))

    def reserve(self, task: TaskRef, values: Values) -> None:
        """Count these, too, until they are the task's, or others are reserved, or none."""
        self.size -= self._reserved.pop(task, 0)
        growth = self._growth(task, values) if values else 0
        if growth:
            self._reserved[task] = growth
            self.size += growth

    def put(self, task: TaskRef, values: Values) -> None:
        """Have these be the values of *task*, and no others."""
        self.forget(task)
        if not values:
            return
        self._by_task[task] = dict(values)
        self.size += size_of_all(values)
        for key, _ in values:
            insort(self._by_key.setdefault(key, []), task)

    def forget(self, task: TaskRef) -> None:
        """Forget what *task* left, or would have."""
        self.reserve(task, ())
        before = self._by_task.pop(task, None)
        if before is None:
            return
        self.size -= size_of_all(tuple(before.items()))
        for key in before:
            tasks = self._by_key[key]
            del tasks[bisect_left(tasks, task)]
            if not tasks:
                del self._by_key[key]

    def forget_stage(self, stage: int) -> None:
        """Forget what the tasks of a stage left."""
        for task in [task for task in self._by_task if task.stage == stage]:
            self.forget(task)

    def get(self, key: str) -> bytes | None:
        """Return the value of a key; None: there is none."""
        tasks = self._by_key.get(key)
        return self._by_task[tasks[-1]][key] if tasks else None

    def select(self, key: str, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Yield keys and values, ascending: of *key*, or if that is empty, of all with *prefix*."""
        names = [key] if key else sorted(name for name in self._by_key if name.startswith(prefix))
        for name in names:
            value = self.get(name)
            if value is not None:
                yield name, value
