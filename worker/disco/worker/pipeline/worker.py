"""Pipelines: jobs of any number of stages, connected by labels.

    class TopWords(Job):
        pipeline = [
            (split, Stage("count", process=count)),
            (group_label, Stage("sum", init=new_counter, process=add_up, done=emit)),
        ]

A stage's tasks follow from its grouping over the labels that the stage before it wrote:
``split`` a task per input (later: per task of the stage before and label), ``group_label`` one per
label, ``group_node`` one per node, ``group_node_label`` one per node and label, ``group_all`` one.
"""

from collections import defaultdict, namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from itertools import chain
from typing import Any

from disco import worker
from disco.error import DiscoError
from disco.iterables import flatten, iterify
from disco.worker import task_io
from disco.worker.base import PlannedStage, check_arguments, planned
from disco.worker.base import Worker as BaseWorker
from disco.worker.hooks import TaskHooks
from disco.worker.pipeline.tasks import StageTasks, TaskInfo, input_hook
from disco_engine.core.model import Grouping

__all__ = [
    "Grouping",
    "Stage",
    "TaskInfo",
    "Worker",
    "group_all",
    "group_label",
    "group_node",
    "group_node_label",
    "input_hook",
    "split",
]

split = Grouping.SPLIT
group_label = Grouping.GROUP_LABEL
group_node = Grouping.GROUP_NODE
group_node_label = Grouping.GROUP_NODE_LABEL
group_all = Grouping.GROUP_ALL

Pipeline = Sequence[tuple[str, "Stage"] | tuple[str, "Stage", bool]]
"""What a job's attribute ``pipeline`` holds. The third item, whether a stage may start while the
one before runs, is accepted and has no effect: a stage starts when the one before is complete."""


class Stage:
    """One stage: what its tasks do with their inputs.

    A task calls ``init``, ``input_hook``, ``process`` once per input, then ``done``. In later
    stages an input is what one partition service holds of a label, however many tasks wrote it.

    Args:
        name: Unique in the pipeline.
        init: ``init(interface, params)`` returns the task's state, which the other functions get.
        process: ``process(interface, state, label, inp)`` reads the records of one input.
            ``interface.output(label).add(key, value)`` writes one; a label is any integer.
        done: ``done(interface, state)``, after the last input.
        input_hook: ``input_hook(state, labels)`` returns the labels (given ascending) in the order
            in which to process them; inputs of those it leaves out are not read.
        input_chain: Stream functions that turn an input's URL into records; see
            ``disco.worker.task_io``. Without one, the first stage reads lines (bytes, with their
            newline) or the (key, value) pairs of another job's result; other stages read pairs.
        output_chain: Stream functions that turn ``add`` into writing.
        combine: Call ``process`` once per label, with the records of all its inputs.
        sort: Let the records come in the order of their keys.

    The input of a first stage with the grouping ``split`` is a part of a file, cut at line
    boundaries, if the file is larger than the job's ``split_size`` and every function of the chain
    is marked ``splittable`` (see ``disco.readers``). In later stages it is what one partition
    service holds of a label.

    Attributes:
        taskinfo: What the running task is about; set before ``init`` is called.
    """

    init: Callable[[Any, Any], Any] | None = None
    process: Callable[[Any, Any, int, Any], None] | None = None
    done: Callable[[Any, Any], None] | None = None
    input_hook: Callable[[Any, list[int]], Iterable[int]] = staticmethod(input_hook)
    taskinfo: TaskInfo | None = None

    def __init__(
        self,
        name: str = "",
        init: Callable[[Any, Any], Any] | None = None,
        process: Callable[[Any, Any, int, Any], None] | None = None,
        done: Callable[[Any, Any], None] | None = None,
        input_hook: Callable[[Any, list[int]], Iterable[int]] | None = None,
        input_chain: Sequence[Callable[..., Any]] = (),
        output_chain: Sequence[Callable[..., Any]] = (),
        combine: bool = False,
        sort: bool = False,
    ) -> None:
        self.name = name
        self.input_chain = list(input_chain)
        self.output_chain = list(output_chain)
        self.combine = combine
        self.sort = sort
        given = {"init": init, "process": process, "done": done, "input_hook": input_hook}
        # Those not given are left to the class, so that a subclass may have them as methods.
        vars(self).update((key, value) for key, value in given.items() if value is not None)

    def __repr__(self) -> str:
        return f"Stage({self.name!r})"

    def functions(self) -> list[Any]:
        """Return the user's functions."""
        own = [self.init, self.process, self.done, self.input_hook]
        return [*filter(None, own), *self.input_chain, *self.output_chain]

    def check(self) -> None:
        """Refuse functions that cannot be called.

        Raises:
            DiscoError: Names the function and how it is called.
        """
        for name, usage in _USAGES.items():
            function = getattr(self, name)
            if function is not None:
                count = usage.count(",") + 1
                check_arguments(f"{name} of stage {self.name!r}", function, (count,), usage)


_USAGES = {
    "init": "init(interface, params)",
    "process": "process(interface, state, label, inp)",
    "done": "done(interface, state)",
    "input_hook": "input_hook(state, labels)",
}


class Worker(BaseWorker):
    """Parameters of a pipeline job: those of every job, and ``pipeline``.

    Functions of the job may use ``util``, ``worker``, ``task_io``, ``chain``, ``defaultdict``,
    ``namedtuple`` and the modules in ``required_modules`` without importing them.
    """

    strict = True
    run = TaskHooks.run

    def defaults(self) -> dict[str, Any]:
        """Return every parameter with its default; ``pipeline`` has none that would do."""
        return {**super().defaults(), "pipeline": ()}

    def planned_stages(self, job: object, jobargs: Mapping[str, Any]) -> tuple[PlannedStage, ...]:
        """Return the job's stages, in order.

        Raises:
            DiscoError: The pipeline is empty, or an item of it is no stage, has an unknown grouping
                or the name of another.
        """
        stages: list[PlannedStage] = []
        for grouping, stage in _checked(self.getitem("pipeline", job, jobargs)):
            runner = StageTasks(stage, first=not stages)
            stages.append(planned(stage.name, grouping, runner, sort=stage.sort))
        return tuple(stages)

    def pipeline_of(self, job: object, jobargs: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (name, grouping) of each stage."""
        return [(one.stage.name, one.stage.grouping) for one in self.planned_stages(job, jobargs)]

    def functions(self, job: object, jobargs: Mapping[str, Any]) -> list[Any]:
        """Return the user's functions: of whatever are stages, since others are told elsewhere."""
        items = flatten(iterify(self.getitem("pipeline", job, jobargs)))
        return [one for item in items if isinstance(item, Stage) for one in item.functions()]

    def visible_names(self) -> dict[str, Any]:
        """Return what the job's functions may use without importing it."""
        return {
            "chain": chain,
            "defaultdict": defaultdict,
            "namedtuple": namedtuple,
            "task_io": task_io,
            "util": import_module("disco.util"),
            "worker": worker,
        }


def _checked(pipeline: Any) -> list[tuple[Grouping, Stage]]:
    if not isinstance(pipeline, Sequence) or isinstance(pipeline, str) or not pipeline:
        raise DiscoError(
            f"pipeline must be a list of (grouping, Stage) pairs, at least one; got {pipeline!r}"
        )
    checked: list[tuple[Grouping, Stage]] = []
    for place, item in enumerate(pipeline):
        match item:
            case (str(grouping), Stage() as stage) | (str(grouping), Stage() as stage, bool()):
                pass
            case _:
                raise DiscoError(
                    f"Bad Stage: item {place} of the pipeline is {item!r}, not (grouping, Stage)"
                )
        if grouping not in tuple(Grouping):
            raise DiscoError(
                f"Unknown grouping {grouping!r} of stage {stage.name!r};"
                f" there are {', '.join(Grouping)}"
            )
        if any(stage.name == other.name for _, other in checked):
            raise DiscoError(
                f"Repeated stage {stage.name!r}: give each stage of the pipeline a name of its own"
            )
        stage.check()
        checked.append((Grouping(grouping), stage))
    return checked
