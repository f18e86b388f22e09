"""Writes the reference of ``disco.v1.Jobs``: ``python -m disco_gateway.reference REPOSITORY``.

Whatever is in it, the ``.proto`` files say.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from disco_gateway.comments import comments
from disco_gateway.methods import METHODS, SERVICE, Method, descriptor_of, types_of, value_of
from disco_gateway.routes import UPLOAD_PATH

PATH = "docs/reference/jobs-api.md"

_Type = FieldDescriptor
_SCALARS = {
    _Type.TYPE_BOOL: "bool",
    _Type.TYPE_STRING: "string",
    _Type.TYPE_DOUBLE: "double",
    _Type.TYPE_BYTES: "bytes",
    _Type.TYPE_INT32: "int32",
    _Type.TYPE_INT64: "int64",
    _Type.TYPE_UINT32: "uint32",
    _Type.TYPE_UINT64: "uint64",
    _Type.TYPE_SINT32: "sint32",
    _Type.TYPE_SINT64: "sint64",
}
_HEAD = """\
# The Jobs service

<!-- Made of proto/disco/v1/*.proto by `make docs`. Change those. -->

`{service}` is answered over gRPC, and over HTTP with JSON: the paths below take and give the same
messages in [protobuf's JSON mapping](https://protobuf.dev/programming-guides/json/), parameters for
fields included. `GET /openapi.json` describes them for tools. Streams are lines of JSON; an error
after the first line is a last line `{{"error": …}}`. Any other error is a `google.rpc.Status` with
the HTTP status that the comments in google/rpc/code.proto name.

{comment}
"""


def text() -> str:
    """Return the reference, as Markdown."""
    messages, enums = _all_types()
    blocks = [
        _HEAD.format(service=SERVICE.full_name, comment=_comment(SERVICE.full_name)),
        "## Calls",
        *map(_call, METHODS),
        "## Messages",
        *map(_message, messages),
        "## Enumerations",
        *map(_enumeration, enums),
    ]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _all_types() -> tuple[list[Descriptor], list[EnumDescriptor]]:
    """Return what the calls speak of, in the order in which a reader meets it."""
    roots = [descriptor_of(kind) for method in METHODS for kind in (method.request, method.reply)]
    found = list(types_of(roots))
    return (
        [kind for kind in found if isinstance(kind, Descriptor) and _is_ours(kind)],
        [kind for kind in found if isinstance(kind, EnumDescriptor) and _is_ours(kind)],
    )


def _is_ours(kind: Descriptor | EnumDescriptor) -> bool:
    return kind.full_name.startswith("disco.")


def _call(method: Method) -> str:
    request, reply = descriptor_of(method.request), descriptor_of(method.reply)
    takes = "stream of " * method.takes_stream + _link(request)
    gives = "stream of " * method.gives_stream + _link(reply)
    places = [
        f"`{pattern.upper()} {getattr(rule, pattern)}`"
        for rule in method.rules
        if (pattern := rule.WhichOneof("pattern"))
    ] or [f"`POST {UPLOAD_PATH}?sha256=…`"]
    return "\n\n".join(
        (
            f"### {method.name}",
            f"{takes} → {gives}<br>\n{', '.join(places)}",
            _comment(f"{SERVICE.full_name}.{method.name}"),
        )
    )


def _message(descriptor: Descriptor) -> str:
    blocks = [f"### {descriptor.name}", _comment(descriptor.full_name)]
    if descriptor.fields:
        rows = [
            f"| `{field.name}` | {_type(field)} | {_cell(field.full_name)} |"
            for field in descriptor.fields
        ]
        blocks.append("\n".join(("| field | type | |", "| --- | --- | --- |", *rows)))
    return "\n\n".join(filter(None, blocks))


def _enumeration(descriptor: EnumDescriptor) -> str:
    rows = [
        f"| `{value.name}` | {_cell(f'{descriptor.full_name}.{value.name}')} |"
        for value in descriptor.values
        if value.number  # 0 stands for none of them
    ]
    table = "\n".join(("| value | |", "| --- | --- |", *rows))
    return "\n\n".join(
        filter(None, (f"### {descriptor.name}", _comment(descriptor.full_name), table))
    )


def _type(field: FieldDescriptor) -> str:
    if (value := value_of(field)) is not None:
        return f"map of {_type(value)}"
    kind = field.message_type or field.enum_type
    name = _link(kind) if kind is not None else _SCALARS[field.type]
    return f"list of {name}" if field.is_repeated else name


def _link(kind: Descriptor | EnumDescriptor) -> str:
    if _is_ours(kind):
        return f"[{kind.name}](#{kind.name.lower()})"
    return f"`{kind.full_name}`"


def _comment(name: str) -> str:
    return "\n\n".join(_lines(name))


def _cell(name: str) -> str:
    return "<br>".join(line.replace("|", r"\|") for line in _lines(name))


def _lines(name: str) -> Iterator[str]:
    for line in comments().get(name, "").splitlines():
        yield line.replace("<", "&lt;")


def main(repository: Path) -> None:
    """Write the reference into *repository*."""
    path = repository / PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
