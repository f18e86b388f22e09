"""What user code may ask about the task it runs in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from disco.error import DiscoError
from disco_engine.program import TaskContext
from disco_engine.records.frozen import shown


class Task:
    """The task that runs now.

    Attributes:
        context: What the engine offers to the task.
        params: The task's own copy of the job's parameter ``params``.
        grouping: How the stage's tasks follow from those before: "split", "group_label", ….
        jobobjs: The job and the arguments of its ``run``, which all tasks of the process share.
    """

    # Everything else is worked out when it is asked for: most tasks ask for nothing.

    def __init__(
        self,
        context: TaskContext,
        params: object = None,
        *,
        grouping: str = "",
        jobobjs: tuple[Any, Any] = (None, None),
    ) -> None:
        self.context = context
        self.params = params
        self.grouping = grouping
        self.jobobjs = jobobjs

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

    @property
    def jobpath(self) -> str:
        """The directory that tasks run in: files that travelled with the job are at ``lib/``."""
        return str(Path.cwd())

    def makedirs(self) -> None:
        """Make ``taskpath``; nothing happens if it is there."""
        Path(self.taskpath).mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> str:
        """Return where a temporary file called *name* can be, on local disk."""
        return str(Path(self.taskpath) / name)

    def output_filename(self, label: int | None = None) -> str:
        """Return the name of a temporary file for records with a label."""
        return f"output-{0 if label is None else int(label)}"

    def output_path(self, label: int | None = None) -> str:
        """Return where that file can be."""
        return self.path(self.output_filename(label))

    def output(self, label: int | None = None) -> tuple[str, str, int | None]:
        """Return what ``disco.worker.Output`` is made of: path, type and label."""
        return self.output_path(label), "disco", label

    def __getattr__(self, name: str) -> NoReturn:
        if name in _NOT_HERE:
            raise DiscoError(f"a task has no {name} here: {_NOT_HERE[name]}")
        raise AttributeError(f"a task has no {name!r}")

    def get(self, key: str) -> bytes:
        """Return the out-of-band value that this task, or one that has finished, put under *key*.

        What tasks of an earlier stage have put is there; what tasks of the same stage have put may
        be. If there are several, that of the latest stage counts, and in it that of the last task.

        Raises:
            DiscoError: There is none, or *key* cannot be one.
        """
        try:
            value = self.context.values.get(key)
        except ValueError as error:
            raise DiscoError(str(error)) from None  # which says all, and shows lines of ours only
        if value is None:
            raise DiscoError(
                f"Unknown key or jobname: no finished task of this job has put {key!r}"
            )
        return value

    def put(self, key: str, value: bytes | str) -> None:
        """Keep *value* beside the records: for later stages, and ``Job.oob_get``.

        Others see it when the task has finished, exactly if its records count.

        Args:
            key: Letters, digits and ``_-@:``, at most 255 characters.
            value: At most 1 MiB; text is kept in UTF-8. All values of a task may have 4 MiB, those
                of a job 64 MiB.

        Raises:
            DiscoError: *key* cannot be one, or the value is too large or no bytes.
        """
        try:
            data = value.encode() if isinstance(value, str) else bytes(memoryview(value))
            self.context.values.put(key, data)
        except TypeError:
            raise DiscoError(
                f"the value {shown(key)} is of type {type(value).__name__}: only bytes can be put;"
                " pickle other things first"
            ) from None
        except ValueError as error:
            raise DiscoError(str(error)) from None


_NODE = "tasks reach no files but their own; what others are to read, emit as records"
_NOT_HERE = {
    "url": "files of a task go with it; emit what others are to read as records, or put() it",
    "jobfile": "a job does not travel as one file; its code can be imported, files are at lib/",
    "jobpack": "a job does not travel as a pack; jobobjs has the job and its arguments",
    "disco_port": f"there is no server on each node; {_NODE}",
    "put_port": f"there is no server on each node; {_NODE}",
    "ddfs_data": f"tags and blobs are behind disco.ddfs.DDFS; {_NODE}",
    "disco_data": f"there is no such directory on each node; {_NODE}",
}


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
