"""The types of flags' values, with errors that say what was expected and what was found."""

import json
import re
from collections.abc import Callable
from typing import Any

import click

from disco.manifest.quantities import DURATION_EXPECTED, SIZE_EXPECTED, duration_s, size_bytes


class Parsed(click.ParamType[Any]):
    """A flag's value that a function parses.

    Args:
        name: What the help shows in the value's place.
        parse: Raises ValueError for what makes no sense.
        expected: Says what does.
    """

    def __init__(self, name: str, parse: Callable[[str], Any], expected: str) -> None:
        self.name = name
        self._parse = parse
        self._expected = expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value, or say what was expected and what was found."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError:
            self.fail(f"expected {self._expected}, found {json.dumps(value)}", param, ctx)


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError("not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _label(text: str) -> tuple[str, str]:
    """Return name and value; whether the two may be a label, the server says."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError("not KEY=VALUE")
    return name, value


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError("less than 1")
    return int(text)


def _number(text: str) -> int:
    if re.fullmatch(r"\d{1,9}", text) is None:
        raise ValueError("not a number from 0 on")
    return int(text)


def _head(text: str) -> int | None:
    return None if text == "all" else _number(text)


SIZE = Parsed("size", size_bytes, SIZE_EXPECTED)
DURATION = Parsed("duration", duration_s, DURATION_EXPECTED)
PARAM = Parsed("name=value", _param, "NAME=VALUE")
LABEL = Parsed("key=value", _label, "KEY=VALUE")
HEAD = Parsed("n|all", _head, "a number or all")
COUNT = Parsed("n", _count, "an integer of at least 1")
NUMBER = Parsed("n", _number, "an integer from 0 on")
