"""What a user is told when a server cannot be reached, or is not the one that is meant."""

import asyncio
import datetime
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from disco.client.aio import AsyncClient
from disco.client.connection import resolve
from disco.client.errors import NotConnectedError, SettingsError
from disco_gateway.certificate import Certificate
from disco_gateway.fake import TOKEN, FakeBackend

from .conftest import Replicas

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """An authority of a test's own, and the certificate that it gave to a server."""

    directory: Path
    name: str = "gateway.test"
    valid: datetime.timedelta = DAY

    def __post_init__(self) -> None:
        self.directory.mkdir()
        key, server_key = (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP256R1()),
        )
        own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        now = datetime.datetime.now(datetime.UTC)
        ca = (
            x509.CertificateBuilder()
            .subject_name(own)
            .issuer_name(own)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        names = [x509.DNSName(self.name)]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .issuer_name(own)
            .public_key(server_key.public_key())
            .serial_number(2)
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + self.valid)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        pem = serialization.Encoding.PEM
        self.served.chain.write_bytes(certificate.public_bytes(pem))
        self.served.key.write_bytes(
            server_key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @property
    def ca(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def served(self) -> Certificate:
        return Certificate(chain=self.directory / "tls.crt", key=self.directory / "tls.key")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
async def secure(backend: FakeBackend, authority: Authority) -> AsyncIterator[Replicas]:
    replicas = Replicas(backend)
    await replicas.start(tls=authority.served)
    yield replicas
    await replicas.stop()


async def told(connection_of: object) -> NotConnectedError:
    """Return why a connection is none."""
    with pytest.raises(NotConnectedError) as caught:
        async with AsyncClient(connection_of) as client:  # type: ignore[arg-type]
            await client.get("words", namespace="default")
    return caught.value


async def test_a_private_authority_is_known_by_its_file(
    secure: Replicas, authority: Authority
) -> None:
    connection = secure.connection(ca_file=authority.ca, server_name="gateway.test")
    async with AsyncClient(connection) as client:
        assert (await client.about()).user == "alice"


async def test_the_certificate_of_an_unknown_authority_is_not_trusted(
    secure: Replicas, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    error = await told(secure.connection(ca_file=other.ca, server_name="gateway.test"))
    assert "its certificate is not to be trusted" in error.reason
    assert "ca_file" in error.remedy


async def test_without_a_file_the_usual_authorities_count(secure: Replicas) -> None:
    error = await told(secure.connection(insecure=False, server_name="gateway.test"))
    assert "its certificate is not to be trusted" in error.reason


async def test_a_certificate_for_another_name_is_told(
    secure: Replicas, authority: Authority
) -> None:
    error = await told(secure.connection(ca_file=authority.ca))
    assert "its certificate is not for the name 127.0.0.1" in error.reason
    assert "server_name" in error.remedy


async def test_an_expired_certificate_is_told(backend: FakeBackend, tmp_path: Path) -> None:
    old = Authority(tmp_path / "old", valid=-DAY)
    replicas = Replicas(backend)
    await replicas.start(tls=old.served)
    error = await told(replicas.connection(ca_file=old.ca, server_name="gateway.test"))
    assert "expired" in error.reason
    assert "clock" in error.remedy
    await replicas.stop()


async def test_plaintext_to_a_server_with_tls_is_told(secure: Replicas) -> None:
    error = await told(secure.connection())
    assert "it speaks no HTTP/2 without TLS" in error.reason
    assert "ca_file" in error.remedy


async def test_tls_to_a_server_without_is_told(gateway: Replicas, authority: Authority) -> None:
    error = await told(gateway.connection(ca_file=authority.ca))
    assert "it does not speak TLS" in error.reason
    assert "insecure" in error.remedy


async def test_nothing_listening_is_told_with_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    error = await told(resolve(server=f"127.0.0.1:{port}", token=TOKEN, environment={}))
    assert str(error) == (
        f"no Disco server at 127.0.0.1:{port}: nothing listens there (connection refused);"
        " start one with disco serve, or correct the address"
    )


async def test_a_name_that_nobody_knows_is_told() -> None:
    error = await told(resolve(server="gateway.invalid:443", token=TOKEN, environment={}))
    assert "cannot be reached" in error.reason
    assert error.address == "gateway.invalid:443"


async def test_something_else_that_listens_is_told() -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-something\r\n")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await told(resolve(server=f"127.0.0.1:{port}", token=TOKEN, environment={}))
    assert "speaks no HTTP/2" in error.reason


async def test_another_service_that_speaks_grpc_is_told() -> None:
    import grpc.aio

    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    error = await told(resolve(server=f"127.0.0.1:{port}", token=TOKEN, environment={}))
    assert "it does not know Get" in error.reason
    assert "address of a Disco gateway" in error.remedy
    await server.stop(None)


async def test_a_ca_file_that_is_none_is_told_before_anything_is_sent(
    gateway: Replicas, tmp_path: Path
) -> None:
    wrong = tmp_path / "ca.crt"
    wrong.write_text("-----BEGIN NONSENSE-----")
    for path, message in ((wrong, "holds no certificate"), (tmp_path / "no", "cannot be read")):
        with pytest.raises(SettingsError, match=message):
            async with AsyncClient(gateway.connection(ca_file=path)):
                pass


async def test_a_server_that_starts_a_moment_later_is_found(backend: FakeBackend) -> None:
    """A gateway that was just replaced may refuse for a moment, although nothing is wrong."""
    replicas = Replicas(backend)
    await replicas.start()
    async with AsyncClient(replicas.connection()) as client:
        await client.about()
        await replicas.stop()
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(client.about())
            await replicas.start()
        assert asking.result().user == "alice"
    await replicas.stop()
