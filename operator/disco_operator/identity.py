"""The secrets of jobs, and of the gateway: all derived from one master key.

Nothing of a job's has to be read back: the operator derives it again when it calls the job's
coordinator, so it needs no right to read Secrets where users work. The names of what is derived
are part of the derivation; changing one locks the operator out of all running jobs.
"""

import base64
import binascii
import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from disco_engine.rpc import TLS_NAME, TlsIdentity
from disco_operator.cluster import Cluster, Kind, UnavailableError
from disco_operator.model import MANAGER

MASTER_SECRET = "disco-operator-key"
_MASTER_ENTRY = "key"
_MASTER_BYTES = 32

_SALT = b"discoproject.org/operator/v1"
_VALID_FOR = timedelta(days=3653)
_CLOCKS_DIFFER_BY = timedelta(hours=1)

# Order of the group of P-256: FIPS 186-5 (SP 800-186), section 3.2.1.3.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


_JOB_NAMES = (x509.DNSName(TLS_NAME),)


class MasterKeyError(Exception):
    """The Secret with the master key is there, but is not one: a person must repair it."""


async def master_key(cluster: Cluster, namespace: str) -> bytes:
    """Return the master key from its Secret, made now if there is none.

    If two replicas make it at once, the API server takes one, and both go on with that.

    Raises:
        MasterKeyError: The Secret does not hold a key.
        ClusterError: It can be neither read nor made.
    """
    found = await cluster.get(Kind.SECRET, namespace, MASTER_SECRET)
    if found is None:
        fresh = base64.b64encode(secrets.token_bytes(_MASTER_BYTES)).decode()
        await cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": MASTER_SECRET,
                    "namespace": namespace,
                    "labels": {
                        "app.kubernetes.io/name": "disco",
                        "app.kubernetes.io/managed-by": MANAGER,
                    },
                },
                "type": "Opaque",
                "immutable": True,
                "data": {_MASTER_ENTRY: fresh},
            }
        )
        found = await cluster.get(Kind.SECRET, namespace, MASTER_SECRET)
    if found is None:
        raise UnavailableError(f"Secret {namespace}/{MASTER_SECRET} was deleted as it was made")
    try:
        key = base64.b64decode(found.get("data", {}).get(_MASTER_ENTRY, ""), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _MASTER_BYTES:
        raise MasterKeyError(
            f"Secret {namespace}/{MASTER_SECRET} must have {_MASTER_BYTES} random bytes under"
            f" {_MASTER_ENTRY!r}; restore it, or delete it: then a new one is made, and jobs that"
            " run now cannot be followed any more"
        )
    return key


class Identities:
    """Derives what jobs, and the operator towards them, prove who they are with."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    def job_identity(self, uid: str, created: datetime) -> Mapping[str, bytes]:
        """Return the content of a job's Secret: ``token``, ``ca.crt``, ``tls.crt``, ``tls.key``.

        Asked twice, the answers are the same.

        Args:
            uid: The job's.
            created: When; the certificates are valid from an hour before, for ten years.
        """
        identity = self._identity(uid, created, "job")
        return {
            "token": self.token(uid).encode(),
            "ca.crt": identity.ca,
            "tls.crt": identity.certificate,
            "tls.key": identity.key,
        }

    def client_identity(self, uid: str, created: datetime) -> TlsIdentity:
        """Return what the operator shows to a job's processes, and knows them by."""
        return self._identity(uid, created, "operator")

    def gateway_identity(self, home: str, created: datetime, names: Sequence[str]) -> TlsIdentity:
        """Return what a gateway proves to its callers who it is: the same on all replicas.

        Args:
            home: The gateway's namespace.
            created: When the master key was made; the certificates are valid for ten years.
            names: DNS names and IP addresses under which it is called.
        """
        return self._identity(
            f"gateway/{home}",
            created,
            "gateway",
            authority=f"disco gateway of {home}",
            names=[_general_name(name) for name in names],
        )

    def token(self, uid: str) -> str:
        """Return the token that each call to a process of the job carries."""
        return base64.urlsafe_b64encode(self._derive(uid, "token", 32)).rstrip(b"=").decode()

    def _identity(
        self,
        uid: str,
        created: datetime,
        holder: str,
        *,
        authority: str = "",
        names: Sequence[x509.GeneralName] = _JOB_NAMES,
    ) -> TlsIdentity:
        authority_key = self._private_key(uid, "authority")
        authority_name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, authority or f"job {uid}")]
        )
        root = (
            self._certificate(uid, created, "authority")
            .subject_name(authority_name)
            .issuer_name(authority_name)
            .public_key(authority_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(_identifier(authority_key), critical=False)
            .sign(authority_key, hashes.SHA256(), ecdsa_deterministic=True)  # RFC 6979
        )
        key = self._private_key(uid, holder)
        certificate = (
            self._certificate(uid, created, holder, names)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"disco {holder}")]))
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(_identifier(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
            .sign(authority_key, hashes.SHA256(), ecdsa_deterministic=True)  # RFC 6979
        )
        return TlsIdentity(
            ca=root.public_bytes(serialization.Encoding.PEM),
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
            key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def _certificate(
        self,
        uid: str,
        created: datetime,
        holder: str,
        names: Sequence[x509.GeneralName] = _JOB_NAMES,
    ) -> x509.CertificateBuilder:
        begins = created.astimezone(UTC) - _CLOCKS_DIFFER_BY
        # No two certificates of an authority have the same: those for other names have another.
        about = "" if names == _JOB_NAMES else f" for {','.join(str(n.value) for n in names)}"
        number = int.from_bytes(self._derive(uid, f"{holder} serial{about}", 16))
        serial = number >> 1  # positive: RFC 5280
        return (
            x509.CertificateBuilder()
            .serial_number(serial or 1)
            .not_valid_before(begins)
            .not_valid_after(begins + _VALID_FOR)
        )

    def _private_key(self, uid: str, holder: str) -> ec.EllipticCurvePrivateKey:
        # 64 bits more than the order has, so that the remainder is as good as uniform:
        # FIPS 186-5, appendix A.2.1.
        wide = int.from_bytes(self._derive(uid, f"{holder} key", 40))
        return ec.derive_private_key(wide % (_P256_ORDER - 1) + 1, ec.SECP256R1())

    def _derive(self, uid: str, purpose: str, length: int) -> bytes:
        """Derive bytes from the master key: HKDF with SHA-256 (RFC 5869)."""
        info = f"{purpose}/{uid}".encode()
        return HKDF(hashes.SHA256(), length=length, salt=_SALT, info=info).derive(self._master)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _identifier(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
