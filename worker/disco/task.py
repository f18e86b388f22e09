"""What user code may ask about the task it runs in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from disco.error import DiscoError
from disco_engine.program import TaskContext


class Task:
    """The task that runs now.

    Attributes:
        context: What the engine offers to the task.
        params: The task's own copy of the job's parameter ``params``.
    """

    # Everything else is worked out when it is asked for: most tasks ask for nothing.

    def __init__(self, context: TaskContext, params: object = None) -> None:
        self.context = context
        self.params = params

    @property
    def jobname(self) -> str:
        """Unique name of the job."""
        return self.context.job_name

    @property
    def master(self) -> str:
        """Which engine runs the job."""
        return "local"

    @property
    def host(self) -> str:
        """Name of the node that the task runs on."""
        return self.context.node

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return self.context.stage_name

    @property
    def taskid(self) -> int:
        """Number of the task in its stage, from 0."""
        return self.context.task

    @property
    def uid(self) -> str:
        """Names this attempt at the task, unlike any other of the job."""
        return f"{self.stage}:{self.taskid}-{self.context.attempt}"

    @property
    def group(self) -> tuple[int, str]:
        """The label and the host that all inputs share; 0 and "" if they need not share one."""
        label, host = self.context.group.label, self.context.group.node
        return 0 if label is None else label, "" if host is None else host

    @property
    def group_label(self) -> int:
        """The first part of ``group``."""
        return self.group[0]

    @property
    def group_host(self) -> str:
        """The second part of ``group``."""
        return self.group[1]

    @property
    def inputs(self) -> list[str]:
        """What the task reads: URLs; in later stages names such as "label 3 from ps-0"."""
        urls = [item.urls[0] for item in self.context.inputs]
        return urls or [source.name for source in self.context.sources]

    @property
    def taskpath(self) -> str:
        """An empty directory on local disk, removed when the attempt ends."""
        return str(self.context.scratch)

    def path(self, name: str) -> str:
        """Return where a temporary file called *name* can be, on local disk."""
        return str(Path(self.taskpath) / name)

    def get(self, key: str) -> NoReturn:
        """Refuse: values cannot be passed beside the records yet."""
        raise _no_oob(key)

    def put(self, key: str, value: bytes) -> NoReturn:
        """Refuse: values cannot be passed beside the records yet."""
        raise _no_oob(key)


def _no_oob(key: str) -> DiscoError:
    return DiscoError(
        f"out-of-band value {key!r}: this version passes values between tasks as records only;"
        " emit it from the map, or pass it in params"
    )


class CurrentTask:
    """Stands for whichever task runs now, so that functions can keep one name for all of them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(active_task(), name)

    def __repr__(self) -> str:
        return "<no task>" if _active is None else f"<task {_active.uid}>"


_active: Task | None = None  # a slot runs one task at a time


def running_task() -> Task | None:
    """Return the task that runs now, if one does."""
    return _active


def active_task() -> Task:
    """Return the task that runs now.

    Raises:
        DiscoError: No task runs in this process.
    """
    if _active is None:
        raise DiscoError("no task runs here: only functions that a job calls have a task")
    return _active


@contextmanager
def activated(task: Task) -> Iterator[None]:
    """Let *task* be the one that runs, until the block ends."""
    global _active
    _active = task
    try:
        yield
    finally:
        _active = None
