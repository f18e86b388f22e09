"""Certificates meet in real connections: what two mintings have in common decides over them."""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from disco_engine.rpc import TLS_NAME, TlsIdentity, aio_channel
from disco_operator.cluster import Kind
from disco_operator.fake_cluster import FakeCluster
from disco_operator.identity import MASTER_SECRET, Identities, MasterKeyError, master_key
from disco_operator.model import Json

UID = "6f1c3c1e-0000-4000-8000-000000000001"
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime.now(UTC)
MASTER = bytes(range(32))

METHOD = "/test.Echo/Say"


def identities(master: bytes = MASTER) -> Identities:
    return Identities(master)


def certificate(data: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(data)


def test_a_job_minted_twice_has_the_same_keys_and_equivalent_certificates() -> None:
    first, second = (identities().job_identity(UID, CREATED) for _ in range(2))
    assert first.keys() == {"token", "ca.crt", "tls.crt", "tls.key"}
    assert first["token"] == second["token"]
    assert first["tls.key"] == second["tls.key"]
    for name in ("ca.crt", "tls.crt"):
        one, other = certificate(first[name]), certificate(second[name])
        assert one.tbs_certificate_bytes == other.tbs_certificate_bytes


def test_what_is_derived_never_changes() -> None:
    """Operators of all versions must derive the same, or they cannot call jobs that run."""
    assert identities().token(UID) == "NUsSnnBun07Ol7em3DdWNdCaEuBki6V8XYITyu3O52c"
    authority = certificate(identities().client_identity(UID, CREATED).ca)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert identifier.digest.hex() == "6ee2dd23944543f2412b2ac7000228bd441415e4"


def test_jobs_and_installations_have_nothing_in_common() -> None:
    mine = identities().job_identity(UID, CREATED)
    for other in (
        identities().job_identity("another-uid", CREATED),
        identities(bytes(32)).job_identity(UID, CREATED),
    ):
        assert all(mine[name] != other[name] for name in mine)


def test_the_operator_has_a_key_of_its_own_and_the_jobs_authority() -> None:
    job = identities().job_identity(UID, CREATED)
    operator = identities().client_identity(UID, CREATED)
    assert operator.key != job["tls.key"]
    assert certificate(operator.ca).public_key() == certificate(job["ca.crt"]).public_key()


def test_the_certificate_is_the_keys_and_says_what_it_is_for() -> None:
    job = identities().job_identity(UID, CREATED)
    leaf, authority = certificate(job["tls.crt"]), certificate(job["ca.crt"])
    key = load_pem_private_key(job["tls.key"], None)
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [TLS_NAME]
    uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {
        x509.oid.ExtendedKeyUsageOID.SERVER_AUTH,
        x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_it_is_valid_an_hour_before_the_job_and_for_years() -> None:
    job = identities().job_identity(UID, CREATED)
    for name in ("ca.crt", "tls.crt"):
        found = certificate(job[name])
        assert found.not_valid_before_utc == CREATED - timedelta(hours=1)
        assert found.not_valid_after_utc > CREATED + timedelta(days=3600)


def test_the_token_fits_into_an_http_header() -> None:
    token = identities().token(UID)
    assert len(token) == 43
    assert token.replace("-", "").replace("_", "").isalnum()


# --- real connections


async def server_of(secret: Mapping[str, bytes]) -> tuple[grpc.aio.Server, int]:
    """Start a server with a job's Secret that answers what it is told."""

    async def say(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    handlers: Any = {"Say": grpc.unary_unary_rpc_method_handler(say)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    identity = TlsIdentity(
        ca=secret["ca.crt"], certificate=secret["tls.crt"], key=secret["tls.key"]
    )
    port = server.add_secure_port("127.0.0.1:0", identity.for_servers())
    await server.start()
    return server, port


async def say(port: int, identity: TlsIdentity) -> bytes:
    async with aio_channel(f"127.0.0.1:{port}", identity=identity) as channel:
        call: Any = channel.unary_unary(METHOD)
        answer: bytes = await call(b"hello", timeout=10)
        return answer


async def test_a_client_minted_later_talks_to_a_server_with_the_secrets_files() -> None:
    server, port = await server_of(identities().job_identity(UID, CREATED))
    try:
        assert await say(port, identities().client_identity(UID, LATER)) == b"hello"
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    "stranger",
    [
        Identities(MASTER).client_identity("another-uid", LATER),
        Identities(bytes(32)).client_identity(UID, LATER),
    ],
    ids=["of another job", "of another installation"],
)
async def test_a_stranger_is_refused(stranger: TlsIdentity) -> None:
    server, port = await server_of(identities().job_identity(UID, CREATED))
    ours = identities().client_identity(UID, LATER)
    disguised = TlsIdentity(ca=ours.ca, certificate=stranger.certificate, key=stranger.key)
    try:
        for identity in (stranger, disguised):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await say(port, identity)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        await server.stop(0)


async def test_pythons_own_tls_accepts_the_chain_in_strict_mode(tmp_path: Path) -> None:
    secret = identities().job_identity(UID, CREATED)
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(secret[name])
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    calling = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    calling.verify_flags |= ssl.VERIFY_X509_STRICT

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=serving)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=calling, server_hostname=TLS_NAME
        )
        assert await reader.read() == b"hello"
        writer.close()


# --- the master key


async def test_the_master_key_is_made_once_and_then_read() -> None:
    cluster = FakeCluster()
    first = await master_key(cluster, "home")
    assert len(first) == 32
    assert await master_key(cluster, "home") == first
    assert cluster.writes == [f"create secrets home/{MASTER_SECRET}"]


async def test_a_replica_that_makes_the_key_too_late_takes_the_other_ones() -> None:
    class Race(FakeCluster):
        """Another replica creates the Secret just before we do."""

        async def create(self, manifest: Json) -> Json | None:
            theirs = manifest | {"data": {"key": base64.b64encode(MASTER).decode()}}
            self.add(theirs)
            return await super().create(manifest)

    assert await master_key(Race(), "home") == MASTER


@pytest.mark.parametrize("data", [{}, {"key": "c2hvcnQ="}, {"key": "%%%"}])
async def test_a_secret_that_holds_no_key_is_reported_not_replaced(data: Json) -> None:
    cluster = FakeCluster()
    cluster.add(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"namespace": "home", "name": MASTER_SECRET},
            "data": data,
        }
    )
    with pytest.raises(MasterKeyError, match=f"home/{MASTER_SECRET}"):
        await master_key(cluster, "home")
    assert await cluster.get(Kind.SECRET, "home", MASTER_SECRET) is not None
