"""Inputs and outputs as workers of a program's own see them: by id, with replicas, one by one.

Classic and pipeline jobs read with ``disco.worker.reading``, which is faster.
"""

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from disco.error import DataError
from disco.task import Task, active_task
from disco.worker.reading import counted_frames
from disco.worker.record_streams import RecordStream, chain_reader
from disco.worker.task_output import TaskOutput
from disco_engine.core.model import TaskInput
from disco_engine.program import ShuffleSource
from disco_engine.records.readers import pairs_of
from disco_engine.records.writers import as_pair

if TYPE_CHECKING:
    from disco.worker.hooks import TaskHooks

Opener = Callable[[str], Iterable[Any]]

_STORED = "input://"  # what the stages before have written: it has no URL of its own


def given_inputs(task: Task) -> list[TaskInput | ShuffleSource]:
    """Return what a task reads, each in the place of its id."""
    return [*task.context.inputs, *task.context.sources]


class IDedInput(tuple["type[TaskHooks]", int, int]):
    """One input of the running task: (worker, id, label)."""

    __slots__ = ()

    @property
    def worker(self) -> "type[TaskHooks]":
        """Whose input it is."""
        return self[0]

    @property
    def id(self) -> int:
        """Its number among those of the task."""
        return self[1]

    @property
    def label(self) -> int:
        """Its label."""
        return self[2]

    @property
    def replicas(self) -> list[tuple[int, str]]:
        """(number, URL) of each replica."""
        return self.worker.get_input(self.id)

    @property
    def locations(self) -> list[str]:
        """The URLs of the replicas."""
        return [url for _, url in self.replicas]

    @property
    def isindex(self) -> bool:
        """False: indexes were taken apart when the job was planned."""
        return False

    def __str__(self) -> str:
        return str(self.locations)


class ReplicaIter:
    """Yields the URLs of an input's replicas, each once."""

    def __init__(self, input: IDedInput) -> None:
        self.input = input
        self._urls = iter(input.locations)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._urls)


class InputIter:
    """Yields the records of one input; a replica that fails is replaced by the next.

    Args:
        input: An ``IDedInput``, a URL, or URLs with the same content.
        task: Whose input it is.
        open: Returns the records of a URL; None: lines (bytes), or the pairs of a job's records.
        start: The first record to yield.

    Raises:
        DataError: No replica could be read to the end.
    """

    def __init__(
        self, input: Any, task: Task | None = None, open: Opener | None = None, start: int = 0
    ) -> None:
        self.input = input
        self.last = start - 1
        self._open = open or Input.default_opener(task)
        self._records = self._each()

    def __iter__(self) -> Iterator[Any]:
        return self._records

    def __next__(self) -> Any:
        return next(self._records)

    def _each(self) -> Iterator[Any]:
        failures: list[DataError] = []
        for url in self._urls():
            try:
                for number, record in enumerate(self._open(url)):
                    if number > self.last:
                        self.last = number
                        yield record
                return
            except DataError as error:
                failures.append(error)
        raise DataError(
            "exhausted all replicas: " + ("; ".join(map(str, failures)) or "there are none"),
            str(self.input),
        ) from (failures[-1] if failures else None)

    def _urls(self) -> Iterable[str]:
        if isinstance(self.input, IDedInput):
            return ReplicaIter(self.input)
        return [self.input] if isinstance(self.input, str) else self.input


class Input:
    """The records of one input.

    Args:
        input: As for ``InputIter``, as are the others.
        task: Whose input it is; None: the running one's.
        **options: ``open`` and ``start``.
    """

    def __init__(self, input: Any, task: Task | None = None, **options: Any) -> None:
        self.input = input
        self.task = task
        self.options = options

    def __iter__(self) -> Iterator[Any]:
        return iter(self.input_iter(self.input))

    def input_iter(self, input: Any) -> InputIter:
        """Return the records of one of the inputs."""
        return InputIter(input, task=self.task, **self.options)

    @classmethod
    def default_opener(cls, task: Task | None) -> Opener:
        """Return what opens an input of *task*."""
        from disco import schemes

        def open_input(url: str) -> Iterable[Any]:
            if not url.startswith(_STORED):
                opened: Iterable[Any] = schemes.open(url)
                return opened
            context = (task or active_task()).context
            source = given_inputs(task or active_task())[int(url.removeprefix(_STORED))]
            assert not isinstance(source, TaskInput)
            return RecordStream(pairs_of(counted_frames(source, context)), source.name)

        return open_input


class SerialInput(Input):
    """The records of several inputs, one after the other."""

    def __iter__(self) -> Iterator[Any]:
        for one in self.input:
            yield from self.input_iter(one)


class ParallelInput(SerialInput):
    """The records of several inputs, in any order."""


class MergedInput(Input):
    """The records of several inputs that are sorted each, in the order of all."""

    def __iter__(self) -> Iterator[Any]:
        return heapq.merge(*map(self.input_iter, self.input))


def stored_url(number: int) -> str:
    """Return what to call the input with this number, which has no URL."""
    return f"{_STORED}{number}"


class BaseOutput:
    """Something a task leaves: (path, type, label).

    Attributes:
        path: Of a file that has its records, if there is one.
        type: What they call it: "disco".
        label: Of its records.
    """

    def __init__(self, path_type_label: tuple[str, str, int | None]) -> None:
        self.path, self.type, label = path_type_label
        self.label = 0 if label is None else int(label)

    def size(self) -> int:
        """Return the bytes of the file."""
        return os.path.getsize(self.path)

    def close(self) -> None:
        """Do nothing: the file is complete."""


class Output(BaseOutput):
    """What a task writes with one label.

    Args:
        path_type_label: What it is.
        open: Opens the file to write to; it must become one that ``chain_reader`` reads. None: the
            records leave the task at once.

    Attributes:
        file: Has ``add(key, value)`` and ``append(pair)``.
    """

    def __init__(
        self,
        path_type_label: tuple[str, str, int | None],
        open: Callable[[str], Any] | None = None,
    ) -> None:
        super().__init__(path_type_label)
        self.file: Any
        if open is None:
            self.file = TaskOutput(active_task().context.writer(), self.label)
        else:
            self.file = open(self.path)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def send(output: BaseOutput, task: Task) -> None:
    """Close an output, and let the records of its file, if it has one, leave the task.

    Raises:
        DataError: They are not in Disco's format.
    """
    output.close()
    if not os.path.exists(output.path):
        return
    writer = task.context.writer()
    with open(output.path, "rb") as file:
        for record in chain_reader(file, None, output.path):
            writer.add(output.label, *as_pair(record, f"the file of output {output.label}"))


class MessageWriter:
    """A stream whose lines become messages of the job."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker

    def write(self, text: str | bytes) -> None:
        """Send a message."""
        line = (text.decode(errors="replace") if isinstance(text, bytes) else text).strip()
        if line:
            self.worker.send("MSG", line)
