"""Reads DiscoJob manifests: the file becomes a typed value, or all of its errors at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disco.manifest.model import DiscoJob
from disco.manifest.parsing import ManifestError, Problem, dotted, parse_job
from disco.manifest.yaml_document import YamlError, read_yaml

_LOCAL = frozenset(  # fields of spec that a local run acts on
    {
        *("job", "code", "inputs", "params", "partitions", "output", "workers", "retries"),
        *("partitionService", "taskTimeout", "memoryLimit", "sortMemory", "splitSize"),
        *("speculation", "activeDeadlineSeconds"),
    }
)
_LOCAL_WORKERS = frozenset({"replicas", "min", "max", "slots"})
_LOCAL_SERVICE = frozenset({"replicas"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest that has been read and checked.

    Attributes:
        path: The file.
        job: What it says.
        spec: Its ``spec``, as it stands there.
        cluster_only: Fields it sets that a local run ignores, as paths ("spec.image"), in order.
    """

    path: Path
    job: DiscoJob
    spec: Mapping[str, Any]
    cluster_only: tuple[str, ...]


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in the file at *path*.

    Raises:
        ManifestError: It cannot be read, is not YAML, or is not a DiscoJob; all mistakes are
            named, each with file and line.
    """
    try:
        document = read_yaml(path)
    except YamlError as error:
        raise ManifestError((str(error),)) from error
    problems = [
        (line, f"{dotted(position)}: is there twice; remove one")
        for position, line in document.duplicates
    ]
    parsed = parse_job(document.value)
    wrong: list[Problem] = [] if isinstance(parsed, DiscoJob) else parsed
    problems += [(document.line(position), message) for position, message in wrong]
    if problems or not isinstance(parsed, DiscoJob):
        raise ManifestError(
            tuple(f"{path}:{line}: {message}" for line, message in sorted(problems))
        )
    spec = document.value["spec"]
    return Manifest(path=path, job=parsed, spec=spec, cluster_only=tuple(cluster_only(spec)))


def cluster_only(spec: Mapping[str, Any], *, heeded: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the fields of *spec* that say nothing to a local run, as paths ("spec.image").

    Args:
        spec: As it stands in the manifest.
        heeded: Fields that whoever asks acts on, unlike ``disco run``.
    """
    partly = {"workers": _LOCAL_WORKERS, "partitionService": _LOCAL_SERVICE}
    for name, value in spec.items():
        if name not in _LOCAL | heeded:
            yield f"spec.{name}"
        elif name in partly and isinstance(value, dict):
            yield from (f"spec.{name}.{field}" for field in value if field not in partly[name])
