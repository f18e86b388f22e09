"""Where the calls are in HTTP, and how requests are made of paths, parameters and bodies.

All of it comes from the descriptors: the ``google.api.http`` options say where a call is, and
protobuf's JSON mapping says how messages look.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from disco_gateway.checks import Findings
from disco_gateway.errors import InvalidRequestError
from disco_gateway.methods import METHODS, Method, descriptor_of

UPLOAD_PATH = "/v1/namespaces/{namespace}/code"
"""Where UploadCode is: it has no option, because its body is not JSON."""

UPLOAD = next(method for method in METHODS if method.takes_stream)

_MAX_DEPTH = 100
_BOOLS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One place of a call.

    Attributes:
        method: The call.
        verb: HTTP's, in capitals.
        path: With a field's name in braces where its value is.
        has_body: The body is the request; else its fields are parameters.
    """

    method: Method
    verb: str
    path: str
    has_body: bool

    @property
    def path_fields(self) -> tuple[str, ...]:
        """The fields whose values are in the path."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    @property
    def query_fields(self) -> tuple[FieldDescriptor, ...]:
        """The fields whose values may be parameters."""
        if self.has_body:
            return ()
        fields = descriptor_of(self.method.request).fields
        return tuple(field for field in fields if field.name not in self.path_fields)


def _routes_of(method: Method) -> list[Route]:
    routes = []
    for rule in method.rules:
        verb = rule.WhichOneof("pattern")
        if rule.body not in ("", "*"):
            raise ValueError(f"{method.name}: only whole bodies are supported, not {rule.body!r}")
        routes.append(
            Route(
                method=method,
                verb=verb.upper(),
                path=getattr(rule, verb),
                has_body=rule.body == "*",
            )
        )
    return routes


ROUTES = tuple(route for method in METHODS for route in _routes_of(method))
"""All places, in the order of the ``.proto``."""


def request_from(
    route: Route, path: Mapping[str, str], query: Sequence[tuple[str, str]], body: bytes
) -> Message:
    """Return the request that an HTTP request stands for.

    Args:
        route: Where it went.
        path: The values that are in its path.
        query: Its parameters, in order; one of a repeated field may come often.
        body: Its body.

    Raises:
        InvalidRequestError: It makes no sense.
    """
    request = route.method.request()
    if route.has_body and body:
        _read_body(body, request)
    findings = Findings()
    _read_query(route, query, request, findings)
    for name, value in path.items():
        if getattr(request, name) not in ("", value):
            findings.add(name, f"is {value!r} in the path, and something else in the body")
        else:
            _set(request, name, value, name, findings)
    findings.settle()
    return request


def to_json(message: Message) -> str:
    """Return a message as JSON, in one line."""
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False)


def _read_body(body: bytes, request: Message) -> None:
    if not body.lstrip().startswith(b"{"):  # to json_format, an empty list is a message, too
        raise InvalidRequestError.of("body", "expected a JSON object")
    try:
        json_format.Parse(body, request, max_recursion_depth=_MAX_DEPTH)
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise InvalidRequestError.of("body", _reason(error)) from error


def _read_query(
    route: Route, query: Sequence[tuple[str, str]], request: Message, findings: Findings
) -> None:
    values: dict[str, list[str]] = {}
    for name, value in query:
        values.setdefault(name, []).append(value)
    known = {name: f for f in route.query_fields for name in (f.name, f.json_name)}
    for name, texts in values.items():
        field = known.get(name)
        if field is None:
            names = ", ".join(sorted(f.name for f in route.query_fields)) or "none"
            findings.add(name, f"unknown parameter; known are {names}")
        elif field.is_repeated:
            _set(request, field.name, [_plain(field, text) for text in texts], name, findings)
        elif len(texts) > 1:
            findings.add(name, f"expected once, found {len(texts)} times")
        else:
            _set(request, field.name, _plain(field, texts[0]), name, findings)


def _plain(field: FieldDescriptor, text: str) -> Any:
    """Return a parameter as JSON would have it; numbers may be texts there."""
    return _BOOLS.get(text, text) if field.type == FieldDescriptor.TYPE_BOOL else text


def _set(request: Message, name: str, value: Any, where: str, findings: Findings) -> None:
    try:
        json_format.ParseDict({name: value}, request)
    except (json_format.ParseError, ValueError, TypeError) as error:
        findings.add(where, _reason(error))


def _reason(error: Exception) -> str:
    """Return what is wrong, in one line that has no odd characters and does not go on forever."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.encode(errors="replace").decode()[:300]
