"""Reads DiscoJob manifests: the file becomes a typed value, or all of its errors at once."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from disco.cli.manifest_fields import EXPECTED, Model
from disco.cli.manifest_model import DiscoJob
from disco.cli.yaml_document import Position, YamlDocument, YamlError, read_yaml

_SHAPES = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "string_type": "a text",
    "literal_error": "one of the values it may have",
}
_LOCAL = frozenset(  # fields of spec that a local run acts on
    {
        *("job", "code", "inputs", "params", "partitions", "output", "workers", "retries"),
        *("partitionService", "taskTimeout", "memoryLimit", "sortMemory", "splitSize"),
        "activeDeadlineSeconds",
    }
)
_LOCAL_WORKERS = frozenset({"replicas", "min", "max", "slots"})
_LOCAL_SERVICE = frozenset({"replicas"})


class ManifestError(Exception):
    """A manifest is wrong; the message has one line per mistake, each with file and line."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest that has been read and checked.

    Attributes:
        path: The file.
        job: What it says.
        cluster_only: Fields it sets that a local run ignores, as paths ("spec.image"), in order.
    """

    path: Path
    job: DiscoJob
    cluster_only: tuple[str, ...]


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in the file at *path*.

    Raises:
        ManifestError: It cannot be read, is not YAML, or is not a DiscoJob; all mistakes are named.
    """
    try:
        document = read_yaml(path)
    except YamlError as error:
        raise ManifestError((str(error),)) from error
    problems = [
        (line, f"{_dotted(position)}: is there twice; remove one")
        for position, line in document.duplicates
    ]
    try:
        job = DiscoJob.model_validate(document.value)
    except ValidationError as error:
        problems.extend(_problem(document, details) for details in error.errors())
    if problems:
        raise ManifestError(
            tuple(f"{path}:{line}: {message}" for line, message in sorted(problems))
        )
    return Manifest(path=path, job=job, cluster_only=tuple(_cluster_only(document.value["spec"])))


def _problem(document: YamlDocument, details: ErrorDetails) -> tuple[int, str]:
    """Return the line and the wording of one of pydantic's errors."""
    position: Position = details["loc"]
    if position[-1:] == ("[key]",):
        position = position[:-2]
        where = _dotted(position)
        key = _shown(details["input"])
        return document.line(position), f"{where}: expected keys that are texts, found {key}"
    where = _dotted(position) or "the document"
    match details["type"]:
        case "missing":
            return document.line(position[:-1]), f"{where}: is required and missing"
        case "extra_forbidden":
            hint = _did_you_mean(position)
            return document.line(position), f"{where}: unknown field; {hint}"
        case kind if kind == EXPECTED:
            wanted = details["msg"]
        case kind if kind in _SHAPES:
            wanted = _SHAPES[kind]
        case _:  # a check over several fields says it all itself
            return document.line(position), f"{where}: {details['msg']}"
    return document.line(position), f"{where}: expected {wanted}, found {_shown(details['input'])}"


def _dotted(position: Position) -> str:
    text = ""
    for step in position:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _shown(value: Any) -> str:
    """Return what was found, as short JSON."""
    if value is None:
        return "nothing"
    if isinstance(value, dict) and value:
        return f"a mapping ({', '.join(map(str, list(value)[:3]))}{', …' * (len(value) > 3)})"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _did_you_mean(position: Position) -> str:
    """Return advice on the unknown field at *position*: the nearest name, or all names."""
    known = sorted(_fields_at(position[:-1]))
    name = str(position[-1])
    by_lower = {field.lower(): field for field in known}
    if close := difflib.get_close_matches(name.lower().replace("_", ""), by_lower, n=1):
        return f"did you mean {by_lower[close[0]]}?"
    return f"known are {', '.join(known)}"


def _fields_at(position: Position) -> tuple[str, ...]:
    """Return the names, as in YAML, that the model at *position* has."""
    annotation: Any = DiscoJob
    for step in position:
        annotation = _below(annotation, step)
    annotation = _without_none(annotation)
    if not (isinstance(annotation, type) and issubclass(annotation, Model)):
        return ()
    return tuple(field.alias or name for name, field in annotation.model_fields.items())


def _below(annotation: Any, step: str | int) -> Any:
    """Return the type of what stands at *step* in a value of type *annotation*."""
    annotation = _without_none(annotation)
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0]
    for field in annotation.model_fields.values():
        if field.alias == step:
            return field.annotation
    return None


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is UnionType:
        return next(item for item in get_args(annotation) if item is not NoneType)
    return annotation


def _cluster_only(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields of *spec* that say nothing to a local run."""
    partly = {"workers": _LOCAL_WORKERS, "partitionService": _LOCAL_SERVICE}
    for name, value in spec.items():
        if name not in _LOCAL:
            yield f"spec.{name}"
        elif name in partly and isinstance(value, dict):
            yield from (f"spec.{name}.{field}" for field in value if field not in partly[name])
