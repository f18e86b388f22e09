"""The calls that both doors offer, as the descriptor tells them: there is no other list."""

import re
from collections import deque
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import cast

from google.api import annotations_pb2, http_pb2  # type: ignore[import-untyped]
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from disco.v1 import jobs_pb2

SERVICE = jobs_pb2.DESCRIPTOR.services_by_name["Jobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One call.

    Attributes:
        name: As in the ``.proto``.
        attribute: Name of the service's method that carries it out.
        request: Class of the request, or of each if they stream.
        reply: Class of the reply, or of each if they stream.
        takes_stream: Requests stream.
        gives_stream: Replies stream.
        rules: Its places in HTTP, the main one first; none: HTTP has another way to it.
    """

    name: str
    attribute: str
    request: type[Message]
    reply: type[Message]
    takes_stream: bool
    gives_stream: bool
    rules: Sequence[http_pb2.HttpRule]


def _method(descriptor: MethodDescriptor) -> Method:
    rule = descriptor.GetOptions().Extensions[annotations_pb2.http]
    rules = (rule, *rule.additional_bindings) if rule.WhichOneof("pattern") else ()
    return Method(
        name=descriptor.name,
        attribute=re.sub(r"(?<!^)(?=[A-Z])", "_", descriptor.name).lower(),
        request=_class_of(descriptor.input_type),
        reply=_class_of(descriptor.output_type),
        takes_stream=descriptor.client_streaming,
        gives_stream=descriptor.server_streaming,
        rules=rules,
    )


def descriptor_of(message: type[Message]) -> Descriptor:
    """Return what a message consists of."""
    return cast(Descriptor, message.DESCRIPTOR)  # its stub knows a private type, too


def value_of(field: FieldDescriptor) -> FieldDescriptor | None:
    """Return what the values of a map are; None: the field is none."""
    if field.message_type is None or not field.message_type.GetOptions().map_entry:
        return None
    return field.message_type.fields_by_name["value"]


def types_of(
    roots: Sequence[Descriptor], *, stop_at: Set[str] = frozenset()
) -> Iterator[Descriptor | EnumDescriptor]:
    """Yield messages and all that their fields are made of, each once, outer before inner.

    Args:
        roots: Where to begin.
        stop_at: Full names of messages that are left out, with all that only they have.
    """
    seen: set[str] = set(stop_at)
    waiting: deque[Descriptor | EnumDescriptor] = deque(roots)
    while waiting:
        kind = waiting.popleft()
        if kind.full_name in seen:
            continue
        seen.add(kind.full_name)
        yield kind
        if isinstance(kind, Descriptor):
            fields = (value_of(field) or field for field in kind.fields)
            inner = (field.message_type or field.enum_type for field in fields)
            waiting += [kind for kind in inner if kind is not None]


def _class_of(descriptor: Descriptor) -> type[Message]:
    return GetMessageClass(descriptor)


METHODS = tuple(map(_method, SERVICE.methods))
"""All calls, in the order of the ``.proto``."""
