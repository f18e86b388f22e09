"""Connections between the job's processes: who is let in, who is not, and what each is told."""

import datetime
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from disco import Job
from disco.submission import job_spec
from disco.v1 import coordinator_pb2, coordinator_pb2_grpc, job_pb2
from disco_engine import rpc
from disco_engine.health import served_health
from disco_engine.local.engine import LocalEngine
from disco_engine.local.ports import ReservedPort
from disco_engine.results import ResultUnreachableError, read_part
from disco_engine.rpc import TLS_VARIABLE, IdentityError, TlsIdentity, credentials_of

TOKEN = "the job's token"
PATIENCE_S = 20.0
Key = ec.EllipticCurvePrivateKey


class Authority:
    """One job's authority, as the operator makes it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self._certificate = self._signed(self._name, self._key, x509.BasicConstraints(True, None))
        self.issue(directory, rpc.TLS_NAME)

    @property
    def identity(self) -> TlsIdentity:
        return TlsIdentity.from_directory(self.directory)

    def issue(self, directory: Path, name: str) -> None:
        """Write a new certificate for *name*, with its key and that of the authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")])
        certificate = self._signed(subject, key, x509.SubjectAlternativeName([x509.DNSName(name)]))
        (directory / "ca.crt").write_bytes(_pem(self._certificate))
        (directory / "tls.crt").write_bytes(_pem(certificate))
        (directory / "tls.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def _signed(
        self, subject: x509.Name, key: Key, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(extension, critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Echo(coordinator_pb2_grpc.CoordinatorServicer):
    async def Cancel(self, request: Any, context: Any) -> coordinator_pb2.CancelReply:
        return coordinator_pb2.CancelReply(already_over=True)

    def Work(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError

    def Watch(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def Values(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


class Server(NamedTuple):
    authority: Authority
    address: str


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """Serve with a job's certificate; afterwards the environment names none."""
    authority = Authority(tmp_path / "ours")
    made = rpc.aio_server(TOKEN)
    coordinator_pb2_grpc.add_CoordinatorServicer_to_server(Echo(), made)
    with monkeypatch.context() as environment:
        environment.setenv(TLS_VARIABLE, str(authority.directory))
        port = rpc.listen(made, "127.0.0.1", 0)
    await made.start()
    yield Server(authority, f"127.0.0.1:{port}")
    await made.stop(None)


async def answer_on(channel: grpc.aio.Channel, token: str = TOKEN) -> grpc.StatusCode:
    """Call over *channel*, and return how that ended."""
    stub = coordinator_pb2_grpc.CoordinatorStub(channel)
    request = coordinator_pb2.CancelRequest()
    metadata = credentials_of(token) if token else None
    async with channel:
        try:
            reply = await stub.Cancel(request, metadata=metadata, timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            return error.code()
    assert reply.already_over
    return grpc.StatusCode.OK


async def test_the_job_s_certificate_and_token_open_the_door(server: Server) -> None:
    channel = rpc.aio_channel(server.address, identity=server.authority.identity)
    assert await answer_on(channel) is grpc.StatusCode.OK


async def test_the_environment_s_certificate_is_shown_by_default(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TLS_VARIABLE, str(server.authority.directory))
    assert await answer_on(rpc.aio_channel(server.address)) is grpc.StatusCode.OK
    with rpc.sync_channel(server.address) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE_S)


@pytest.mark.parametrize("token", ["", "another job's"])
async def test_the_certificate_alone_is_not_enough(server: Server, token: str) -> None:
    channel = rpc.aio_channel(server.address, identity=server.authority.identity)
    assert await answer_on(channel, token) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_plaintext_client_is_not_let_in(server: Server) -> None:
    assert await answer_on(rpc.aio_channel(server.address)) is grpc.StatusCode.UNAVAILABLE


async def test_a_client_without_a_certificate_is_not_let_in(server: Server) -> None:
    ca = grpc.ssl_channel_credentials(server.authority.identity.ca)
    options = [("grpc.ssl_target_name_override", rpc.TLS_NAME)]
    channel = grpc.aio.secure_channel(server.address, ca, options=options)
    assert await answer_on(channel) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_job_is_not_let_in(server: Server, tmp_path: Path) -> None:
    """Even if its owner trusts us: the server must refuse."""
    other = Authority(tmp_path / "other").identity
    stranger = TlsIdentity(
        ca=server.authority.identity.ca, certificate=other.certificate, key=other.key
    )
    channel = rpc.aio_channel(server.address, identity=stranger)
    assert await answer_on(channel) is grpc.StatusCode.UNAVAILABLE


async def test_a_client_of_another_job_does_not_trust_us(server: Server, tmp_path: Path) -> None:
    """So that it shows its token to no one else: the client must refuse."""
    ours = server.authority.identity
    other = Authority(tmp_path / "other").identity
    distrustful = TlsIdentity(ca=other.ca, certificate=ours.certificate, key=ours.key)
    channel = rpc.aio_channel(server.address, identity=distrustful)
    assert await answer_on(channel) is grpc.StatusCode.UNAVAILABLE


async def test_a_server_s_certificate_must_be_made_for_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "ours")
    (tmp_path / "misnamed").mkdir()
    authority.issue(tmp_path / "misnamed", "somebody-else")
    server = rpc.aio_server(TOKEN)
    monkeypatch.setenv(TLS_VARIABLE, str(tmp_path / "misnamed"))
    port = rpc.listen(server, "127.0.0.1", 0)
    await server.start()
    channel = rpc.aio_channel(f"127.0.0.1:{port}", identity=authority.identity)
    assert await answer_on(channel) is grpc.StatusCode.UNAVAILABLE
    await server.stop(None)


async def test_without_certificates_all_is_plaintext() -> None:
    server = rpc.aio_server(TOKEN)
    coordinator_pb2_grpc.add_CoordinatorServicer_to_server(Echo(), server)
    port = rpc.listen(server, "127.0.0.1", 0)
    await server.start()
    assert TlsIdentity.from_environment() is None
    assert await answer_on(rpc.aio_channel(f"127.0.0.1:{port}")) is grpc.StatusCode.OK
    await server.stop(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "a-pod"])
async def test_without_certificates_nobody_else_can_be_served(host: str) -> None:
    with pytest.raises(IdentityError, match="without certificates, because others can reach it"):
        rpc.listen(rpc.aio_server(TOKEN), host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_without_certificates_this_machine_is_served(host: str) -> None:
    server = rpc.aio_server(TOKEN)
    try:
        assert rpc.listen(server, host, 0)
    except rpc.PortTakenError:
        assert host == "[::1]", "a machine may be without IPv6"
    await server.stop(None)


async def test_health_is_told_in_plaintext_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TLS_VARIABLE, str(Authority(tmp_path / "ours").directory))
    port = ReservedPort()
    async with served_health(port.port), grpc.aio.insecure_channel(port.address) as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=PATIENCE_S
        )
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    port.release()


@pytest.mark.parametrize("name", ["ca.crt", "tls.crt", "tls.key"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    directory = Authority(tmp_path / "ours").directory
    (directory / name).unlink()
    with pytest.raises(IdentityError, match=f"{name} cannot be read .No such file"):
        TlsIdentity.from_directory(directory)


@pytest.mark.parametrize(
    ("name", "named"),
    [("ca.crt", "ca.crt"), ("tls.crt", "tls.crt and tls.key"), ("tls.key", "tls.crt and tls.key")],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, name: str, named: str) -> None:
    directory = Authority(tmp_path / "ours").directory
    (directory / name).write_text("nothing of the kind")
    with pytest.raises(IdentityError, match=f"{named} in .* cannot be used"):
        TlsIdentity.from_directory(directory)


def test_a_key_of_another_certificate_is_noticed(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    (ours.directory / "tls.key").write_bytes(other.identity.key)
    with pytest.raises(IdentityError, match=r"tls\.crt and tls\.key in .* cannot be used"):
        ours.identity  # noqa: B018


def test_a_key_does_not_show_in_a_log(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(Authority(tmp_path / "ours").identity)


class Words(Job):
    """A job whose records go through all of the processes."""

    partitions = 2

    @staticmethod
    def map(line, params):  # type: ignore[no-untyped-def]
        assert TLS_VARIABLE not in os.environ, "slots need no way to the others"
        for word in line.split():
            yield word, 1

    @staticmethod
    def reduce(pairs, params):  # type: ignore[no-untyped-def]
        yield "words", sum(count for _, count in pairs)


def test_a_whole_job_runs_over_such_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TLS_VARIABLE, str(Authority(tmp_path / "ours").directory))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spec = job_spec(Words(), {"input": ["raw://a b c\n", "raw://d e\n"]}, name="words")
    with LocalEngine(spec, token=TOKEN, partition_services=2) as engine:
        progress = engine.start().wait(60.0)
        assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress
        part = engine.results()[0]
        frames = read_part(part.service.address, TOKEN, spec.uid, part.stage, part.task)
        assert list(frames)
        monkeypatch.delenv(TLS_VARIABLE)
        with pytest.raises(ResultUnreachableError):
            list(
                read_part(
                    part.service.address, TOKEN, spec.uid, part.stage, part.task, patience_s=0.0
                )
            )


@pytest.mark.parametrize("program", ["coordinator", "partition", "worker"])
def test_a_process_that_cannot_prove_who_it_is_does_not_start(tmp_path: Path, program: str) -> None:
    status, said = ended(program, tmp_path, "/nowhere")
    assert status in (1, 2)
    assert "/nowhere/ca.crt cannot be read" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("program", ["coordinator", "partition"])
def test_a_process_does_not_serve_everybody_without_certificates(
    tmp_path: Path, program: str
) -> None:
    status, said = ended(program, tmp_path, "", "--host", "0.0.0.0")
    assert status == 1
    assert "cannot listen on 0.0.0.0:0 without certificates" in said
    assert "Traceback" not in said


def ended(program: str, tmp_path: Path, tls: str, *more: str) -> tuple[int, str]:
    """Run a program that cannot start, and return its status and what it said."""
    job_file = tmp_path / "job"
    job_file.write_bytes(
        job_pb2.JobSpec(uid="job-1", settings=job_pb2.Settings()).SerializeToString()
    )
    flags = {
        "coordinator": f"--job-file {job_file} --partition-service ps-0=127.0.0.1:1",
        "partition": f"--job-uid job-1 --service-id ps-0 --node n --data-dir {tmp_path}",
        "worker": f"--coordinator 127.0.0.1:1 --worker-id w --node n --scratch-dir {tmp_path}",
    }
    run = subprocess.run(
        [sys.executable, "-P", "-m", f"disco_engine.{program}", *flags[program].split(), *more],
        env={**os.environ, rpc.TOKEN_VARIABLE: TOKEN, TLS_VARIABLE: tls},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    return run.returncode, run.stderr
