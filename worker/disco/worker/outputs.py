"""Where a task's records go: what user code calls ``add`` on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from operator import index
from typing import Any, NamedTuple

from disco.functions import name_of
from disco.worker.streams import OpenStream, StreamFunction, fold
from disco.worker.task_io import disco_output_stream, task_output_stream
from disco.worker.task_output import TaskOutput
from disco_engine.program import TaskContext
from disco_engine.records.frozen import RecordError, shown, type_name
from disco_engine.records.writers import RecordWriter, as_pair


class OutputChain:
    """A stage's output streams.

    Args:
        functions: As the user gave them; empty: the default.
    """

    def __init__(self, functions: Sequence[StreamFunction] = ()) -> None:
        self._functions = tuple(functions) or (task_output_stream, disco_output_stream)
        self.is_default = self._functions in (
            (task_output_stream,),
            (task_output_stream, disco_output_stream),
        )

    def open(self, context: TaskContext, label: int, params: Any) -> "OpenOutput":
        """Return what takes records with *label*."""
        if self.is_default:
            return OpenOutput((TaskOutput(context.writer(), label),))
        current = OpenStream(None, label, f"output of stage {context.stage_name!r}")
        streams: list[Any] = []
        for function in self._functions:
            current = fold((function,), current, params)
            if not any(current.stream is stream for stream in streams):
                streams.append(current.stream)
        return OpenOutput(tuple(streams))

    def writing(
        self, context: TaskContext, params: Any, producer: str
    ) -> AbstractContextManager[RecordWriter]:
        """Give a writer that opens an output for each label it meets, and closes them.

        Args:
            context: Of the task.
            params: The task's copy.
            producer: What makes the records.
        """
        if not self.is_default:
            return self._opening(context, params, producer)
        writer = context.writer()
        writer.producer = producer
        return nullcontext(writer)  # the engine closes it

    @contextmanager
    def _opening(self, context: TaskContext, params: Any, producer: str) -> Iterator[RecordWriter]:
        writer = _ChainWriter(lambda label: self.open(context, label, params), producer)
        yield writer
        writer.close()


class OpenOutput(NamedTuple):
    """What the functions of a chain made, the last of which takes records."""

    streams: tuple[Any, ...]

    @property
    def last(self) -> Any:
        """What has ``add``."""
        return self.streams[-1]

    def close(self) -> None:
        """Close those that can be closed, last first: they may write to those before."""
        for stream in reversed(self.streams):
            if hasattr(stream, "close"):
                stream.close()


class Output:
    """What a reduce with three arguments gets to write with.

    Attributes:
        add: ``add(key, value)`` writes one record.
    """

    add: Callable[[Any, Any], None]

    def __init__(self, writer: RecordWriter) -> None:
        self.add = partial(writer.add, 0)


class _ChainWriter:
    """A RecordWriter over the user's own output streams, one per label."""

    def __init__(self, open_output: Callable[[int], OpenOutput], producer: str) -> None:
        self.producer = producer
        self._open = open_output
        self._outputs: dict[int, OpenOutput] = {}

    def add(self, label: int, key: Any, value: Any) -> None:
        if label not in self._outputs:
            self._outputs[label] = self._open(label)
        self._outputs[label].last.add(key, value)

    def extend(self, label: int, pairs: Iterable[tuple[Any, Any]]) -> None:
        for pair in pairs:
            self.add(label, *as_pair(pair, self.producer))

    def partition(self, pairs: Iterable[tuple[Any, Any]], label_of: Callable[[Any], int]) -> None:
        for pair in pairs:
            key, value = as_pair(pair, self.producer)
            self.add(label_of(key), key, value)

    def close(self) -> None:
        for output in reversed(self._outputs.values()):
            output.close()


def as_label(value: Any, source: str) -> int:
    """Return a label that user code gave.

    Args:
        value: What it gave.
        source: Who gave it, for the message.

    Raises:
        RecordError: It is no integer.
    """
    try:
        return index(value)
    except TypeError:
        raise RecordError(
            f"{source} gave the label {shown(value)} of type {type_name(value)}:"
            " labels must be integers"
        ) from None


def iterator_of(result: Any, function: Any) -> Iterator[Any]:
    """Return an iterator over what a map or reduce function returned.

    Raises:
        RecordError: There is nothing to iterate over.
    """
    try:
        return iter(result)
    except TypeError:
        raise RecordError(
            f"{name_of(function)} returned {shown(result)} of type {type_name(result)}: it must"
            " yield (key, value) pairs, or return an iterable of them"
        ) from None
