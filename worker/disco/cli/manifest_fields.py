"""The types of a manifest's fields: each says, in words, what it expects."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Strict, ValidationError, WrapValidator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from disco.cli.quantities import (
    DURATION_EXPECTED,
    SIZE_EXPECTED,
    duration_s,
    quantity,
    size_bytes,
)

EXPECTED = "expected"
"""Type of the errors whose message is a phrase to follow the word "expected"."""


def expected(phrase: str) -> WrapValidator:
    """Return metadata that turns any error of a field's own type into "expected *phrase*"."""

    def validate(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except (ValidationError, ValueError) as error:
            raise PydanticCustomError(EXPECTED, "{phrase}", {"phrase": phrase}) from error

    return WrapValidator(validate)


class Model(BaseModel):
    """What all parts of a manifest share: camelCase names, no unknown fields, no conversions."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
    )


def _int(minimum: int) -> Callable[[Any, Callable[[Any], Any]], Any]:
    def validate(value: Any, inner: Callable[[Any], Any]) -> Any:
        number = inner(value)
        if number < minimum:
            raise ValueError(f"{number} is less than {minimum}")
        return number

    return validate


def _matching(pattern: str) -> WrapValidator:
    compiled = re.compile(pattern)

    def validate(value: Any, inner: Callable[[Any], Any]) -> Any:
        text = inner(value)
        if compiled.fullmatch(text) is None:
            raise ValueError(f"{text!r} does not match {pattern}")
        return text

    return WrapValidator(validate)


def _parsed(parse: Callable[[str], Any]) -> WrapValidator:
    def validate(value: Any, inner: Callable[[Any], Any]) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError("neither text nor a number")
        return inner(parse(str(value)))

    return WrapValidator(validate)


def _one_or_more_texts(value: Any, inner: Callable[[Any], Any]) -> Any:
    urls = [value] if isinstance(value, str) else value
    if not isinstance(urls, list) or not urls or not all(isinstance(u, str) and u for u in urls):
        raise ValueError("neither a URL nor a list of URLs")
    return inner(tuple(urls))


def _quantity_text(text: str) -> str:
    quantity(text)
    return text


T = TypeVar("T")
Many: TypeAlias = Annotated[tuple[T, ...], Strict(False)]  # YAML gives lists
Text: TypeAlias = Annotated[str, _matching(r"(?s).+"), expected("a text that is not empty")]
Flag: TypeAlias = Annotated[bool, expected("true or false")]
Count: TypeAlias = Annotated[int, WrapValidator(_int(1)), expected("an integer of at least 1")]
CountOrZero: TypeAlias = Annotated[
    int, WrapValidator(_int(0)), expected("an integer of at least 0")
]
Integer: TypeAlias = Annotated[int, expected("an integer")]
Number: TypeAlias = Annotated[float, expected("a number")]
SizeBytes: TypeAlias = Annotated[int, _parsed(size_bytes), expected(SIZE_EXPECTED)]
Seconds: TypeAlias = Annotated[float, _parsed(duration_s), expected(DURATION_EXPECTED)]
Quantity: TypeAlias = Annotated[
    str, _parsed(_quantity_text), expected("a quantity such as 500m, 2 or 512Mi")
]
ObjectName: TypeAlias = Annotated[
    str,
    _matching(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?"),
    expected("a name of at most 52 lower-case letters, digits and dashes"),
]
JobPath: TypeAlias = Annotated[
    str,
    _matching(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*"),
    expected('"module:attribute", such as "wordcount:WordCount"'),
]
Sha256: TypeAlias = Annotated[
    str, _matching(r"[0-9a-f]{64}"), expected("64 lower-case hexadecimal digits")
]
Urls: TypeAlias = Annotated[
    tuple[str, ...],
    WrapValidator(_one_or_more_texts),
    expected("a URL, or a list of URLs of the same content"),
]
OutputFormat: TypeAlias = Annotated[
    Literal["text", "jsonl", "csv", "parquet", "pickle"],
    expected("text, jsonl, csv, parquet or pickle"),
]
PullPolicy: TypeAlias = Annotated[
    Literal["Always", "IfNotPresent", "Never"], expected("Always, IfNotPresent or Never")
]
KubernetesObject: TypeAlias = dict[str, Any]
"""A part of a pod that Kubernetes itself checks."""
