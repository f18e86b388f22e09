"""Messages as plain values, for JSON that programs read."""

from typing import Any

from google.protobuf.message import Message


def plain(message: Message) -> dict[str, Any]:
    """Return the fields of *message* by their names in the ``.proto`` file.

    Unlike in protobuf's own JSON, zeros and empty texts are there, an unset message is None,
    64-bit integers are numbers, and an enum's value is its name without the prefix, in lower case.
    An unset optional number is left out.
    """
    return {
        field.name: _field(message, field)
        for field in message.DESCRIPTOR.fields
        if field.message_type is not None or not field.has_presence or message.HasField(field.name)
    }


# `field` is a FieldDescriptor; which class that is depends on protobuf's implementation.
def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(item, field) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: Any) -> Any:
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
