"""The gateway's certificate: the same on every replica, and good for many handshakes at once."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from disco_operator.gateway.certificate import written
from disco_operator.identity import Identities

MADE = datetime(2026, 1, 2, tzinfo=UTC)
NAMES = ["disco-gateway.home.svc", "192.0.2.7"]

# In a process of its own, because the way it failed was a crash in gRPC's core.
HANDSHAKES = """
import asyncio
import sys
from pathlib import Path

import grpc
import grpc.aio

from disco.v1 import jobs_pb2, jobs_pb2_grpc
from disco_gateway.certificate import Certificate
from disco_gateway.fake import FakeBackend
from disco_gateway.serving import serving

folder = Path(sys.argv[1])
ca = (folder / "ca.crt").read_bytes()
options = [
    ("grpc.ssl_target_name_override", "disco-gateway.home.svc"),
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
]


async def call(port):
    credentials = grpc.ssl_channel_credentials(ca)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        await jobs_pb2_grpc.JobsStub(channel).About(jobs_pb2.AboutRequest(), timeout=60)


async def main():
    certificate = Certificate(chain=folder / "tls.crt", key=folder / "tls.key")
    async with serving(FakeBackend(), tls=certificate) as served:
        for _ in range(3):
            await asyncio.gather(*(call(served.grpc_port) for _ in range(200)))


asyncio.run(main())
"""


def test_every_replica_derives_the_same() -> None:
    first, again = (Identities(b"k" * 32).gateway_identity("home", MADE, NAMES) for _ in range(2))
    assert (first.ca, first.certificate, first.key) == (again.ca, again.certificate, again.key)


def test_other_names_are_another_certificate_of_the_same_authority() -> None:
    identities = Identities(b"k" * 32)
    first = identities.gateway_identity("home", MADE, NAMES)
    other = identities.gateway_identity("home", MADE, ["a.example"])
    assert first.ca == other.ca
    one, two = (x509.load_pem_x509_certificate(i.certificate) for i in (first, other))
    assert one.serial_number != two.serial_number
    names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == NAMES[:1]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == NAMES[1:]


def test_a_gateway_elsewhere_has_another_authority() -> None:
    identities = Identities(b"k" * 32)
    here, there = (identities.gateway_identity(home, MADE, NAMES) for home in ("a", "b"))
    assert here.ca != there.ca


def test_the_key_is_for_nobody_else(tmp_path: Path) -> None:
    identity = Identities(b"k" * 32).gateway_identity("home", MADE, NAMES)
    certificate = written(identity, tmp_path / "tls")
    written(identity, tmp_path / "tls")  # a container that is started again
    assert certificate.key.stat().st_mode & 0o777 == 0o600


def test_hundreds_may_connect_at_once(tmp_path: Path) -> None:
    """A server that is given its certificate anew for each handshake, although it is the old one,
    replaces what others are in the middle of using: 200 watchers once ended a gateway."""
    identity = Identities(b"k" * 32).gateway_identity("home", MADE, NAMES)
    written(identity, tmp_path)
    (tmp_path / "ca.crt").write_bytes(identity.ca)
    done = subprocess.run(
        [sys.executable, "-c", HANDSHAKES, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
