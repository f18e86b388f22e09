"""What the ``.proto`` files say about their services, calls, messages and fields.

The generated modules leave comments out; ``hatch_build.py`` writes them beside these.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

_File, _Message = FileDescriptorProto, DescriptorProto
_Path = tuple[int, ...]


@cache
def comments() -> Mapping[str, str]:
    """Return the comments, by full name ("disco.v1.Job.uid"); paragraphs are lines."""
    content = files("disco.v1").joinpath("descriptors.binpb").read_bytes()
    found: dict[str, str] = {}
    for file in FileDescriptorSet.FromString(content).file:
        texts = {
            tuple(location.path): text
            for location in file.source_code_info.location
            if (text := _paragraphs(location.leading_comments or location.trailing_comments))
        }
        names = dict(_names(file))
        found.update((names[path], text) for path, text in texts.items() if path in names)
    return found


def _paragraphs(comment: str) -> str:
    """Return a comment with a line for each paragraph."""
    lines = [line.strip() for line in comment.splitlines()]
    return "\n".join(
        " ".join(paragraph.split("\n"))
        for paragraph in "\n".join(lines).strip().split("\n\n")
        if paragraph
    )


def _names(file: FileDescriptorProto) -> Iterator[tuple[_Path, str]]:
    """Yield the place of all that may have a comment, and its name.

    Source: a place is a path of field numbers and indexes, see SourceCodeInfo in descriptor.proto.
    """
    yield from _below((_File.SERVICE_FIELD_NUMBER,), file.service, file.package)
    yield from _below((_File.MESSAGE_TYPE_FIELD_NUMBER,), file.message_type, file.package)
    yield from _below((_File.ENUM_TYPE_FIELD_NUMBER,), file.enum_type, file.package)


def _below(path: _Path, items: Sequence[Any], scope: str) -> Iterator[tuple[_Path, str]]:
    for index, item in enumerate(items):
        place, name = (*path, index), f"{scope}.{item.name}"
        yield place, name
        match item:
            case ServiceDescriptorProto():
                methods = ServiceDescriptorProto.METHOD_FIELD_NUMBER
                yield from _below((*place, methods), item.method, name)
            case EnumDescriptorProto():
                yield from _below((*place, item.VALUE_FIELD_NUMBER), item.value, name)
            case DescriptorProto():
                yield from _below((*place, _Message.FIELD_FIELD_NUMBER), item.field, name)
                nested = _Message.NESTED_TYPE_FIELD_NUMBER
                yield from _below((*place, nested), item.nested_type, name)
                yield from _below((*place, _Message.ENUM_TYPE_FIELD_NUMBER), item.enum_type, name)
            case _:
                pass  # calls, fields and values have nothing below them
