"""Finds out why nothing that can be used answers at an address, in words a user can act on.

gRPC's own words name its source files and change with its versions. So an address that could not be
connected to is tried once more without gRPC: look up the name, connect, shake hands.
"""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from disco_engine.rpc import is_loopback

_STEP_S = 5.0
_ALPN = ["h2"]


class Finding(NamedTuple):
    """What was tried and what came of it, and what to do; the reason empty: nothing is wrong."""

    reason: str
    remedy: str = ""


async def examine(address: str, *, plaintext: bool, ca: bytes | None, server_name: str) -> Finding:
    """Return what is wrong with a server's address.

    Args:
        address: host:port.
        plaintext: Without TLS.
        ca: Certificates of the authorities whose word counts, PEM; None: the usual ones.
        server_name: The name that the certificate must have; empty: the host.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        async with asyncio.timeout(_STEP_S):
            if plaintext:
                return await _examine_plain(host, int(port))
            return await _examine_tls(host, int(port), ca, server_name or host)
    except TimeoutError:
        return Finding(
            f"it does not answer within {_STEP_S:g} s",
            "see whether the address is right, and whether a firewall is between you and it",
        )
    except ssl.SSLCertVerificationError as error:
        return _wrong_certificate(error, server_name or host)
    except ssl.SSLError as error:
        return Finding(
            f"it does not speak TLS ({(error.reason or str(error)).lower().replace('_', ' ')})",
            "correct the port, or say that the connection has no TLS (insecure)",
        )
    except OSError as error:
        return _unreachable(error, host)


async def _examine_plain(host: str, port: int) -> Finding:
    """Try what a plaintext client does first, and see whether the other side speaks HTTP/2."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # The preface of HTTP/2, and an empty SETTINGS frame: RFC 9113, section 3.4.
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        await writer.drain()
        with suppress(ConnectionError):
            head = await reader.read(9)
            if len(head) == 9 and head[3] == 4:  # SETTINGS
                return Finding("")
        return Finding(
            "something listens there, but it speaks no HTTP/2 without TLS",
            "correct the port, or connect with TLS (insecure: false, or a ca_file)",
        )
    finally:
        writer.close()


async def _examine_tls(host: str, port: int, ca: bytes | None, name: str) -> Finding:
    context = ssl.create_default_context(cadata=None if ca is None else ca.decode())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # set from Python 3.13 on, but not by gRPC
    context.set_alpn_protocols(_ALPN)
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    if chosen in _ALPN:
        return Finding("")
    return Finding(
        "it speaks TLS, but no HTTP/2", "correct the port: what answers there is no Disco gateway"
    )


def _wrong_certificate(error: ssl.SSLCertVerificationError, name: str) -> Finding:
    reason = error.verify_message or str(error)
    if "ostname mismatch" in reason or "IP address mismatch" in reason:
        return Finding(
            f"its certificate is not for the name {name} ({reason})",
            "correct the address, or say which name the certificate has (server_name)",
        )
    if "expired" in reason:
        return Finding(
            f"its certificate is not to be trusted ({reason})",
            "have it replaced, and see that the clock of this machine is right",
        )
    return Finding(
        f"its certificate is not to be trusted ({reason})",
        "name the file with the certificate of its authority (ca_file, DISCO_CA_FILE), if you know"
        " where it comes from",
    )


def _unreachable(error: OSError, host: str) -> Finding:
    if isinstance(error, ConnectionRefusedError) or "refused" in str(error):
        return Finding(
            "nothing listens there (connection refused)",
            "start one with disco serve, or correct the address"
            if is_loopback(host)
            else "correct the address, or see whether the gateway runs",
        )
    reason = error.strerror or str(error)
    return Finding(f"it cannot be reached ({reason})", "correct the address")


def read_ca(path: Path) -> bytes:
    """Return the certificates in a file.

    Raises:
        ValueError: It cannot be read, or holds no certificate in PEM.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    try:
        ssl.create_default_context(cadata=content.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} holds no certificate in PEM") from error
    return content
