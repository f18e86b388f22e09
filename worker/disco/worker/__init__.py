"""Workers: what turns a job's parameters into stages, and runs their tasks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from disco.worker.base import PlannedStage, StageRunner, Worker
from disco.worker.params import Params

if TYPE_CHECKING:
    from disco.worker.inputs import (
        BaseOutput,
        IDedInput,
        Input,
        InputIter,
        MergedInput,
        MessageWriter,
        Output,
        ParallelInput,
        ReplicaIter,
        SerialInput,
    )

__all__ = [
    "DISCO_WORKER_MAX_TIME",
    "BaseOutput",
    "IDedInput",
    "Input",
    "InputIter",
    "MergedInput",
    "MessageWriter",
    "Output",
    "ParallelInput",
    "Params",
    "PlannedStage",
    "ReplicaIter",
    "SerialInput",
    "StageRunner",
    "Worker",
]

DISCO_WORKER_MAX_TIME = 24 * 60 * 60
"""Seconds; nobody asks for it: a job's ``task_timeout`` says how long a task may take."""


def __getattr__(name: str) -> Any:
    """Return what few need, and ``active_task``, the task that runs here now, or None."""
    if name == "active_task":
        from disco.task import running_task

        return running_task()
    if name in __all__:
        return getattr(import_module("disco.worker.inputs"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
