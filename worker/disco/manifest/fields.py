"""The types of a manifest's fields: each says, in words, what it expects.

Each also knows its part of the custom resource definition (pydantic's JSON schema), so that the
API server and ``disco run`` refuse the same things.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, core_schema

from disco.manifest.quantities import (
    DURATION_EXPECTED,
    SIZE_EXPECTED,
    duration_s,
    quantity,
    size_bytes,
)
from disco_engine.passwords import password_problem

EXPECTED = "expected"
"""Type of the errors whose message is a phrase to follow the word "expected"; also the key under
which the phrase stands in the JSON schema."""


@dataclass(frozen=True)
class _Expected:
    phrase: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), EXPECTED: self.phrase}

    def _validate(self, value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except (ValidationError, ValueError) as error:
            raise PydanticCustomError(EXPECTED, "{phrase}", {"phrase": self.phrase}) from error


def expected(phrase: str) -> _Expected:
    """Return metadata that turns any error of a field's own type into "expected *phrase*"."""
    return _Expected(phrase)


class Model(BaseModel):
    """What all parts of a manifest share: camelCase names, no unknown fields, no conversions."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
    )


def _parsed(parse: Callable[[str], Any]) -> WrapValidator:
    """Return metadata that reads a text, or an integer as if it were in quotes.

    Fractions need quotes: custom resources know no type "number or text", only "integer or text".
    """

    def validate(value: Any, inner: Callable[[Any], Any]) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError("neither text nor an integer")
        return inner(parse(str(value)))

    return WrapValidator(validate)


def _int_or_text(pattern: str) -> WithJsonSchema:
    schema = {"x-kubernetes-int-or-string": True, "minimum": 0, "maxLength": 64}
    return WithJsonSchema({**schema, "pattern": pattern})


def _one_or_more_texts(value: Any, inner: Callable[[Any], Any]) -> Any:
    urls = [value] if isinstance(value, str) else value
    if not isinstance(urls, list) or not urls or not all(isinstance(u, str) and u for u in urls):
        raise ValueError("neither a URL nor a list of URLs")
    return inner(tuple(urls))


def _without_password(url: str) -> str:
    if problem := password_problem(url):
        raise PydanticCustomError("password", "{problem}", {"problem": problem})
    return url


def _without_passwords(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_without_password, urls))


def _quantity_text(text: str) -> str:
    quantity(text)
    return text


def _claim_spec(value: Any, inner: Callable[[Any], Any]) -> Any:
    if not isinstance(value, dict) or "resources" not in value:
        raise ValueError("not a claim's spec")
    return inner(value)


MAX_ITEMS = 250
"""Of lists in a pod's settings; the API server must be able to bound the cost of its rules."""

_NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][0-9]{1,2})?"
_DURATION = r"^([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+)$"
_NAME = r"[\p{L}_][\p{L}\p{N}_]*"  # a Python name, for the regular expressions of Rust and of Go
_PATH = rf"{_NAME}(\.{_NAME})*"
_FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_STORAGE = {**_FREE, "description": "How much storage: ``requests: {storage: 20Gi}``."}

T = TypeVar("T")
Many: TypeAlias = Annotated[  # YAML gives lists
    tuple[T, ...], Strict(False), Field(max_length=MAX_ITEMS)
]
Text: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=4096), expected("a text of 1 to 4096 characters")
]
Url: TypeAlias = Annotated[Text, AfterValidator(_without_password)]
Name: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=253), expected("a name of 1 to 253 characters")
]
SourceText: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=262_144),
    expected("the text of a Python module, at most 262144 characters"),
]
Flag: TypeAlias = Annotated[bool, expected("true or false")]
Count: TypeAlias = Annotated[int, Field(ge=1), expected("an integer of at least 1")]
Copies: TypeAlias = Annotated[int, Field(ge=1, le=2), expected("1 or 2")]
CountOrZero: TypeAlias = Annotated[int, Field(ge=0), expected("an integer of at least 0")]
Factor: TypeAlias = Annotated[float, Field(ge=1), expected("a number of at least 1")]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1), expected("a number from 0 to 1")]
SizeBytes: TypeAlias = Annotated[
    int,
    _parsed(size_bytes),
    _int_or_text(rf"^{_NUMBER}(k|K|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"),
    expected(SIZE_EXPECTED),
]
Seconds: TypeAlias = Annotated[
    float, _parsed(duration_s), _int_or_text(_DURATION), expected(DURATION_EXPECTED)
]
Quantity: TypeAlias = Annotated[
    str,
    _parsed(_quantity_text),
    _int_or_text(rf"^{_NUMBER}(m|k|K|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"),
    expected('a quantity such as 500m, 2 or 512Mi (fractions in quotes: "0.5")'),
]
ObjectName: TypeAlias = Annotated[
    str,
    Field(max_length=45, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$"),
    expected("a letter and at most 44 more lower-case letters, digits and dashes"),
]
JobPath: TypeAlias = Annotated[
    str,
    Field(max_length=512, pattern=rf"^{_PATH}:{_PATH}$"),
    expected('"module:attribute", such as "wordcount:WordCount"'),
]
Requirement: TypeAlias = Annotated[
    str,
    Field(max_length=1024, pattern=r"^[A-Za-z0-9]"),
    expected("a requirement of pip, such as numpy>=2"),
    AfterValidator(_without_password),
]
Sha256: TypeAlias = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$"), expected("64 lower-case hexadecimal digits")
]
Urls: TypeAlias = Annotated[
    tuple[str, ...],
    WrapValidator(_one_or_more_texts),
    expected("a URL, or a list of URLs of the same content"),
    # A structural schema has no "text or list". What it can say holds for either type.
    WithJsonSchema(
        {"x-kubernetes-preserve-unknown-fields": True, "minLength": 1, "minItems": 1},
    ),
    AfterValidator(_without_passwords),
]
OutputFormat: TypeAlias = Annotated[
    Literal["text", "jsonl", "csv", "parquet", "pickle"],
    expected("text, jsonl, csv, parquet or pickle"),
]
PullPolicy: TypeAlias = Annotated[
    Literal["Always", "IfNotPresent", "Never"], expected("Always, IfNotPresent or Never")
]
KubernetesObject: TypeAlias = Annotated[dict[str, Any], WithJsonSchema(_FREE)]
"""A part of a pod that Kubernetes itself checks, or anything else with free keys."""
ClaimSpec: TypeAlias = Annotated[
    dict[str, Any],
    WrapValidator(_claim_spec),
    expected("the spec of a PersistentVolumeClaim, with resources in it"),
    WithJsonSchema({**_FREE, "properties": {"resources": _STORAGE}, "required": ["resources"]}),
]
