"""Disco: MapReduce and multi-stage pipelines in plain Python.

New programs need little more than these names; programs written for the Disco project find its
modules where they were (``disco.core``, ``disco.job``, ``disco.worker``, ``disco.util``, …).

Each name is imported when it is first used: ``disco.v1``, which every process of the engine
imports, lies below this package and must not bring the author's API along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from disco.core import Disco, result_iterator
    from disco.error import DiscoError, JobError
    from disco.job import Job
    from disco.jobpack import JOBPACK_VERSION1, JOBPACK_VERSION2
    from disco.worker.params import Params
    from disco.worker.pipeline.worker import (
        Stage,
        group_all,
        group_label,
        group_node,
        group_node_label,
        split,
    )

__all__ = [
    "JOBPACK_VERSION1",
    "JOBPACK_VERSION2",
    "Disco",
    "DiscoError",
    "Job",
    "JobError",
    "Params",
    "Stage",
    "group_all",
    "group_label",
    "group_node",
    "group_node_label",
    "result_iterator",
    "split",
]

_HOMES = {
    "JOBPACK_VERSION1": "disco.jobpack",
    "JOBPACK_VERSION2": "disco.jobpack",
    "Disco": "disco.core",
    "DiscoError": "disco.error",
    "Job": "disco.job",
    "JobError": "disco.error",
    "Params": "disco.worker.params",
    "result_iterator": "disco.core",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and keep it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "disco.worker.pipeline.worker")), name)
    globals()[name] = value
    return value
