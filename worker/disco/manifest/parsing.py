"""Turns plain data into a DiscoJob or its spec, or into one line for each mistake."""

import difflib
import json
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from disco.manifest.fields import EXPECTED, Model
from disco.manifest.model import DiscoJob, Spec
from disco.manifest.yaml_document import Position
from disco_engine.passwords import without_passwords

Problem: TypeAlias = tuple[Position, str]
"""Where a mistake is, and what it is: "spec.job: is required and missing"."""

MAX_DEPTH = 100
"""Levels in a spec. Who reads it, the job's workers too, goes down level by level."""

MAX_VALUES = 50_000
"""Lists, mappings, texts and numbers in a spec: of the smallest, the 1.5 MB that an API server
accepts hold half a million, which take 50 MB of memory."""

_SHAPES = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "string_type": "a text",
    "literal_error": "one of the values it may have",
}


class ManifestError(Exception):
    """A manifest is wrong; the message has one line per mistake."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def parse_spec(spec: Mapping[str, Any]) -> Spec:
    """Return the ``spec`` of a DiscoJob that the API server keeps.

    Raises:
        ManifestError: It makes no sense; all mistakes are named, each with its path.
    """
    if problem := too_much(spec):
        raise ManifestError((problem,))
    try:
        return Spec.model_validate(dict(spec))
    except ValidationError as error:
        found = [_problem(details, "spec") for details in error.errors()]
        raise ManifestError(tuple(message for _, message in found)) from error


def too_much(spec: Any) -> str:
    """Return why a spec is too large to be dealt with; "" if it is not."""
    level, count = [spec], 0
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, Mapping | list)
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
        count += len(level)
        if count > MAX_VALUES:
            return f"spec: expected at most {MAX_VALUES:,} values; put large params into an input"
        if not level:
            return ""
    return f"spec: expected at most {MAX_DEPTH} levels of nesting"


def parse_job(document: Any) -> DiscoJob | list[Problem]:
    """Return the DiscoJob that *document* is, or all that is wrong with it."""
    try:
        return DiscoJob.model_validate(document)
    except ValidationError as error:
        return [_problem(details) for details in error.errors()]


def dotted(position: Position) -> str:
    """Return "spec.inputs[2]" for ("spec", "inputs", 2)."""
    text = ""
    for step in position:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _problem(details: ErrorDetails, *above: str) -> Problem:
    """Return one of pydantic's errors, which was found in what stands at *above*."""
    position: Position = (*above, *details["loc"])
    if position[-1:] == ("[key]",):
        position = position[:-2]
        key = _shown(details["input"])
        return position, f"{dotted(position)}: expected keys that are texts, found {key}"
    where = dotted(position) or "the document"
    match details["type"]:
        case "missing":
            return position[:-1], f"{where}: is required and missing"
        case "extra_forbidden":
            return position, f"{where}: unknown field; {_did_you_mean(position)}"
        case "too_long":
            most = details["ctx"]["max_length"]
            wanted = f"at most {most} items"
        case kind if kind == EXPECTED:
            wanted = details["msg"]
        case kind if kind in _SHAPES:
            wanted = _SHAPES[kind]
        case _:  # a check over several fields says it all itself
            return position, f"{where}: {details['msg']}"
    return position, f"{where}: expected {wanted}, found {_shown(details['input'])}"


def _shown(value: Any) -> str:
    """Return what was found, as short JSON."""
    if value is None:
        return "nothing"
    if isinstance(value, dict) and value:
        return f"a mapping ({', '.join(map(str, list(value)[:3]))}{', …' * (len(value) > 3)})"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = without_passwords(json.dumps(value, ensure_ascii=False, default=str))
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
    if get_origin(annotation) in (UnionType, Union):
        return next(item for item in get_args(annotation) if item is not NoneType)
    return annotation
