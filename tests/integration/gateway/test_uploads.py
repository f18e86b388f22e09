"""Uploads of code: whole or not at all, and refused before they cost anything."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.rpc import code_pb2, error_details_pb2  # type: ignore[import-untyped]

from disco.v1 import job_pb2, jobs_pb2
from disco_engine.core.settings import MIB
from disco_gateway.fake import FakeBackend
from disco_gateway.limits import Limits

from .conftest import ALICE, Gateway, detail, gateway_over, http_of, refused, until
from .test_grpc_calls import CODE, SHA256, upload

CODE_PATH = "/v1/namespaces/team/code"


def field_of(status: Any) -> str:
    (violation,) = detail(status, error_details_pb2.BadRequest).field_violations
    return str(violation.field)


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ({"sha256": "abc"}, "header.sha256"),
        ({"sha256": SHA256.upper()}, "header.sha256"),
        ({"sha256": "0" * 64}, "header.sha256"),
        ({"size_bytes": 0}, "header.size_bytes"),
        ({"size_bytes": 2**30}, "header.size_bytes"),
        ({"size_bytes": len(CODE) + 1}, "header.size_bytes"),
        ({"size_bytes": len(CODE) - 1}, "header.size_bytes"),
        ({"namespace": "No Such"}, "header.namespace"),
    ],
)
async def test_what_is_not_as_announced_is_not_kept(
    gateway: Gateway, header: dict[str, Any], field: str
) -> None:
    many = header.get("size_bytes", 0) in (len(CODE) - 1, len(CODE) + 1)
    chunks = many or header.get("sha256") == "0" * 64
    call = gateway.stub.UploadCode(upload(chunks=chunks, **header), metadata=ALICE)
    status = await refused(call)
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert field_of(status) == field
    assert gateway.backend.code.kept == {}


@pytest.mark.parametrize(
    "code",
    [
        b"\xff" * 100,
        b"PK\x03\x04" + b"x" * 100,
        job_pb2.JobCode(loader="os:system", payload=b"rm -rf /").SerializeToString(),
        job_pb2.JobCode(payload=b"x").SerializeToString(),
    ],
)
async def test_only_code_is_kept(gateway: Gateway, code: bytes) -> None:
    status = await refused(gateway.stub.UploadCode(upload(code), metadata=ALICE))
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert gateway.backend.code.kept == {}


async def test_the_header_comes_first_and_once(gateway: Gateway) -> None:
    chunk = jobs_pb2.UploadCodeRequest(chunk=b"x")
    header, *chunks = upload()
    for requests in ([], [chunk], [header, header]):
        status = await refused(gateway.stub.UploadCode(iter(requests), metadata=ALICE))
        assert status.code == code_pb2.INVALID_ARGUMENT
    await gateway.stub.UploadCode(iter([header, *chunks]), metadata=ALICE)


async def test_a_gigabyte_is_refused_before_it_is_sent(gateway: Gateway) -> None:
    sent = 0

    async def gigabyte() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1024 * MIB:
            sent += MIB
            yield bytes(MIB)

    async with http_of(gateway) as http:
        response = await http.post(
            f"{CODE_PATH}?sha256={SHA256}",
            data=gigabyte(),
            headers={"Content-Length": str(1024 * MIB)},
        )
        assert response.status == 400
        assert "header.size_bytes" in (await response.json())["message"]
        response.close()
    assert sent < 64 * MIB


async def test_http_must_say_how_much_comes(gateway: Gateway) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield CODE

    async with (
        http_of(gateway) as http,
        http.post(f"{CODE_PATH}?sha256={SHA256}", data=pieces()) as response,
    ):
        assert response.status == 400
        assert "Content-Length" in (await response.json())["message"]


async def test_an_upload_that_is_cut_leaves_nothing(backend: FakeBackend) -> None:
    """Neither code nor the memory that it was to have: the next one has all of it."""
    limits = Limits(upload_memory_bytes=3 * len(CODE), upload_idle_s=20)
    async with gateway_over(backend, limits=limits) as gateway:
        for _ in range(3):
            header, first, *_ = upload()
            call = gateway.stub.UploadCode(metadata=ALICE)
            await call.write(header)
            await call.write(first)
            call.cancel()
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.served.http_port)
            head = (
                f"POST {CODE_PATH}?sha256={SHA256} HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: {ALICE[0][1]}\r\nContent-Length: {len(CODE)}\r\n\r\n"
            )
            writer.write(head.encode() + CODE[:100_000])
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        await gateway.stub.UploadCode(upload(), metadata=ALICE)
        assert backend.code.kept == {("team", SHA256): CODE}


async def test_an_upload_that_stands_still_is_given_up(backend: FakeBackend) -> None:
    async with gateway_over(backend, limits=Limits(upload_idle_s=0.2)) as gateway:
        call = gateway.stub.UploadCode(metadata=ALICE)
        header, *_ = upload()
        await call.write(header)
        assert (await refused(call)).code == code_pb2.DEADLINE_EXCEEDED


async def test_uploads_share_their_memory(backend: FakeBackend) -> None:
    """Who finds none waits for it, and is told to come again if that takes long."""
    limits = Limits(upload_memory_bytes=3 * len(CODE), upload_wait_s=0.2)
    async with gateway_over(backend, limits=limits) as gateway:
        header, *chunks = upload()
        call = gateway.stub.UploadCode(metadata=ALICE)
        await call.write(header)
        await until(lambda: bool(backend.asked))
        other = job_pb2.JobCode(loader="disco.program:load", payload=b"other").SerializeToString()
        status = await refused(gateway.stub.UploadCode(upload(other, chunks=False), metadata=ALICE))
        assert status.code == code_pb2.RESOURCE_EXHAUSTED
        assert detail(status, error_details_pb2.RetryInfo).retry_delay.seconds == 5
        for chunk in chunks:
            await call.write(chunk)
        await call.done_writing()
        assert (await call).sha256 == SHA256
        await gateway.stub.UploadCode(upload(other), metadata=ALICE)


async def test_slow_uploads_take_no_room_from_calls(backend: FakeBackend) -> None:
    async with gateway_over(backend, limits=Limits(uploads=2)) as gateway:
        header, *_ = upload()
        slow = [gateway.stub.UploadCode(metadata=ALICE) for _ in range(2)]
        for call in slow:
            await call.write(header)
        await until(lambda: len(backend.asked) == 2)
        status = await refused(gateway.stub.UploadCode(upload(chunks=False), metadata=ALICE))
        assert status.code == code_pb2.RESOURCE_EXHAUSTED
        await gateway.stub.List(jobs_pb2.ListRequest(), metadata=ALICE)
        for call in slow:
            call.cancel()


async def test_many_upload_the_same_at_once(gateway: Gateway) -> None:
    replies = await asyncio.gather(
        *(gateway.stub.UploadCode(upload(), metadata=ALICE) for _ in range(5)),
        return_exceptions=True,
    )
    assert any(isinstance(reply, jobs_pb2.UploadCodeReply) for reply in replies)
    assert gateway.backend.code.kept == {("team", SHA256): CODE}
