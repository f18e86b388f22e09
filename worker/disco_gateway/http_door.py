"""``disco.v1.Jobs`` over HTTP, as JSON: the same calls, the same answers.

Streams are lines of JSON. An error before the first line is the answer; later, it is the last line,
{"error": …}.
"""

import json
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2  # type: ignore[import-untyped]

from disco.v1 import jobs_pb2
from disco_gateway.answers import retry_after_s, status_of
from disco_gateway.backend import Caller
from disco_gateway.calls import Calls
from disco_gateway.errors import InvalidRequestError
from disco_gateway.methods import Method
from disco_gateway.metrics import CONTENT_TYPE, Metrics
from disco_gateway.openapi import document
from disco_gateway.routes import ROUTES, UPLOAD, UPLOAD_PATH, Route, request_from, to_json
from disco_gateway.service import Service

log = logging.getLogger(__name__)

DOOR = "http"
NDJSON = "application/x-ndjson"

# Source: the comments in google/rpc/code.proto.
HTTP_STATUS = {
    code_pb2.OK: 200,
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DATA_LOSS: 500,
}

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "disco",  # and not which version of what
    "X-Content-Type-Options": "nosniff",
}

_CHUNK_BYTES = 256 * 1024

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Body = Callable[[Caller | None], Awaitable[web.StreamResponse]]


def application(service: Service, calls: Calls, metrics: Metrics) -> web.Application:
    """Return what answers HTTP requests."""
    app = web.Application(middlewares=[_errors_as_json])
    door = _Door(service, calls, metrics)
    for route in ROUTES:
        # A ":" in the last part of a path is before the name of an action, and never in a value.
        path = route.path.replace("}", r":[^{}/:]+}")
        app.router.add_route(route.verb, path, door.handler(route))
    app.router.add_route("POST", UPLOAD_PATH, door.upload)
    app.router.add_get("/openapi.json", _openapi, allow_head=False)
    app.router.add_get("/healthz", door.healthz, allow_head=False)
    app.router.add_get("/metrics", door.metrics, allow_head=False)
    app.on_response_prepare.append(_add_headers)
    return app


def _is_no_complaint(record: logging.LogRecord) -> bool:
    """Keep out what aiohttp says of requests that are no HTTP: it quotes them, tokens included."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


log.addFilter(_is_no_complaint)


class _Door:
    def __init__(self, service: Service, calls: Calls, metrics: Metrics) -> None:
        self._service = service
        self._calls = calls
        self._metrics = metrics

    def handler(self, route: Route) -> _Handler:
        """Return what aiohttp calls."""
        does = getattr(self._service, route.method.attribute)

        async def unary(request: web.Request) -> web.StreamResponse:
            async def body(caller: Caller | None) -> web.StreamResponse:
                async with self._request(route, request) as message:
                    return _json(await does(caller, message))

            return await self._answer(request, route.method, body, _Lines(request))

        async def stream(request: web.Request) -> web.StreamResponse:
            lines = _Lines(request)

            async def body(caller: Caller | None) -> web.StreamResponse:
                async with (
                    self._request(route, request) as message,
                    aclosing(does(caller, message)) as replies,
                ):
                    async for reply in replies:
                        await lines.add(to_json(reply))
                return await lines.end()

            return await self._answer(request, route.method, body, lines)

        return stream if route.method.gives_stream else unary

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take code, which is the body as it is."""

        async def body(caller: Caller | None) -> web.StreamResponse:
            assert caller is not None
            async with aclosing(_upload(request)) as requests:
                return _json(await self._service.upload_code(caller, requests))

        return await self._answer(request, UPLOAD, body, _Lines(request))

    async def healthz(self, _: web.Request) -> web.Response:
        """Tell whether to send calls here."""
        if self._calls.closing:
            return web.Response(text="this gateway ends\n", status=503)
        return web.Response(text="ok\n")

    async def metrics(self, _: web.Request) -> web.Response:
        """Tell what is counted."""
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @asynccontextmanager
    async def _request(self, route: Route, request: web.Request) -> AsyncIterator[Message]:
        """Give the message that an HTTP request stands for, while there is memory for it."""
        most = self._calls.most_bytes(route.method)
        size = 0
        if route.has_body and request.can_read_body:
            # Who does not say how much comes may send as much as is taken.
            size = most if request.content_length is None else request.content_length
        async with self._calls.holding(route.method, size):
            body = await _read(request, most) if size else b""
            yield request_from(route, request.match_info, list(request.query.items()), body)

    async def _answer(
        self, request: web.Request, method: Method, body: _Body, lines: "_Lines"
    ) -> web.StreamResponse:
        with self._metrics.call(DOOR, method) as outcome:
            try:
                async with self._calls.entered(
                    method, request.headers.get("Authorization")
                ) as caller:
                    return await body(caller)
            except web.HTTPException:
                raise
            except Exception as error:
                if request.transport is None:  # nobody is there to hear of it
                    raise
                status = status_of(error, method.name)
                outcome.code = status.code
            if not lines.begun:
                return _error(status)
            await lines.add(f'{{"error": {to_json(status)}}}')
            return await lines.end()


class _Lines:
    """A response of lines.

    It begins with the first of them, so that an error before it is told as one. Adding one waits
    until the reader has taken most of those before it.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(headers={"Content-Type": NDJSON})

    @property
    def begun(self) -> bool:
        """Whether the status is on its way."""
        return self._response.prepared

    async def add(self, line: str) -> None:
        """Send a line."""
        if not self.begun:
            await self._response.prepare(self._request)
        await self._response.write(f"{line}\n".encode())

    async def end(self) -> web.StreamResponse:
        """Send the end, and return the response."""
        if not self.begun:
            await self._response.prepare(self._request)
        await self._response.write_eof()
        return self._response


async def _read(request: web.Request, most: int) -> bytes:
    """Return the body.

    Raises:
        InvalidRequestError: It has more than *most* bytes.
    """
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            raise InvalidRequestError.of("body", f"is too large: expected at most {most} bytes")
    return bytes(body)


async def _upload(request: web.Request) -> AsyncGenerator[jobs_pb2.UploadCodeRequest, None]:
    """Yield an upload as gRPC has it: a header, and pieces."""
    size = request.content_length
    if size is None:
        raise InvalidRequestError.of("Content-Length", "is required")
    yield jobs_pb2.UploadCodeRequest(
        header=jobs_pb2.CodeHeader(
            namespace=request.match_info["namespace"],
            sha256=request.query.get("sha256", ""),
            size_bytes=size,
        )
    )
    async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
        yield jobs_pb2.UploadCodeRequest(chunk=chunk)


def _json(message: Message) -> web.Response:
    return web.Response(text=to_json(message), content_type="application/json")


def _error(status: status_pb2.Status, http_status: int = 0) -> web.Response:
    headers = {}
    if (delay_s := retry_after_s(status)) is not None:
        headers["Retry-After"] = str(math.ceil(delay_s))
    if status.code == code_pb2.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(
        text=to_json(status),
        content_type="application/json",
        status=http_status or HTTP_STATUS[status.code],
        headers=headers,
    )


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Have aiohttp's own errors look like ours: there is no such path, or not with this verb."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        text = f"there is nothing at {request.path}: /openapi.json tells what there is"
        return _error(status_pb2.Status(code=code_pb2.NOT_FOUND, message=text))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        text = f"{request.path} takes {allowed}, and not {request.method}"
        response = _error(status_pb2.Status(code=code_pb2.UNIMPLEMENTED, message=text), 405)
        response.headers["Allow"] = allowed
        return response
    except web.HTTPException as error:
        text = error.reason
        return _error(status_pb2.Status(code=code_pb2.UNKNOWN, message=text), error.status)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


async def _openapi(_: web.Request) -> web.Response:
    return web.Response(text=json.dumps(document()), content_type="application/json")
