"""Says what the API server would mind in a value, or drop of it: for tests that have none.

Knows the keywords that the generated schemas use, and no rules.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def mistakes(schema: Schema, value: Any, path: str = "") -> Iterator[str]:
    """Yield one line for each thing in *value* that does not fit *schema*."""
    if not isinstance(value, _types_of(schema)) or (
        isinstance(value, bool) and schema.get("type") != "boolean"
    ):
        yield f"{path}: {value!r} has the wrong type"
        return
    yield from _out_of_bounds(schema, value, path)
    match value:
        case dict():
            yield from _wrong_fields(schema, value, path)
        case list():
            for index, item in enumerate(value):
                yield from mistakes(schema.get("items", {}), item, f"{path}[{index}]")
        case _:
            pass


def _types_of(schema: Schema) -> tuple[type, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return (int, str)
    return _TYPES.get(schema.get("type", ""), (object,))


def _out_of_bounds(schema: Schema, value: Any, path: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if isinstance(value, int | float):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{path}: {value!r} is out of bounds"
        return
    for kind, least, most in (
        (str, "minLength", "maxLength"),
        (list, "minItems", "maxItems"),
        (dict, "minProperties", "maxProperties"),
    ):
        if isinstance(value, kind):
            size = len(value)
            if not schema.get(least, size) <= size <= schema.get(most, size):
                yield f"{path}: has {size} characters or items, which is out of bounds"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"


def _wrong_fields(schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}: is required"
    known = schema.get("properties", {})
    for name, field in value.items():
        if name in known:
            yield from mistakes(known[name], field, f"{path}.{name}")
        elif "additionalProperties" in schema:
            yield from mistakes(schema["additionalProperties"], field, f"{path}.{name}")
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{path}.{name}: unknown"
