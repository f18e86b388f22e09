"""Turns pydantic's JSON schema of the spec into a structural schema, as custom resources need it.

Source:
    Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions",
    "Specifying a structural schema".
"""

from collections.abc import Mapping
from typing import Any

from disco.manifest.fields import EXPECTED
from disco.manifest.model import Spec
from disco_operator.crd.rules import RULES, form_rule

Schema = dict[str, Any]

MAX_INTEGER = 2**31 - 1
"""What Kubernetes takes for numbers of pods or seconds; with ``format: int32`` instead, the API
server would not say which field is wrong."""

_KEPT = (
    *("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "required", "x-kubernetes-int-or-string"),
    "x-kubernetes-preserve-unknown-fields",
)
# Defaults would win over what spec.workers says.
_WITHOUT_DEFAULTS = frozenset({"StageSettings"})
# Lists that server-side apply merges by the key of their items.
_KEYS = {"EnvironmentVariable": "name", "NamedObject": "name"}


def spec_schema() -> Schema:
    """Return the schema of ``spec``."""
    found = Spec.model_json_schema(by_alias=True)
    return _Converter(found.pop("$defs")).object_of("Spec", found)


def text_of(docstring: str) -> str:
    """Return a docstring as one line for people, without the markup of Python's documentation."""
    return " ".join(docstring.split()).replace("``", "`")


class _Converter:
    """Replaces references by what they refer to: structural schemas have none."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def object_of(self, name: str, found: Schema, *, defaults: bool = True) -> Schema:
        """Return the schema of the model *name*."""
        defaults = defaults and name not in _WITHOUT_DEFAULTS
        made: Schema = {"type": "object", "description": text_of(found["description"])}
        if rules := RULES.get(name):
            made["x-kubernetes-validations"] = [rule.schema() for rule in rules]
        if "required" in found:
            made["required"] = found["required"]
        made["properties"] = {
            field: self._field(inner, defaults=defaults)
            for field, inner in found["properties"].items()
        }
        return made

    def _field(self, found: Schema, *, defaults: bool, keep_pattern: bool = False) -> Schema:
        kind = _without_null(found)
        made: Schema = {}
        if "description" in found:
            made["description"] = text_of(found["description"])
        if reference := kind.get("$ref"):
            name = reference.rpartition("/")[2]
            inner = self.object_of(name, self._definitions[name], defaults=defaults)
            made = {**inner, **made}
            if isinstance(found.get("default"), dict):
                made["default"] = _defaults(inner)
            return made
        made.update((key, kind[key]) for key in _KEPT if key in kind)
        if "pattern" in kind and not keep_pattern:
            rule = form_rule(made, made.pop("pattern"), kind[EXPECTED])
            made["x-kubernetes-validations"] = [rule.schema()]
        if kind.get("type") == "integer":
            made.setdefault("maximum", MAX_INTEGER)
        if "const" in kind:
            made["enum"] = [kind["const"]]
        if "items" in kind:
            made["items"] = self._field(kind["items"], defaults=defaults)
            if key := _KEYS.get(kind["items"].get("$ref", "").rpartition("/")[2]):
                made["x-kubernetes-list-type"] = "map"
                made["x-kubernetes-list-map-keys"] = [key]
        if isinstance(kind.get("additionalProperties"), dict):
            # A rule for each entry of a map of any size is beyond the API server's budget.
            made["additionalProperties"] = self._field(
                kind["additionalProperties"], defaults=defaults, keep_pattern=True
            )
        if "maxProperties" in kind:
            made["maxProperties"] = kind["maxProperties"]
        if "properties" in kind:
            made["properties"] = {
                name: self._field(inner, defaults=defaults)
                for name, inner in kind["properties"].items()
            }
        if defaults and found.get("default") not in (None, [], {}):
            made["default"] = found["default"]
        return made


def _without_null(found: Schema) -> Schema:
    """Return what a field is if it is set."""
    if "anyOf" in found:
        (kind,) = (option for option in found["anyOf"] if option.get("type") != "null")
        return dict(kind)
    return found


def _defaults(made: Schema) -> Schema:
    """Return what an empty object of this schema becomes: rules are checked against it, too."""
    fields = made["properties"].items()
    return {name: field["default"] for name, field in fields if "default" in field}
