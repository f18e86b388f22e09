"""The rules that a schema cannot say, in CEL, each with a message that says what to do.

Source:
    Kubernetes documentation, "Common Expression Language in Kubernetes" and "CustomResource
    validation rules". Optional fields are compared with has() and not as optional values
    (``self.?field``): with those, the API server estimates costs far beyond its budget.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from disco.manifest.model import Spec
from disco.manifest.pods import PodSettings, Workers

CHANGEABLE = ("suspend", "cancel", "retry", "ttlSecondsAfterFinished", "activeDeadlineSeconds")
"""Fields of spec that may change after the job has started."""
CHANGEABLE_WORKERS = ("replicas", "min", "max")
"""Fields of spec.workers and spec.stages.*.workers that may, too."""
INVISIBLE = ("inputs",)
"""Fields that rules cannot see, because their items are of no one type: the operator compares a
fingerprint of the spec instead, and goes on with the inputs that the job was started with."""

KEPT = "cannot change after the job has started: delete the job and create it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of ``x-kubernetes-validations``.

    Attributes:
        rule: What must be true.
        message: Shown if it is not.
        field: Path of the field to blame, from where the rule stands; empty: what stands there.
        reason: As the API server reports it.
    """

    rule: str
    message: str
    field: str
    reason: str = "FieldValueInvalid"

    def schema(self) -> dict[str, str]:
        """Return it as the API server wants it."""
        blamed = {"fieldPath": self.field} if self.field else {}
        return {"rule": self.rule, "message": self.message, **blamed, "reason": self.reason}


RULES: Mapping[str, tuple[Rule, ...]] = {
    "Spec": (
        Rule(
            rule="!has(self.code) || !has(self.code.inline) || !self.job.matches('^[^:]*[.]')",
            message="inline code is one module, so the module in spec.job cannot have a dot in its"
            " name",
            field=".job",
        ),
        Rule(
            rule="!oldSelf.cancel || self.cancel",
            message="spec.cancel cannot be taken back: delete the job and create it again",
            field=".cancel",
            reason="FieldValueForbidden",
        ),
        Rule(
            rule="self.retry >= oldSelf.retry",
            message="spec.retry may only grow: increase it to run the failed tasks again",
            field=".retry",
        ),
    ),
    "Code": (
        Rule(
            rule="[has(self.configMap), has(self.inline), has(self.archive), has(self.secret)]"
            ".filter(given, given).size() == 1",
            message="set exactly one of configMap, inline, archive and secret; for code in the"
            " image, leave out spec.code",
            field="",
        ),
    ),
    "EnvironmentVariable": (
        Rule(
            rule="!has(self.value) || !has(self.valueFrom)",
            message="set value or valueFrom, but not both",
            field=".valueFrom",
            reason="FieldValueForbidden",
        ),
    ),
    "Workers": (
        Rule(
            rule="!has(self.replicas) || (!has(self.min) && !has(self.max))",
            message="set replicas, or min and max, but not both",
            field=".replicas",
            reason="FieldValueForbidden",
        ),
        Rule(
            rule="!has(self.min) || !has(self.max) || self.min <= self.max",
            message="min must be at most max",
            field=".min",
        ),
    ),
    "Storage": (
        Rule(
            rule="!has(self.emptyDir) || !has(self.volumeClaimTemplate)",
            message="set emptyDir or volumeClaimTemplate, but not both",
            field=".emptyDir",
            reason="FieldValueForbidden",
        ),
    ),
    "PartitionService": (
        Rule(
            rule="self.copies <= self.replicas",
            message="copies must be at most replicas: each copy is kept by a service of its own",
            field=".copies",
        ),
    ),
}
"""By the name of the model that they are about."""


def form_rule(field: Mapping[str, Any], pattern: str, phrase: str) -> Rule:
    """Return the rule that a text matches *pattern*, in words.

    With ``pattern`` in the schema the API server would show people the regular expression.

    Args:
        field: The field's schema.
        pattern: A regular expression.
        phrase: What is expected.
    """
    rule = f"self.matches(r'{pattern}')"
    if field.get("x-kubernetes-int-or-string"):
        rule = f"type(self) == int || {rule}"
    return Rule(rule=rule, message=f"expected {phrase}", field="")


def resource_rules() -> tuple[Rule, ...]:
    """Return the rules about the whole resource: its name, and what a started job keeps."""
    return (
        Rule(
            rule="self.metadata.name.size() <= 45",
            message="metadata.name must have at most 45 characters: the names of the job's pods"
            " are made from it",
            field=".metadata.name",
        ),
        Rule(
            rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            message="metadata.name must start with a letter and have only lower-case letters,"
            " digits and dashes: the names of the job's Services are made from it",
            field=".metadata.name",
        ),
        *(_kept(path, condition) for path, condition in _comparisons()),
    )


def _kept(path: str, unchanged: str) -> Rule:
    return Rule(
        rule=f"!has(oldSelf.status) || !has(oldSelf.status.startTime) || {unchanged}",
        message=f"spec.{path} {KEPT}",
        field=f".spec.{path.partition('.*')[0]}",
        reason="FieldValueForbidden",
    )


def _comparisons() -> Iterator[tuple[str, str]]:
    """Yield each field that a started job keeps, and the CEL that is true if it has not changed."""
    workers = [name for name in _names(Workers) if name not in CHANGEABLE_WORKERS]
    for name in _names(Spec):
        if name in (*CHANGEABLE, *INVISIBLE):
            continue
        if name == "workers":
            for field in workers:
                yield f"workers.{field}", _same("self.spec.workers", field)
        elif name == "stages":
            yield "stages", _same_stages()
            for field in workers:
                yield f"stages.*.workers.{field}", _same_in_stages(field)
        else:
            yield name, _same("self.spec", name)


def _names(model: type[PodSettings] | type[Spec]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _same(parent: str, field: str) -> str:
    new, old = f"{parent}.{field}", f"{parent.replace('self.', 'oldSelf.', 1)}.{field}"
    return f"(has({new}) == has({old}) && (!has({new}) || {new} == {old}))"


def _same_stages() -> str:
    """Return the rule that no stage got or lost settings: its pods would have to be others."""
    new, old = "self.spec.stages", "oldSelf.spec.stages"
    same = f"{new}.size() == {old}.size() && {new}.all(name, name in {old})"
    return f"(has({new}) == has({old}) && (!has({new}) || ({same})))"


def _same_in_stages(field: str) -> str:
    new, old = "self.spec.stages", "oldSelf.spec.stages"
    same = _same(f"{new}[name].workers", field)
    return f"!has({new}) || !has({old}) || {new}.all(name, !(name in {old}) || {same})"
