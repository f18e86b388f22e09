"""Messages as plain values, for JSON that programs read."""

import json
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp


def plain(message: Message) -> dict[str, Any]:
    """Return the fields of *message* by their names in the ``.proto`` file.

    Unlike in protobuf's own JSON, zeros and empty texts are there, an unset message is None,
    64-bit integers are numbers, and an enum's value is its name without the prefix, in lower case.
    An unset optional number is left out. A Timestamp is a text such as 2026-01-31T12:00:00Z, a
    Struct is what it stands for.
    """
    return {
        field.name: _field(message, field)
        for field in message.DESCRIPTOR.fields
        if field.message_type is not None or not field.has_presence or message.HasField(field.name)
    }


def json_line(message: Message) -> str:
    """Return *message* as JSON on one line."""
    return json.dumps(plain(message), ensure_ascii=False)


# `field` is a FieldDescriptor; which class that is depends on protobuf's implementation.
def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_value = field.message_type.fields_by_name["value"]
        return {key: _value(item, of_value) for key, item in value.items()}
    if field.is_repeated:
        return [_value(item, field) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    if isinstance(value, Struct):
        return struct_value(value)
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return _enum_name(value, field)
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def _enum_name(number: int, field: Any) -> str:
    """Return "running" for JOB_PHASE_RUNNING: what follows the prefix that all values share."""
    values = field.enum_type.values_by_number
    if number not in values:
        return str(number)
    prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(values[number].name).removeprefix(prefix).lower()


def struct_value(struct: Struct) -> dict[str, Any]:
    """Return what *struct* stands for; whole numbers, which it cannot tell apart, are int."""
    return {name: _json_value(value) for name, value in struct.fields.items()}


def _json_value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return struct_value(value.struct_value)
        case "list_value":
            return [_json_value(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
