"""The OpenAPI document of the HTTP door, made of the same descriptors as the door itself."""

from functools import cache
from importlib.metadata import version
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.rpc import status_pb2  # type: ignore[import-untyped]

from disco.v1 import jobs_pb2
from disco_gateway.calls import OPEN_TO_ALL
from disco_gateway.comments import comments
from disco_gateway.methods import METHODS, SERVICE, Method, descriptor_of, types_of, value_of
from disco_gateway.routes import ROUTES, UPLOAD, UPLOAD_PATH, Route

Json = dict[str, Any]

_Type = FieldDescriptor
_INTEGERS = {
    _Type.TYPE_INT32: (-(2**31), 2**31 - 1),
    _Type.TYPE_SINT32: (-(2**31), 2**31 - 1),
    _Type.TYPE_UINT32: (0, 2**32 - 1),
}
_SCALARS: dict[int, Json] = {
    _Type.TYPE_BOOL: {"type": "boolean"},
    _Type.TYPE_STRING: {"type": "string"},
    _Type.TYPE_DOUBLE: {"type": "number"},
    _Type.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    # JSON's numbers end at 2^53; protobuf's mapping makes texts of these.
    _Type.TYPE_INT64: {"type": "string", "pattern": "^-?[0-9]+$"},
    _Type.TYPE_SINT64: {"type": "string", "pattern": "^-?[0-9]+$"},
    _Type.TYPE_UINT64: {"type": "string", "pattern": "^[0-9]+$"},
}
_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
    },
}
_STATUS = status_pb2.Status.DESCRIPTOR
_ERRORS = {
    "400": "The request makes no sense (code 3), or is not possible as things are (code 9).",
    "401": "There is no token that is accepted.",
    "403": "The caller may not do this there.",
    "404": "There is no such job.",
    "409": "There is another job of that name (code 6), or a cursor is of one that is gone (10).",
    "429": "Too much at once; Retry-After says when to try again.",
    "500": "Something is wrong in the gateway.",
    "503": "Something behind the gateway does not answer; Retry-After says when to try again.",
    "504": "It took too long.",
}


@cache
def document() -> Json:
    """Return the document, as JSON has it."""
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.verb.lower()] = _operation(route)
    paths[UPLOAD_PATH] = {"post": _upload_operation()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Disco: submit jobs, and hear what becomes of them",
            "version": version("disco-k8s"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            **_description(SERVICE.full_name),
        },
        "paths": paths,
        "security": [{"token": []}],
        "components": {
            "schemas": dict(sorted(_schemas().items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                f"Error{code}": _error_response(code, text) for code, text in _ERRORS.items()
            },
        },
    }


def _operation(route: Route) -> Json:
    method = route.method
    fields = {field.name: field for field in descriptor_of(method.request).fields}
    parameters = [_parameter(fields[name], "path") for name in route.path_fields]
    parameters += [_parameter(field, "query") for field in route.query_fields]
    operation = {
        "operationId": _operation_id(route),
        "tags": ["Jobs"],
        **_description(f"{SERVICE.full_name}.{method.name}"),
        "parameters": parameters,
        "responses": _responses(method),
    }
    if route.has_body:
        schema = {"$ref": _reference(descriptor_of(method.request))}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    if method.name == OPEN_TO_ALL:
        operation["security"] = [{}, {"token": []}]
    return operation


def _operation_id(route: Route) -> str:
    """Return the call's name; with more in it, where a call is at several places."""
    first = next(other for other in ROUTES if other.method.name == route.method.name)
    return route.method.name if route is first else f"{route.method.name}Everywhere"


def _upload_operation() -> Json:
    header = {field.name: field for field in jobs_pb2.CodeHeader.DESCRIPTOR.fields}
    sha256 = {**_parameter(header["sha256"], "query"), "required": True}
    return {
        "operationId": UPLOAD.name,
        "tags": ["Jobs"],
        **_description(f"{SERVICE.full_name}.{UPLOAD.name}"),
        "parameters": [_parameter(header["namespace"], "path"), sha256],
        "requestBody": {
            "required": True,
            "description": "A serialised disco.v1.JobCode.",
            "content": {"application/octet-stream": {}},
        },
        "responses": _responses(UPLOAD),
    }


def _parameter(field: FieldDescriptor, place: str) -> Json:
    parameter: Json = {
        "name": field.name,
        "in": place,
        "required": place == "path",
        "schema": _field_schema(field),
        **_description(field.full_name),
    }
    if place == "path":
        parameter["schema"] = {**parameter["schema"], "minLength": 1}
    return parameter


def _responses(method: Method) -> Json:
    kind = "application/x-ndjson" if method.gives_stream else "application/json"
    text = "Lines of JSON, as long as it goes on." if method.gives_stream else "Done."
    schema: Json = {"$ref": _reference(descriptor_of(method.reply))}
    if method.gives_stream:
        error = {"type": "object", "properties": {"error": {"$ref": _reference(_STATUS)}}}
        schema = {"anyOf": [schema, error]}
    errors = {code: {"$ref": f"#/components/responses/Error{code}"} for code in _ERRORS}
    return {"200": {"description": text, "content": {kind: {"schema": schema}}}, **errors}


def _error_response(code: str, text: str) -> Json:
    response: Json = {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": _reference(_STATUS)}}},
    }
    if code in ("429", "503"):
        response["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}
        }
    return response


def _schemas() -> dict[str, Json]:
    """Return the schema of every message and enumeration that is in a request or a reply."""
    roots = [_STATUS]
    for method in METHODS:
        roots.append(descriptor_of(method.reply))
        if not method.takes_stream:
            roots.append(descriptor_of(method.request))
    return {
        kind.full_name: _schema(kind) for kind in types_of(roots, stop_at=frozenset(_WELL_KNOWN))
    }


def _schema(kind: Descriptor | EnumDescriptor) -> Json:
    if isinstance(kind, EnumDescriptor):
        schema: Json = {"type": "string", "enum": [value.name for value in kind.values]}
    else:
        fields = {field.json_name: _described(field) for field in kind.fields}
        schema = {"type": "object", "properties": fields}
    return {**schema, **_description(kind.full_name)}


def _described(field: FieldDescriptor) -> Json:
    return {**_field_schema(field), **_description(field.full_name)}


def _description(name: str) -> Json:
    """Return what the ``.proto`` says about it, if it says something."""
    text = comments().get(name)
    return {"description": text} if text else {}


def _field_schema(field: FieldDescriptor) -> Json:
    if (value := value_of(field)) is not None:
        return {"type": "object", "additionalProperties": _one(value)}
    return {"type": "array", "items": _one(field)} if field.is_repeated else _one(field)


def _one(field: FieldDescriptor) -> Json:
    if field.message_type is not None:
        well_known = _WELL_KNOWN.get(field.message_type.full_name)
        return well_known or {"$ref": _reference(field.message_type)}
    if field.enum_type is not None:
        return {"$ref": _reference(field.enum_type)}
    if field.type in _INTEGERS:
        least, most = _INTEGERS[field.type]
        return {"type": "integer", "minimum": least, "maximum": most}
    return _SCALARS[field.type]


def _reference(descriptor: Descriptor | EnumDescriptor) -> str:
    return f"#/components/schemas/{descriptor.full_name}"
