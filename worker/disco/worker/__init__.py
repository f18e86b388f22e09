"""Workers: what turns a job's parameters into stages, and runs their tasks."""

from typing import Any

from disco.worker.base import PlannedStage, StageRunner, Worker
from disco.worker.params import Params

__all__ = ["Params", "PlannedStage", "StageRunner", "Worker"]


def __getattr__(name: str) -> Any:
    """Return ``active_task``, the task that runs in this process now, or None."""
    if name == "active_task":
        from disco.task import running_task

        return running_task()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
