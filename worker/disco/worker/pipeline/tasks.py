"""Runs the tasks of a pipeline's stage: init, input_hook, process per input, done."""

from collections.abc import Iterable
from inspect import isgenerator
from typing import TYPE_CHECKING, Any, NamedTuple

from disco.entries import Entries
from disco.error import DiscoError
from disco.functions import name_of
from disco.worker.outputs import OpenOutput, OutputChain, as_label
from disco.worker.reading import InputChain, StageInputs
from disco_engine.program import TaskContext
from disco_engine.records.frozen import RecordError

if TYPE_CHECKING:
    from disco.worker.pipeline.worker import Stage


class TaskInfo(NamedTuple):
    """What a running task is about.

    Attributes:
        jobname: Unique name of the job.
        host: The node it runs on.
        stage: Name of the stage.
        group: (label, host) that its inputs share.
        label: The label of its group; 0 if it has none.
    """

    jobname: str
    host: str
    stage: str
    group: tuple[int, str]
    label: int


class TaskInterface:
    """What a stage's functions get to write with."""

    def __init__(self, context: TaskContext, chain: OutputChain, params: Any) -> None:
        self._context = context
        self._chain = chain
        self._params = params
        self._outputs: dict[Any, Any] = {}
        self._open: list[OpenOutput] = []

    def output(self, label: int) -> Any:
        """Return where to ``add(key, value)`` records with *label*; the same at every call.

        Raises:
            TypeError: *label* is no integer.
        """
        try:
            return self._outputs[label]
        except (KeyError, TypeError):
            return self._opened(label)

    def close(self) -> None:
        """Close the outputs, last opened first."""
        for output in reversed(self._open):
            output.close()

    def _opened(self, label: int) -> Any:
        name = f"output of stage {self._context.stage_name!r}"
        number = as_label(label, name)
        if number not in self._outputs:
            output = self._chain.open(self._context, number, self._params)
            self._open.append(output)
            self._outputs[number] = output.last
        return self._outputs[number]


def input_hook(state: Any, input_labels: Iterable[int]) -> Iterable[int]:
    """Return the labels as they are: inputs are processed in ascending order of their labels."""
    return input_labels


class StageTasks:
    """The tasks of one stage.

    Args:
        stage: What the user wrote.
        first: It is the pipeline's first stage: its inputs are URLs.
    """

    def __init__(self, stage: "Stage", *, first: bool) -> None:
        self._stage = stage
        self._first = first
        self._chain = InputChain(stage.input_chain)
        self._output_chain = OutputChain(stage.output_chain)

    @property
    def splittable(self) -> bool:
        """Whether a part of a file will do for an input."""
        return self._chain.splittable

    def run(self, context: TaskContext, params: Any) -> None:
        """Run one task."""
        stage = self._stage
        label, node = context.group.label, context.group.node
        group = (label or 0, node or "")
        stage.taskinfo = TaskInfo(context.job_name, context.node, stage.name, group, group[0])
        interface = TaskInterface(context, self._output_chain, params)
        state = stage.init(interface, params) if stage.init is not None else None
        inputs = StageInputs(context, self._chain, params, sort=stage.sort)
        for label in self._order(state, inputs.labels):
            parts = [inputs.combined(label)] if stage.combine else inputs.each(label)
            for entries in parts:
                with entries.watched(context):
                    self._process(interface, state, label, entries)
        if stage.done is not None:
            _refuse_generator(stage.done(interface, state), stage.done)
        interface.close()

    def _process(self, interface: TaskInterface, state: Any, label: int, entries: Entries) -> None:
        process = self._stage.process
        if process is not None:
            _refuse_generator(process(interface, state, label, entries), process)

    def _order(self, state: Any, labels: list[int]) -> list[int]:
        hook = self._stage.input_hook
        order = list(hook(state, labels))
        if len(set(order)) < len(order) or not set(order) <= set(labels):
            raise DiscoError(
                f"{name_of(hook)} of stage {self._stage.name!r} returned {order!r}: it must return"
                f" labels that it was given ({labels!r}), each at most once"
            )
        return order


def _refuse_generator(result: Any, function: Any) -> None:
    """Refuse a function that meant to emit by ``yield``: none of its code has run.

    Raises:
        RecordError: *result* is a generator.
    """
    if isgenerator(result):
        raise RecordError(
            f"{name_of(function)} yields, but nobody would read that: in a pipeline records are"
            " emitted with interface.output(label).add(key, value)"
        )
