"""How the doors are opened and closed, and how much goes through them at once."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2, error_details_pb2  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection_pb2,
    reflection_pb2_grpc,
)

from disco.v1 import jobs_pb2, jobs_pb2_grpc
from disco_engine.rpc import IdentityError, PortTakenError
from disco_gateway.backend import Caller
from disco_gateway.calls import Calls
from disco_gateway.certificate import Certificate
from disco_gateway.fake import TOKEN, FakeBackend
from disco_gateway.grpc_door import add_door
from disco_gateway.limits import Limits
from disco_gateway.metrics import Metrics
from disco_gateway.service import Service
from disco_gateway.serving import serving

from .conftest import ALICE, Gateway, detail, gateway_over, http_of, refused
from .test_http_calls import answer

JOB: dict[str, Any] = {"namespace": "team", "name": "count"}


def certificate_in(directory: Path, name: str, *, valid_h: float = 1) -> Certificate:
    """Make a certificate for *name* (empty: for none) that is its own authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name or "nobody")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=2))
        .not_valid_after(now + timedelta(hours=valid_h))
    )
    if name:
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    made = Certificate(chain=directory / "tls.crt", key=directory / "tls.key")
    made.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


async def about_over_grpc(port: int, authority: bytes, name: str) -> jobs_pb2.AboutReply:
    credentials = grpc.ssl_channel_credentials(authority)
    options = [("grpc.ssl_target_name_override", name)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        return await jobs_pb2_grpc.JobsStub(channel).About(jobs_pb2.AboutRequest())


async def about_over_https(port: int, authority: bytes, name: str) -> int:
    context = ssl.create_default_context(cadata=authority.decode())
    async with aiohttp.ClientSession() as http:
        url = f"https://127.0.0.1:{port}/v1/about"
        async with http.get(url, ssl=context, server_hostname=name) as response:
            return response.status


async def test_both_doors_show_the_certificate_and_its_successor(
    backend: FakeBackend, tmp_path: Path
) -> None:
    certificate = certificate_in(tmp_path, "disco.example")
    first = certificate.chain.read_bytes()
    async with serving(
        backend, grpc_address="0.0.0.0:0", http_address="0.0.0.0:0", tls=certificate
    ) as served:
        await about_over_grpc(served.grpc_port, first, "disco.example")
        assert await about_over_https(served.http_port, first, "disco.example") == 200

        certificate_in(tmp_path, "renewed.example")
        second = certificate.chain.read_bytes()
        await about_over_grpc(served.grpc_port, second, "renewed.example")
        assert await about_over_https(served.http_port, second, "renewed.example") == 200

        certificate.key.write_bytes(b"half written")  # what was good is shown on
        await about_over_grpc(served.grpc_port, second, "renewed.example")
        assert await about_over_https(served.http_port, second, "renewed.example") == 200


async def test_plaintext_is_not_understood_where_there_is_a_certificate(
    backend: FakeBackend, tmp_path: Path
) -> None:
    async with (
        serving(
            backend, http_address="127.0.0.1:0", tls=certificate_in(tmp_path, "disco.example")
        ) as served,
        grpc.aio.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel,
        aiohttp.ClientSession() as http,
    ):
        call = jobs_pb2_grpc.JobsStub(channel).About(jobs_pb2.AboutRequest())
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"http://127.0.0.1:{served.http_port}/v1/about")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "example.org:0"])
@pytest.mark.parametrize("door", ["grpc_address", "http_address"])
async def test_tokens_do_not_travel_in_the_open(
    backend: FakeBackend, address: str, door: str
) -> None:
    with pytest.raises(IdentityError, match="without a certificate"):
        async with serving(backend, **{door: address}):  # type: ignore[arg-type]
            pass


async def test_a_certificate_that_cannot_be_used_is_told(
    backend: FakeBackend, tmp_path: Path
) -> None:
    certificate = certificate_in(tmp_path, "disco.example")
    for damage in (certificate.key.unlink, lambda: certificate.key.write_bytes(b"no key")):
        damage()
        with pytest.raises(IdentityError, match=r"tls\.key"):
            async with serving(backend, tls=certificate):
                pass


@pytest.mark.parametrize("door", ["grpc_address", "http_address"])
async def test_a_port_that_is_taken_is_told(gateway: Gateway, door: str) -> None:
    port = gateway.served.grpc_port
    with pytest.raises(PortTakenError):
        async with serving(gateway.backend, **{door: f"127.0.0.1:{port}"}):  # type: ignore[arg-type]
            pass


async def test_reflection_lists_the_service(gateway: Gateway) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
    asked = reflection_pb2.ServerReflectionRequest
    requests = [asked(list_services=""), asked(file_containing_symbol="disco.v1.Jobs")]
    listed, described = [reply async for reply in stub.ServerReflectionInfo(iter(requests))]
    names = {service.name for service in listed.list_services_response.service}
    assert "disco.v1.Jobs" in names
    assert described.file_descriptor_response.file_descriptor_proto


async def test_health_needs_no_token(gateway: Gateway) -> None:
    stub = health_pb2_grpc.HealthStub(gateway.channel)
    for name in ("", "disco.v1.Jobs"):
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    async with http_of(gateway, "") as http, http.get("/healthz") as response:
        assert response.status == 200


def test_a_certificate_tells_whom_it_is_for(tmp_path: Path) -> None:
    made = certificate_in(tmp_path, "*.example.org")
    assert made.names() == ("*.example.org",)
    assert made.is_for("disco.example.org")
    assert not made.is_for("127.0.0.1")
    assert not made.is_for("example.org")


@pytest.mark.parametrize(
    ("name", "valid_h", "why"),
    [("", 1, "names no host"), ("disco.example", -1, "certificate has expired")],
)
def test_a_certificate_that_no_client_takes_says_so(
    tmp_path: Path, name: str, valid_h: int, why: str
) -> None:
    with pytest.raises(IdentityError, match=why):
        certificate_in(tmp_path, name, valid_h=valid_h).names()


async def test_answers_over_http_are_not_to_be_kept_or_shown_elsewhere(gateway: Gateway) -> None:
    for path in ("/v1/about", "/v1/jobs", "/nowhere", "/openapi.json"):
        async with http_of(gateway, "") as http, http.get(path) as response:
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "aiohttp" not in response.headers["Server"]


async def test_more_streams_than_there_is_room_for_are_refused(backend: FakeBackend) -> None:
    backend.add("team", "count")
    backend.add_caller("bob", "token-of-bob", ("*", "*"))
    limits = Limits(streams=3, streams_per_caller=2)
    async with gateway_over(backend, limits=limits) as gateway:

        def watch(token: str) -> Any:
            metadata = (("authorization", f"Bearer {token}"),)
            return gateway.stub.Watch(jobs_pb2.WatchJobRequest(**JOB), metadata=metadata)

        first, second = aiter(watch(TOKEN)), aiter(watch(TOKEN))
        await anext(first)
        await anext(second)
        status = await refused(watch(TOKEN))
        assert status.code == code_pb2.RESOURCE_EXHAUSTED
        assert "'alice' has 2 streams" in status.message
        assert detail(status, error_details_pb2.RetryInfo).retry_delay.seconds == 1
        third = aiter(watch("token-of-bob"))
        await anext(third)
        status = await refused(watch("token-of-bob"))
        assert "3 streams go on already" in status.message

        backend.finish("team", "count")  # all end, and there is room again
        for replies in (first, second, third):
            async for _ in replies:
                pass
        assert [reply async for reply in watch(TOKEN)]


class Stuck(FakeBackend):
    """A backend that does not answer, until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.waiting = 0

    async def get(self, namespace: str, name: str) -> jobs_pb2.Job:
        self.waiting += 1
        await self.free.wait()
        return await super().get(namespace, name)


async def test_more_calls_than_there_is_room_for_are_refused() -> None:
    backend = Stuck()
    backend.add("team", "count")
    async with gateway_over(backend, limits=Limits(calls=2)) as gateway:
        request = jobs_pb2.GetRequest(**JOB)
        calls = [gateway.stub.Get(request, metadata=ALICE) for _ in range(5)]
        outcomes = asyncio.gather(*calls, return_exceptions=True)
        codes = [await asyncio.wait_for(asyncio.shield(c.code()), 30) for c in await three(calls)]
        assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3
        backend.free.set()
        assert sum(isinstance(outcome, jobs_pb2.Job) for outcome in await outcomes) == 2


async def three(calls: list[Any]) -> list[Any]:
    """Return the first three calls that end."""
    done: list[Any] = []
    async with asyncio.timeout(30):
        for ended in asyncio.as_completed([_ended(call) for call in calls]):
            done.append(await ended)
            if len(done) == 3:
                return done
    raise AssertionError(done)


async def _ended(call: Any) -> Any:
    await call.code()
    return call


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    backend = Stuck()
    backend.add("team", "count")
    async with gateway_over(backend, limits=Limits(call_s=0.2)) as gateway:
        status = await refused(gateway.stub.Get(jobs_pb2.GetRequest(**JOB), metadata=ALICE))
        assert status.code == code_pb2.DEADLINE_EXCEEDED
        async with http_of(gateway) as http:
            told = await answer(http.get("/v1/namespaces/team/jobs/count"), 504)
            assert told["code"] == code_pb2.DEADLINE_EXCEEDED


async def test_calls_are_counted(gateway: Gateway) -> None:
    gateway.backend.add("team", "count")
    await gateway.stub.Get(jobs_pb2.GetRequest(**JOB), metadata=ALICE)
    await refused(gateway.stub.Get(jobs_pb2.GetRequest(**JOB)))
    watching = aiter(gateway.stub.Watch(jobs_pb2.WatchJobRequest(**JOB), metadata=ALICE))
    await anext(watching)
    async with http_of(gateway) as http:
        await answer(http.get("/v1/namespaces/team/jobs/none"), 404)
        async with http.get("/metrics") as response:
            told = (await response.text()).splitlines()
    for line in (
        'disco_gateway_calls_total{code="OK",door="grpc",method="Get"} 1.0',
        'disco_gateway_calls_total{code="UNAUTHENTICATED",door="grpc",method="Get"} 1.0',
        'disco_gateway_calls_total{code="NOT_FOUND",door="http",method="Get"} 1.0',
        'disco_gateway_open_calls{method="Watch"} 1.0',
        'disco_gateway_call_seconds_count{door="grpc",method="Get"} 2.0',
    ):
        assert line in told


class Watched(FakeBackend):
    """A backend that knows who follows."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    async def follow(self, *arguments: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        try:
            async for update in super().follow(*arguments):
                yield update
        finally:
            self.ended.set()


@pytest.mark.parametrize("door", ["grpc", "http"])
async def test_a_reader_that_goes_away_is_not_waited_for(
    door: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Watched()
    backend.add("team", "count")
    async with gateway_over(backend) as gateway:
        if door == "grpc":
            call = gateway.stub.Watch(jobs_pb2.WatchJobRequest(**JOB), metadata=ALICE)
            await anext(aiter(call))
            call.cancel()
        else:
            async with http_of(gateway) as http:
                response = await http.get("/v1/namespaces/team/jobs/count:watch")
                await response.content.readline()
                response.close()
        async with asyncio.timeout(30):
            await backend.ended.wait()
    assert caplog.records == []


class Vanished:
    """The gRPC context of a caller whom nothing reaches, before gRPC has told so."""

    def __init__(self) -> None:
        self.failed = asyncio.Event()

    def invocation_metadata(self) -> Any:
        return ALICE

    def time_remaining(self) -> None:
        return None

    async def send_initial_metadata(self, metadata: Any) -> None:
        pass

    async def write(self, reply: Any) -> None:
        self.failed.set()
        raise grpc.aio.InternalError


class Doors:
    """A gRPC server, as far as doors are added to it."""

    def __init__(self) -> None:
        self.handlers: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self.handlers.extend(handlers)


async def test_a_caller_who_vanishes_while_he_is_told_something_is_no_bug(
    backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """The write fails, and then the call is cancelled: it was logged as ours, with a traceback."""
    backend.add("team", "count")
    limits, doors, context = Limits(), Doors(), Vanished()
    calls = Calls(backend, limits)
    add_door(cast(Any, doors), Service(backend, limits), calls, Metrics(calls))
    details = SimpleNamespace(method="/disco.v1.Jobs/Watch")
    watch = doors.handlers[0].service(details).unary_stream
    request = jobs_pb2.WatchJobRequest(**JOB).SerializeToString()
    call = asyncio.ensure_future(watch(request, context))
    await context.failed.wait()
    call.cancel()  # as gRPC does
    with pytest.raises(asyncio.CancelledError):
        await call
    assert caplog.records == []


def test_a_caller_does_not_show_his_token() -> None:
    assert "secret" not in repr(Caller(name="alice", token="secret"))
