"""What classic and pipeline workers have in common: parameters, and where their values come from.

A worker turns a job's parameters into stages; nothing here runs a task.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from disco.error import DiscoError
from disco.functions import argcount, name_of
from disco.task import Task
from disco.worker.hooks import JobHooks, TaskHooks, overrides
from disco.worker.params import Params
from disco_engine.core.model import Grouping, Stage
from disco_engine.program import TaskContext


class StageRunner(Protocol):
    """Runs the tasks of one stage, one after the other."""

    @property
    def splittable(self) -> bool:
        """A part of a text file, cut at line boundaries, will do for an input."""
        ...

    def run(self, context: TaskContext, params: Any) -> None:
        """Run one task; *params* is its own copy of the job's."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """A stage as the engine schedules it, and what runs its tasks."""

    stage: Stage
    runner: StageRunner


class Worker(TaskHooks, JobHooks, dict[str, Any]):
    """Parameters of a job, with the values they have unless the job says otherwise.

    A parameter's value is looked up in the arguments of ``Job.run``, then among the job's
    attributes, then here.

    A job whose worker is derived from this one, and from none of the others, has the stages ``map``
    and ``reduce``, or those in ``pipeline``, (name, grouping) each. Its functions are called like
    the stages, once per task with (task, job, **jobargs), and read and write through the worker.

    Attributes:
        strict: Parameters that do not exist are refused.
        prints_messages: What its tasks print are messages, as far as they are limited.
    """

    strict: ClassVar[bool] = False
    prints_messages: ClassVar[bool] = True

    def __init__(self, **parameters: Any) -> None:
        super().__init__(self.defaults())
        self.check_names(parameters)
        self.update(parameters)

    def defaults(self) -> dict[str, Any]:
        """Return every parameter with its default.

        ==================  ==================================================================
        ``input``           what the job reads: URLs, or lists of URLs with the same content
        ``output``          URL of a directory for the results; None: they stay in the engine
        ``format``          of the files there: text, jsonl, csv, parquet or pickle
        ``params``          any picklable object; every task gets its own copy
        ``workers``         worker processes or pods; None: one per core, or the server's choice
        ``slots``           tasks that a worker runs at a time
        ``memory``          bytes of memory of one slot; 0: no limit
        ``sort_memory``     bytes of records a slot sorts in memory before it spills to disk
        ``task_timeout``    seconds one attempt at a task may take; 0: no limit
        ``deadline``        seconds the job may take; 0: no limit
        ``max_attempts``    attempts of one task that may fail
        ``copies``          partition services that keep each output: 1, or 2, so that losing one
                            costs no task
        ``split_size``      bytes of text per task; larger files are split at line boundaries
        ``required_files``  paths of files that travel, to ``lib/NAME`` of the directory that tasks
                            run in; or a dict of bytes by the place there
        ``required_modules`` names of modules that travel and that functions need not import
        ``requirements``    packages that pip installs for a job on a cluster, as in ["numpy>=2"]
        ``allow_secrets``   names of files that travel although they look like secrets
        ``remote_paths``    input paths are those of the workers, whatever is on this machine
        ``owner``           of the job, for people; None: ``DISCO_JOB_OWNER``
        ``save_results``    keep the results in DDFS, also called ``save``: they become the tag
                            ``disco:results:NAME``
        ``save_info``       where ``save_results`` keeps them: "ddfs"
        ``profile``         measure where the functions spend their time, for ``Job.profile_stats``
        ``limit_messages``  Disco's limits: whose tasks print more than 5 times a second are slowed
                            down, and 10 times end the job
        ``scheduler``       {"max_cores": N}: at most N tasks at a time, of all workers together
        ==================  ==================================================================
        """
        return {
            "input": (),
            "output": None,
            "format": "text",
            "params": Params(),
            "workers": None,
            "slots": 1,
            "memory": 0,
            "sort_memory": None,
            "task_timeout": 0.0,
            "deadline": 0.0,
            "max_attempts": None,
            "copies": None,
            "split_size": None,
            "required_files": {},
            "required_modules": None,
            "requirements": (),
            "allow_secrets": (),
            "remote_paths": False,
            "name": None,
            "owner": None,
            "save_results": False,
            "save": False,
            "save_info": "ddfs",
            "profile": False,
            "limit_messages": False,
            "scheduler": {},
        }

    def getitem(
        self, key: str, job: object, jobargs: Mapping[str, Any], default: Any = None
    ) -> Any:
        """Return a parameter's value: of *jobargs*, else of *job*, else of the worker."""
        if key in jobargs:
            return jobargs[key]
        return getattr(job, key) if hasattr(job, key) else self.get(key, default)

    def check_names(self, parameters: Mapping[str, Any]) -> None:
        """Refuse parameters that do not exist, if the worker is strict.

        Raises:
            DiscoError: Names the parameter and those that are spelt alike.
        """
        if not self.strict:
            return
        known = self.defaults()
        known.update(self)
        for name in parameters:
            if name not in known:
                alike = difflib.get_close_matches(name, known, n=3)
                hint = (
                    f"did you mean {' or '.join(alike)}?"
                    if alike
                    else f"there are {', '.join(sorted(known))}"
                )
                raise DiscoError(f"unknown parameter {name!r}; {hint}")

    def planned_stages(self, job: Any, jobargs: Mapping[str, Any]) -> tuple[PlannedStage, ...]:
        """Return the job's stages, in order.

        Raises:
            DiscoError: The parameters make no sense.
        """
        stages = self._stages_of(job, jobargs)
        if not stages:
            raise DiscoError(f"job {job.name} has neither a map nor a reduce, nor a pipeline")
        for name, grouping in stages:
            if grouping not in tuple(Grouping):
                raise DiscoError(
                    f"Unknown grouping {grouping!r} of stage {name!r}; there are"
                    f" {', '.join(Grouping)}"
                )
            if not callable(self.getitem(name, job, jobargs)):
                raise DiscoError(f"the job has no function called {name!r}, as its stage is")
        return tuple(planned(name, Grouping(grouping), _WholeTasks()) for name, grouping in stages)

    def pipeline_of(self, job: Any, jobargs: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (name, grouping) of each stage; none if there is nothing that says which."""
        given = self.getitem("pipeline", job, jobargs)
        if given:
            return [(str(name), str(grouping)) for name, grouping in given]
        found: list[tuple[str, str]] = []
        if self.getitem("map", job, jobargs) is not None:
            found.append(("map", Grouping.SPLIT))
        if self.getitem("reduce", job, jobargs) is not None:
            alone = self.getitem("partitions", job, jobargs, 1) in (None, 1)
            found.append(("reduce", Grouping.GROUP_ALL if alone else Grouping.GROUP_LABEL))
        return found

    def functions(self, job: Any, jobargs: Mapping[str, Any]) -> list[Any]:
        """Return the user's functions: those that may use names they do not import."""
        stages = self._stages_of(job, jobargs)
        return [self.getitem(name, job, jobargs) for name, _ in stages]

    def _stages_of(self, job: Any, jobargs: Mapping[str, Any]) -> list[tuple[str, str]]:
        if not overrides(self, "jobdict"):
            return self.pipeline_of(job, jobargs)
        return [(name, grouping) for name, grouping in self.jobdict(job, **jobargs)["pipeline"]]

    def run(self, task: Task, job: Any, **jobargs: Any) -> None:
        """Do what the task is for: call what the job has for its stage."""
        self.getitem(task.stage, job, jobargs)(task, job, **jobargs)

    def visible_names(self) -> dict[str, Any]:
        """Return what those functions may use without importing it: nothing, unless overridden."""
        return {}


class _WholeTasks:
    """Stands where a stage's runner is if the worker itself runs the tasks."""

    splittable = False

    def run(self, context: TaskContext, params: Any) -> None:
        raise AssertionError("the worker's own `run` runs the task")


def planned(
    name: str,
    grouping: Grouping,
    runner: StageRunner,
    *,
    sort: bool = False,
    even_if_empty: bool = False,
) -> PlannedStage:
    """Return a stage of the plan."""
    stage = Stage(name=name, grouping=grouping, sorted_input=sort, even_if_empty=even_if_empty)
    return PlannedStage(stage=stage, runner=runner)


def check_arguments(
    what: str, function: Callable[..., Any], allowed: tuple[int, ...], usage: str
) -> None:
    """Refuse a function that cannot be called as the engine will call it.

    Args:
        what: The parameter it was given for.
        function: What the user gave.
        allowed: How many positional arguments it may take.
        usage: How it is called, for the message.

    Raises:
        DiscoError: It is not callable, or takes another number of arguments.
    """
    if not callable(function):
        raise DiscoError(f"{what} must be a function {usage}, got {function!r}")
    if _takes(function, allowed):
        return
    hint = ""
    if hasattr(function, "__self__"):
        hint = "; if it is meant to have no self, write @staticmethod above it"
    raise DiscoError(
        f"{what} is called as {usage}, but {name_of(function)} takes"
        f" {_number_of(argcount(function), 'argument')}{hint}"
    )


def _number_of(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _takes(function: Callable[..., Any], allowed: tuple[int, ...]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none: the call will tell
        return True
    for count in allowed:
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return True
    return False
