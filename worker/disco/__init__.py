"""Disco: MapReduce and multi-stage pipelines in plain Python.

New programs need little more than these names; programs written for the Disco project find its
modules where they were (``disco.core``, ``disco.job``, ``disco.worker``, ``disco.util``, …).
"""

from typing import TYPE_CHECKING, Any

from disco.job import Job
from disco.worker.params import Params
from disco.worker.pipeline.worker import (
    Stage,
    group_all,
    group_label,
    group_node,
    group_node_label,
    split,
)

if TYPE_CHECKING:
    from disco.core import Disco, result_iterator

__all__ = [
    "Disco",
    "Job",
    "Params",
    "Stage",
    "group_all",
    "group_label",
    "group_node",
    "group_node_label",
    "result_iterator",
    "split",
]


def __getattr__(name: str) -> Any:
    """Return what only the author's process needs: in worker slots it is never imported."""
    if name in ("Disco", "result_iterator"):
        from disco import core

        return getattr(core, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
