"""Label selectors, in Kubernetes' syntax: "team=a,stage in (x,y),!old".

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_KEY = re.compile(rf"(?:({_DNS_LABEL}(?:\.{_DNS_LABEL})*)/)?{_NAME}")
_VALUE = re.compile(rf"(?:{_NAME})?")
_MAX_PREFIX = 253
_MAX_REQUIREMENTS = 50

_SET = re.compile(r"(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALITY = re.compile(r"(?P<key>[^\s=!]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[^\s=!]*)")
_EXISTS = re.compile(r"(?P<operator>!?)\s*(?P<key>[^\s=!]+)")


class SelectorError(Exception):
    """A selector makes no sense; the message says which part of it."""


class _Operator(StrEnum):
    IN = "in"
    NOT_IN = "notin"  # also of objects without the label
    EXISTS = "exists"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Requirement:
    key: str
    operator: _Operator
    values: frozenset[str] = frozenset()

    def met_by(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case _Operator.IN:
                return self.key in labels and labels[self.key] in self.values
            case _Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case _Operator.EXISTS:
                return self.key in labels
            case _Operator.MISSING:
                return self.key not in labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which labels are wanted; without requirements: any."""

    requirements: tuple[_Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is wanted."""
        return all(requirement.met_by(labels) for requirement in self.requirements)


def parse_selector(text: str) -> Selector:
    """Return what a selector says; an empty one selects everything.

    Raises:
        SelectorError: It is not Kubernetes' syntax.
    """
    parts = re.split(r",(?![^()]*\))", text) if text.strip() else []
    if len(parts) > _MAX_REQUIREMENTS:
        raise SelectorError(f"expected at most {_MAX_REQUIREMENTS} requirements")
    return Selector(requirements=tuple(_requirement(part.strip()) for part in parts))


def label_problem(key: str, value: str) -> str:
    """Return what is wrong with a label; "" if nothing is."""
    return key_problem(key) or value_problem(value)


def key_problem(key: str) -> str:
    """Return what is wrong with a label's key; "" if nothing is."""
    found = _KEY.fullmatch(key)
    if found and len(found[1] or "") <= _MAX_PREFIX:
        return ""
    return (
        f"expected a label's key, such as team or example.org/team (letters, digits, '-', '_' and"
        f" '.', at most 63 after the '/'), found {key!r}"
    )


def value_problem(value: str) -> str:
    """Return what is wrong with a label's value; "" if nothing is."""
    if _VALUE.fullmatch(value):
        return ""
    return (
        f"expected a label's value (at most 63 letters, digits, '-', '_' and '.', with a letter or"
        f" digit at both ends), found {value!r}"
    )


def _requirement(text: str) -> _Requirement:
    if found := _SET.fullmatch(text):
        operator = _Operator(found["operator"])
        values = frozenset(value.strip() for value in found["values"].split(","))
    elif found := _EQUALITY.fullmatch(text):
        operator = _Operator.NOT_IN if found["operator"] == "!=" else _Operator.IN
        values = frozenset((found["value"],))
    elif found := _EXISTS.fullmatch(text):
        operator = _Operator.MISSING if found["operator"] else _Operator.EXISTS
        values = frozenset()
    else:
        raise SelectorError(
            f"{text!r}: expected key, !key, key=value, key!=value, key in (a,b) or key notin (a,b)"
        )
    problem = key_problem(found["key"]) or "".join(map(value_problem, sorted(values)))
    if problem:
        raise SelectorError(f"{text!r}: {problem}")
    return _Requirement(key=found["key"], operator=operator, values=values)
