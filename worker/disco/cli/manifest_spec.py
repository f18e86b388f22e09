"""A manifest's spec with flags laid over it, and its paths found from where the manifest is.

From plain data to plain data, in the manifest's own words: what ``disco submit job.yaml`` sends.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from disco.cli.request import WrongUseError


class _Field(NamedTuple):
    """Where a flag's value goes, and what it becomes there."""

    path: tuple[str, ...]
    value: Callable[[Any], Any] = lambda value: value


def _duration(seconds: float) -> str:
    return f"{int(seconds)}s" if seconds.is_integer() else f"{round(seconds * 1000)}ms"


_FIELDS = {
    "partitions": _Field(("partitions",)),
    "output": _Field(("output", "url")),
    "format": _Field(("output", "format")),
    "workers": _Field(("workers", "replicas")),
    "slots": _Field(("workers", "slots")),
    "partition_services": _Field(("partitionService", "replicas")),
    "memory": _Field(("memoryLimit",)),
    "sort_memory": _Field(("sortMemory",)),
    "split_size": _Field(("splitSize",)),
    "task_timeout": _Field(("taskTimeout",), _duration),
    "deadline": _Field(("activeDeadlineSeconds",), math.ceil),
    "max_attempts": _Field(("retries", "maxAttempts")),
}


def with_flags(
    spec: Mapping[str, Any], inputs: Sequence[str], flags: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the spec with what was asked for in its place.

    Args:
        spec: As in the manifest; it stays as it is.
        inputs: The INPUT arguments; empty: the manifest's own stay.
        flags: Those of ``disco.cli.job_options`` that were given, and ``requirements``, by name.
            What says which files travel, or how the job is called, is not of the spec.

    Raises:
        WrongUseError: The result would make no sense.
    """
    changed = dict(spec)
    if inputs:
        changed["inputs"] = list(inputs)
    if "params" in flags:
        changed["params"] = {**(spec.get("params") or {}), **dict(flags["params"])}
    if flags.get("requirements"):
        changed["requirements"] = [*(spec.get("requirements") or ()), *flags["requirements"]]
    for name, field in _FIELDS.items():
        if name in flags:
            _put(changed, field.path, field.value(flags[name]))
    if "workers" in flags:
        for name in ("min", "max"):
            changed["workers"].pop(name, None)
    if "format" in flags and "url" not in changed["output"]:
        raise WrongUseError("--format says how to write files: it needs --output, too")
    return changed


def _put(spec: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set what is at *path*, in copies of the mappings above it."""
    *above, last = path
    for name in above:
        spec[name] = dict(spec.get(name) or {})
        spec = spec[name]
    spec[last] = value


def located(spec: Mapping[str, Any], directory: Path, fields: Collection[str]) -> dict[str, Any]:
    """Return the spec with relative paths made absolute, as ``disco run`` understands them.

    Args:
        spec: As in the manifest.
        directory: Where the manifest is.
        fields: Of "inputs" and "output", those that the manifest says.
    """

    def place(url: str) -> str:
        return url if "://" in url else str(directory / url)

    changed = dict(spec)
    if "inputs" in fields:
        changed["inputs"] = [
            place(entry) if isinstance(entry, str) else list(map(place, entry))
            for entry in spec["inputs"]
        ]
    if "output" in fields:
        changed["output"] = {**spec["output"], "url": place(spec["output"]["url"])}
    return changed
