"""Classic jobs: a map, perhaps a combiner and a partition function, and a reduce.

A classic job is a pipeline of two stages, ``map`` (split) and ``reduce`` (group_label, or group_all
if there is one partition). Disco also has a stage between them that concatenates each label's
records per node; here the partition services keep a label's records together from the start.
"""

import os
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from disco import worker as worker
from disco.error import DiscoError, UnsupportedError
from disco.iterables import iterify
from disco.task import CurrentTask, active_task
from disco.worker.base import PlannedStage, check_arguments, planned
from disco.worker.base import Worker as BaseWorker
from disco.worker.classic import func
from disco.worker.classic.mapping import MapFunctions, MapTasks
from disco.worker.classic.reducing import ReduceFunctions, ReduceTasks
from disco.worker.hooks import TaskHooks
from disco.worker.outputs import OutputChain
from disco.worker.params import Params
from disco.worker.reading import InputChain
from disco.worker.saving import is_saved
from disco_engine.core.model import Grouping

__all__ = [
    "Params",
    "Task",
    "Worker",
    "external",
    "get",
    "put",
    "this_host",
    "this_inputs",
    "this_master",
    "this_name",
    "this_partition",
]

Task = CurrentTask()
"""The task that runs now."""


class Worker(BaseWorker):
    """Parameters of a classic job: those of every job, and the ones of the table in ``defaults``.

    Functions of the job may use, without importing them, ``Task``, ``get``, ``put``, ``this_name``,
    ``this_master``, ``this_host``, ``this_inputs``, ``this_partition``, ``os``, ``sys``, ``util``,
    ``worker``, ``external``, ``Params``, all of ``disco.worker.classic.func``, and the modules in
    ``required_modules``.
    """

    strict = True
    run = TaskHooks.run

    def defaults(self) -> dict[str, Any]:
        """Return every parameter with its default.

        =========================  ===========================================================
        ``map``                    ``map(entry, params)`` returns (key, value) pairs
        ``map_init``               ``map_init(entries, params)``, once per task, before the map;
                                   it may take entries away, so files are not split
        ``map_reader``             last input stream of the map; None: lines (bytes, with their
                                   newline), or the pairs of another job's result
        ``map_input_stream``       the input streams before it
        ``map_output_stream``      the map's output streams
        ``combiner``               ``combiner(key, value, buf, done, params)``; ``buf`` is a dict
                                   per task and partition
        ``partition``              ``partition(key, partitions, params)`` returns a label, for
                                   equal keys always the same
        ``partitions``             how many labels; None: all records have the label 0
        ``reduce``                 ``reduce(pairs, params)`` returns pairs; or
                                   ``reduce(pairs, out, params)`` calls ``out.add(key, value)``
        ``reduce_init``            ``reduce_init(pairs, params)``, once per task
        ``reduce_reader``          last input stream of a reduce without a map
        ``reduce_input_stream``    the input streams before it
        ``reduce_output_stream``   the reduce's output streams
        ``sort``                   the reduce gets its pairs in key order, equal keys together;
                                   keys must compare with each other
        ``status_interval``        entries between two messages of a map task; 0: none
        ``ext_params``             for a map or reduce that is an external program: bytes, a text,
                                   or a dict
        =========================  ===========================================================

        ``map`` and ``reduce`` may also be programs, as ``external`` packs them.

        ``map_shuffle``, ``reduce_shuffle``, ``shuffle``, ``sort_buffer_size`` and ``version`` are
        accepted and have no effect.
        """
        return {
            **super().defaults(),
            "map": None,
            "map_init": func.init,
            "map_reader": None,
            "map_input_stream": (func.map_input_stream,),
            "map_output_stream": (func.map_output_stream, func.disco_output_stream),
            "map_shuffle": None,
            "combiner": None,
            "partition": func.default_partition,
            "partitions": 1,
            "reduce": None,
            "reduce_init": func.init,
            "reduce_reader": func.chain_reader,
            "reduce_input_stream": (func.reduce_input_stream,),
            "reduce_output_stream": (func.reduce_output_stream, func.disco_output_stream),
            "reduce_shuffle": None,
            "shuffle": None,
            "ext_params": {},
            "sort": False,
            "sort_buffer_size": "10%",
            "status_interval": 100_000,
            "version": f"{sys.version_info.major}.{sys.version_info.minor}",
        }

    def planned_stages(self, job: object, jobargs: Mapping[str, Any]) -> tuple[PlannedStage, ...]:
        """Return the stages ``map`` and ``reduce``, or the one of them that the job has.

        Raises:
            DiscoError: It has neither, or a parameter makes no sense.
        """
        given = {key: self.getitem(key, job, jobargs) for key in self.defaults()}
        partitions = _checked_partitions(given["partitions"])
        if given["reduce"] is None and (partitions or 1) > 1 and is_saved(self, job, jobargs):
            raise UnsupportedError(
                f"save_results: a map with partitions={partitions} and no reduce leaves records by"
                " label, which DDFS does not keep: give it a reduce, or partitions=None"
            )
        stages = []
        if given["map"] is not None:
            stages.append(planned("map", Grouping.SPLIT, _map_tasks(given, partitions)))
        if given["reduce"] is not None:
            # Without a map the inputs have the labels: those of a result with partitions, or 0.
            one = bool(stages) and partitions in (None, 1)
            grouping = Grouping.GROUP_ALL if one else Grouping.GROUP_LABEL
            tasks = _reduce_tasks(given)
            stages.append(planned("reduce", grouping, tasks, sort=bool(given["sort"])))
        if not stages:
            name = getattr(job, "name", None) or type(job).__name__
            raise DiscoError(
                f"job {name} has neither a map nor a reduce (nor a pipeline): define at least one"
            )
        return tuple(stages)

    def pipeline_of(self, job: object, jobargs: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (name, grouping) of each stage."""
        return [(one.stage.name, one.stage.grouping) for one in self.planned_stages(job, jobargs)]

    def functions(self, job: object, jobargs: Mapping[str, Any]) -> list[Any]:
        """Return the user's functions."""
        found: list[Any] = []
        for key in (*_USAGES, "map_reader", "reduce_reader"):
            found.append(self.getitem(key, job, jobargs))
        for key in ("map_input_stream", "map_output_stream"):
            found.extend(iterify(self.getitem(key, job, jobargs)))
            found.extend(iterify(self.getitem(key.replace("map", "reduce"), job, jobargs)))
        return [function for function in found if callable(function)]

    def visible_names(self) -> dict[str, Any]:
        """Return what the job's functions may use without importing it."""
        names = {name: getattr(func, name) for name in func.__all__ if name not in _OWN_NAMES}
        here = {name: globals()[name] for name in __all__ if name != "Worker"}
        here |= {"os": os, "re": re, "sys": sys, "util": _util(), "worker": worker}
        return {**names, **here}


# Parameters that are functions: how each is called, with the numbers of arguments that will do.
_USAGES: dict[str, tuple[str, tuple[int, ...]]] = {
    "map": ("map(entry, params)", (2,)),
    "map_init": ("map_init(entries, params)", (2,)),
    "combiner": ("combiner(key, value, buf, done, params)", (5,)),
    "partition": ("partition(key, partitions, params)", (3,)),
    "reduce": ("reduce(pairs, params) or reduce(pairs, out, params)", (2, 3)),
    "reduce_init": ("reduce_init(pairs, params)", (2,)),
}
# Only documentation: as names in a user's function they would hide the built-in ones.
_OWN_NAMES = ("map", "reduce", "reduce2", "partition", "combiner", "init", "notifier")


def this_name() -> str:
    """Return the unique name of the job."""
    return active_task().jobname


def this_master() -> str:
    """Return which engine runs the job."""
    return active_task().master


def this_host() -> str:
    """Return the name of the node the task runs on."""
    return active_task().host


def this_inputs() -> list[str]:
    """Return the URLs of what the task reads; in a reduce names such as "label 3 from ps-0"."""
    return active_task().inputs


def this_partition() -> int:
    """Return the number of the task: of a map's input, or of a reduce's partition."""
    task = active_task()
    return task.taskid if task.context.inputs else task.group_label


def get(key: str) -> bytes:
    """Return an out-of-band value of this job; see ``Task.get``."""
    return active_task().get(key)


def put(key: str, value: bytes) -> None:
    """Keep an out-of-band value for this job; see ``Task.put``."""
    active_task().put(key, value)


def _util() -> ModuleType:
    """Return ``disco.util``, which programs see, and which stands on this module."""
    return import_module("disco.util")


def __getattr__(name: str) -> Any:
    """Return ``util``, which programs look for here."""
    if name == "util":
        return _util()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def external(files: Any) -> dict[str, bytes]:
    """Return a program and its files, as ``map`` and ``reduce`` take them.

    Args:
        files: Paths, the program's first; ``disco.worker.classic.external`` says what it must do.

    Raises:
        DiscoError: One of them is not there.
    """
    from disco.worker.classic.external import package  # few jobs need it

    return package(files)


def _checked_partitions(partitions: Any) -> int | None:
    if partitions is None:
        return None
    if isinstance(partitions, int) and partitions >= 1:
        return int(partitions)
    raise DiscoError(f"partitions must be a whole number from 1 on, or None; got {partitions!r}")


def _check_function(name: str, function: Any) -> None:
    usage, counts = _USAGES[name]
    check_arguments(name, function, counts, usage)


def _input_chain(given: Mapping[str, Any], what: str) -> InputChain:
    reader = given[f"{what}_reader"]
    readers = [] if reader is None else [reader]
    streams = _streams(f"{what}_input_stream", given[f"{what}_input_stream"])
    return InputChain([*streams, *_streams(f"{what}_reader", readers)])


def _streams(name: str, given: Any) -> list[Any]:
    """Return one or several stream functions, checked."""
    functions = list(iterify(given))
    for function in functions:
        check_arguments(
            name, function, (3, 4), "f(stream, size, url) or f(stream, size, url, params)"
        )
    return functions


def _function_or_program(name: str, given: Mapping[str, Any]) -> Any:
    """Return the map or the reduce, checked: a function, or what stands for a program."""
    function = given[name]
    if not isinstance(function, Mapping):
        _check_function(name, function)
        return function
    from disco.worker.classic.external import External  # few jobs need it

    program = External(mode=name, files=function, params=given["ext_params"])
    program.check()
    return program


def _map_tasks(given: Mapping[str, Any], partitions: int | None) -> MapTasks:
    for name in ("map_init", "partition"):
        _check_function(name, given[name])
    if given["combiner"] is not None:
        _check_function("combiner", given["combiner"])
    return MapTasks(
        MapFunctions(
            map=_function_or_program("map", given),
            map_init=given["map_init"],
            input_chain=_input_chain(given, "map"),
            output_chain=OutputChain(_streams("map_output_stream", given["map_output_stream"])),
            combiner=given["combiner"],
            partition=given["partition"],
            partitions=partitions,
            status_interval=int(given["status_interval"]),
        )
    )


def _reduce_tasks(given: Mapping[str, Any]) -> ReduceTasks:
    _check_function("reduce_init", given["reduce_init"])
    return ReduceTasks(
        ReduceFunctions(
            reduce=_function_or_program("reduce", given),
            reduce_init=given["reduce_init"],
            input_chain=_input_chain(given, "reduce"),
            output_chain=OutputChain(
                _streams("reduce_output_stream", given["reduce_output_stream"])
            ),
            sort=bool(given["sort"]),
        )
    )
