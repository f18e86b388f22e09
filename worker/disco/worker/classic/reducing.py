"""The reduce side of a classic job."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from disco.functions import argcount, name_of
from disco.worker.classic.mapping import External
from disco.worker.outputs import Output, OutputChain, iterator_of
from disco.worker.reading import InputChain, StageInputs
from disco_engine.program import TaskContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceFunctions:
    """What the user gave for the reduce side; the classic worker's table says what each is."""

    reduce: Callable[..., Any] | External
    reduce_init: Callable[[Iterable[Any], Any], Any]
    input_chain: InputChain
    output_chain: OutputChain
    sort: bool


class ReduceTasks:
    """The tasks of the reduce stage: each reads all records of its label."""

    def __init__(self, functions: ReduceFunctions) -> None:
        self._given = functions
        self._producer = name_of(functions.reduce)

    @property
    def splittable(self) -> bool:
        """Whether a part of a file will do: a reduce wants all of its input."""
        return False

    def run(self, context: TaskContext, params: Any) -> None:
        """Run one task."""
        given = self._given
        inputs = StageInputs(context, given.input_chain, params, sort=given.sort)
        pairs = inputs.all()
        output = given.output_chain.writing(context, params, self._producer)
        with pairs.watched(context), output as writer:
            given.reduce_init(pairs, params)
            if not callable(given.reduce):
                writer.extend(0, given.reduce.pairs(pairs, context))
            elif argcount(given.reduce) >= 3:
                given.reduce(pairs, Output(writer), params)
            else:
                writer.extend(0, iterator_of(given.reduce(pairs, params), given.reduce))
