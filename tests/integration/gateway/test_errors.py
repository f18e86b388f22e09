"""Every error, as both doors tell it."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2  # type: ignore[import-untyped]

from disco.v1 import jobs_pb2
from disco_gateway import errors
from disco_gateway.fake import TOKEN

from .conftest import ALICE, Gateway, detail, http_of, refused

GET = jobs_pb2.GetRequest(namespace="team", name="count")
JOB = "/v1/namespaces/team/jobs/count"


async def http_get(gateway: Gateway, path: str) -> tuple[aiohttp.ClientResponse, Any]:
    """Return a response, and the JSON that it has."""
    async with http_of(gateway) as http, http.get(path) as response:
        return response, await response.json()


CASES: list[tuple[Exception, int, int, type[Message], dict[str, Any]]] = [
    (
        errors.InvalidRequestError.of("spec.job", "is required"),
        code_pb2.INVALID_ARGUMENT,
        400,
        error_details_pb2.BadRequest,
        {"fieldViolations": [{"field": "spec.job", "description": "is required"}]},
    ),
    (
        errors.JobNotFoundError("team", "count"),
        code_pb2.NOT_FOUND,
        404,
        error_details_pb2.ResourceInfo,
        {"resourceName": "team/count"},
    ),
    (
        errors.JobExistsError("team", "count"),
        code_pb2.ALREADY_EXISTS,
        409,
        error_details_pb2.ResourceInfo,
        {"resourceName": "team/count"},
    ),
    (
        errors.NotPossibleError("team/count", "it has not failed"),
        code_pb2.FAILED_PRECONDITION,
        400,
        error_details_pb2.PreconditionFailure,
        {
            "violations": [
                {"type": "STATE", "subject": "team/count", "description": "it has not failed"}
            ]
        },
    ),
    (
        errors.GoneError("begin anew"),
        code_pb2.ABORTED,
        409,
        error_details_pb2.ErrorInfo,
        {"reason": "GONE"},
    ),
    (
        errors.OverloadedError("too much", retry_after_s=2.5),
        code_pb2.RESOURCE_EXHAUSTED,
        429,
        error_details_pb2.RetryInfo,
        {"retryDelay": "2.500s"},
    ),
    (
        errors.UnavailableError("no answer"),
        code_pb2.UNAVAILABLE,
        503,
        error_details_pb2.RetryInfo,
        {"retryDelay": "1s"},
    ),
    (
        errors.DeniedError("alice", "get", "team"),
        code_pb2.PERMISSION_DENIED,
        403,
        error_details_pb2.ErrorInfo,
        {"reason": "DENIED"},
    ),
    (
        errors.UnauthenticatedError("bring another"),
        code_pb2.UNAUTHENTICATED,
        401,
        error_details_pb2.ErrorInfo,
        {"reason": "UNAUTHENTICATED"},
    ),
]


@pytest.mark.parametrize(
    ("error", "code", "http_status", "kind", "expected"), CASES, ids=lambda v: type(v).__name__
)
async def test_an_error_is_told_alike_through_both_doors(
    gateway: Gateway,
    error: Exception,
    code: int,
    http_status: int,
    kind: type[Message],
    expected: dict[str, Any],
) -> None:
    gateway.backend.failures["get"] = [error, error]
    status = await refused(gateway.stub.Get(GET, metadata=ALICE))
    assert (status.code, status.message) == (code, str(error))
    assert detail(status, kind).ByteSize()

    response, told = await http_get(gateway, JOB)
    assert response.status == http_status
    assert (told["code"], told["message"]) == (code, str(error))
    name = kind.DESCRIPTOR.full_name
    (found,) = (d for d in told["details"] if d["@type"].endswith(f"/{name}"))
    assert {key: found[key] for key in expected} == expected
    if isinstance(error, errors.OverloadedError):
        assert response.headers["Retry-After"] == "3"
    if isinstance(error, errors.UnauthenticatedError):
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_bug_of_ours_is_logged_and_told_without_its_text(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("password=hunter2 at 10.0.0.7")
    gateway.backend.failures["get"] = [error, error]
    status = await refused(gateway.stub.Get(GET, metadata=ALICE))
    assert status.code == code_pb2.INTERNAL
    incident = detail(status, error_details_pb2.ErrorInfo).metadata["incident"]
    response, told = await http_get(gateway, JOB)
    assert response.status == 500
    assert "hunter2" not in str(status) + str(told)
    first, second = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert (first.message, second.message) == ("call failed", "call failed")
    assert vars(first)["incident"] == incident
    assert first.exc_info
    assert first.exc_info[1] is error
    assert TOKEN not in caplog.text


async def test_every_mistake_of_a_submission_is_a_field_violation(gateway: Gateway) -> None:
    request = jobs_pb2.SubmitRequest(namespace="team", name="Bad Name")
    request.spec.update({"job": "a:b", "partitions": "four", "colour": "red"})
    status = await refused(gateway.stub.Submit(request, metadata=ALICE))
    assert status.code == code_pb2.INVALID_ARGUMENT
    found = detail(status, error_details_pb2.BadRequest).field_violations
    assert {v.field for v in found} == {"name", "spec.partitions", "spec.colour"}


async def test_an_error_of_any_length_reaches_the_caller(gateway: Gateway) -> None:
    """gRPC sends errors in a header, and gives a call up whose header is too large."""
    request = jobs_pb2.SubmitRequest(namespace="team")
    request.spec.update({"job": "a:b", **{"f" * 200 + str(n): "x" for n in range(300)}})
    status = await refused(gateway.stub.Submit(request, metadata=ALICE))
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert len(detail(status, error_details_pb2.BadRequest).field_violations) >= 3


async def test_an_error_in_the_middle_of_a_stream_is_its_last_line(gateway: Gateway) -> None:
    gateway.backend.add("team", "count")
    async with http_of(gateway) as http, http.get(f"{JOB}:watch") as response:
        await response.content.readline()
        gateway.backend.jobs.pop(("team", "count")).tell()
        line = await response.content.readline()
        assert b'"error": {"code": 5' in line
        assert await response.content.readline() == b""


async def test_what_cannot_be_parsed_is_refused(gateway: Gateway) -> None:
    call: Any = gateway.channel.unary_unary("/disco.v1.Jobs/Get")
    status = await refused(call(b"\xff\xff\xff", metadata=ALICE))
    assert status.code == code_pb2.INVALID_ARGUMENT
    nested = b'{"spec":' * 5_000
    async with http_of(gateway) as http:
        for body in (b"{", b"[]", b'{"nope": 1}', b'{"name": 5}', b"\xff", b'"\\ud800"', nested):
            async with http.post("/v1/namespaces/team/jobs", data=body) as response:
                assert response.status == 400, body
                told = await response.json()
                assert told["details"][1]["fieldViolations"][0]["field"] == "body"


async def test_a_request_that_is_too_large_is_refused(gateway: Gateway) -> None:
    request = jobs_pb2.SubmitRequest(namespace="team")
    request.spec.update({"job": "a:b", "params": {"text": "x" * 5_000_000}})
    call = gateway.stub.Submit(request, metadata=ALICE)
    assert (await call.code()).value[0] == code_pb2.RESOURCE_EXHAUSTED
    async with http_of(gateway) as http:
        body = io.BytesIO(b'{"spec": {"job": "' + b"x" * 5_000_000 + b'"}}')
        async with http.post("/v1/namespaces/team/jobs", data=body) as response:
            assert response.status == 400
            assert "too large" in (await response.json())["message"]


async def test_only_a_submission_may_be_large(gateway: Gateway) -> None:
    """What a stream was asked for stays in memory for as long as it lasts."""
    long = "x" * 100_000
    for call in (
        gateway.stub.Watch(
            jobs_pb2.WatchJobRequest(namespace="team", name="count", cursor=long), metadata=ALICE
        ),
        gateway.stub.Cancel(
            jobs_pb2.CancelJobRequest(namespace="team", name="count", reason=long), metadata=ALICE
        ),
    ):
        status = await refused(call)
        assert status.code == code_pb2.INVALID_ARGUMENT
        assert "at most 65536 bytes" in status.message

    async def chunked() -> AsyncIterator[bytes]:
        yield b'{"reason": "' + long.encode() + b'"}'

    async with http_of(gateway) as http:
        for body in (io.BytesIO(long.encode()), chunked()):
            async with http.post(f"{JOB}:cancel", data=body) as response:
                assert response.status == 400
                assert "at most 65536 bytes" in (await response.json())["message"]


@pytest.mark.parametrize(
    ("verb", "path", "status", "code"),
    [
        ("GET", "/", 404, code_pb2.NOT_FOUND),
        ("GET", "/v1/namespaces/team/jobs/count:explode", 404, code_pb2.NOT_FOUND),
        ("GET", "/v1/namespaces/team/jobs/a%2Fb", 400, code_pb2.INVALID_ARGUMENT),
        ("GET", "/v1/namespaces/../jobs/..%2f..%2fetc", 404, code_pb2.NOT_FOUND),
        ("PATCH", JOB, 405, code_pb2.UNIMPLEMENTED),
        ("HEAD", JOB, 405, code_pb2.UNIMPLEMENTED),
        ("GET", f"{JOB}?uid=1", 400, code_pb2.INVALID_ARGUMENT),
        ("GET", "/v1/jobs?page_size=1&page_size=2", 400, code_pb2.INVALID_ARGUMENT),
        ("GET", "/v1/jobs?page_size=-1", 400, code_pb2.INVALID_ARGUMENT),
        ("GET", "/v1/jobs?phases=NOPE", 400, code_pb2.INVALID_ARGUMENT),
        ("GET", "/v1/jobs?created_from=yesterday", 400, code_pb2.INVALID_ARGUMENT),
        ("GET", "/v1/jobs?page_token=%00", 400, code_pb2.INVALID_ARGUMENT),
        ("GET", f"{JOB}:logs?follow=maybe", 400, code_pb2.INVALID_ARGUMENT),
    ],
)
async def test_what_http_does_not_offer_is_told_as_any_error(
    gateway: Gateway, verb: str, path: str, status: int, code: int
) -> None:
    async with http_of(gateway) as http, http.request(verb, path) as response:
        assert response.status == status, await response.text()
        assert response.content_type == "application/json"
        if verb != "HEAD":
            assert (await response.json())["code"] == code


async def test_a_body_that_contradicts_its_path_is_refused(gateway: Gateway) -> None:
    async with http_of(gateway) as http:
        body = {"namespace": "other", "spec": {"job": "a:b"}}
        async with http.post("/v1/namespaces/team/jobs", json=body) as response:
            assert response.status == 400
            assert "in the path" in (await response.json())["message"]


async def test_a_request_that_is_no_http_leaves_nothing_in_the_log(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.served.http_port)
    writer.write(f"GET {JOB} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\0\r\n\r\n".encode())

    answered = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert answered.startswith(b"HTTP/1.0 400 ")
    assert caplog.text == ""
