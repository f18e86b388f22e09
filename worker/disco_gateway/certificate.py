"""What the doors prove who they are with: a certificate in files, renewed while it is used."""

import logging
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from disco_engine.rpc import IdentityError

_log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Where a certificate is.

    Attributes:
        chain: File with the certificate and those of the authorities between, PEM.
        key: File with its private key, PEM.
    """

    chain: Path
    key: Path

    def names(self) -> tuple[str, ...]:
        """Return the hosts that it is for: names, which may begin with "*.", and IP addresses.

        Raises:
            IdentityError: It cannot be used, or no client would take it.
        """
        try:
            seen = self._seen_by(None)
        except ssl.SSLCertVerificationError as error:
            raise IdentityError(
                f"{self.chain} is taken by no client ({error.verify_message}): have it replaced"
            ) from error
        found = tuple(str(name) for _, name in seen.get("subjectAltName", ()))
        if not found:
            raise IdentityError(
                f"{self.chain} names no host (subjectAltName), so that no client takes it: have it"
                " replaced"
            )
        return found

    def is_for(self, host: str) -> bool:
        """Tell whether clients that know the server by *host* take it.

        Raises:
            IdentityError: It cannot be used.
        """
        try:
            self._seen_by(host)
        except ssl.SSLCertVerificationError:
            return False
        return True

    def _seen_by(self, host: str | None) -> dict[str, Any]:
        """Return what a client sees of it who was given it, and expects *host*; None: anybody.

        He connects in memory: the standard library takes certificates apart in handshakes only.
        """
        server = _Files(self).current().for_http
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = host is not None
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        client.load_verify_locations(self.chain)
        sent, answered = ssl.MemoryBIO(), ssl.MemoryBIO()
        asking = client.wrap_bio(answered, sent, server_hostname=host)
        answering = server.wrap_bio(sent, answered, server_side=True)
        for side in (asking, answering, asking):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        return asking.getpeercert() or {}

    def for_grpc(self) -> grpc.ServerCredentials:
        """Return what a gRPC server shows; what is in the files when a connection is opened.

        Raises:
            IdentityError: They cannot be used.
        """
        files = _Files(self)
        told = files.current().for_grpc

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            # None: as before. What is replaced while other handshakes use it breaks them, if only
            # once in some hundreds.
            nonlocal told
            before, told = told, files.current().for_grpc
            return None if told is before else told

        # Its types leave out that None may be returned.
        return grpc.dynamic_ssl_server_credentials(told, renewed)  # type: ignore[arg-type]

    def for_http(self) -> ssl.SSLContext:
        """Return what an HTTP server shows; what is in the files when a connection is opened.

        Raises:
            IdentityError: They cannot be used.
        """
        files = _Files(self)
        context = files.current().for_http

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, _: object, __: object) -> None:
            connection.context = files.current().for_http

        context.sni_callback = choose
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    stamp: _Stamp
    for_grpc: grpc.ServerCertificateConfiguration
    for_http: ssl.SSLContext


class _Files:
    """The content of the files, read again when they change; gRPC asks on threads of its own."""

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate
        self._lock = threading.Lock()
        self._content = self._read(self._stamp())

    def current(self) -> _Content:
        """Return what is in the files; what was, as long as that cannot be used."""
        with self._lock:
            try:
                stamp = self._stamp()
                if stamp != self._content.stamp:
                    self._content = self._read(stamp)
                    _log.info("certificate renewed", extra={"chain": str(self._certificate.chain)})
            except IdentityError as error:
                _log.warning("certificate not renewed", extra={"error": str(error)})
            return self._content

    def _stamp(self) -> _Stamp:
        """Return what tells one content of the files from another."""
        paths = (self._certificate.chain, self._certificate.key)
        try:
            return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in (p.stat() for p in paths))
        except OSError as error:
            raise IdentityError(
                f"{error.filename} cannot be read ({error.strerror}): the certificate and its key"
                " must be files that this process may read"
            ) from error

    def _read(self, stamp: _Stamp) -> _Content:
        chain, key = self._certificate.chain, self._certificate.key
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(chain, key)
            pair = (key.read_bytes(), chain.read_bytes())
        except OSError as error:  # ssl.SSLError is one
            raise IdentityError(
                f"{chain} and {key} cannot be used ({error}): both must be PEM, and the key must be"
                " that of the certificate"
            ) from error
        return _Content(
            stamp=stamp,
            for_grpc=grpc.ssl_server_certificate_configuration([pair]),
            for_http=context,
        )
