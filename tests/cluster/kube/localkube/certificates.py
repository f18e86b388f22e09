"""Certificates and kubeconfigs, made with openssl."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

from .addresses import API_URL
from .common import output, write

OPENSSL_CONFIG = """\
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def certificate(stem: Path, subject: str, authority: Path | None = None, names: str = "") -> Path:
    """Make `stem`.crt and `stem`.key: a CA, or a certificate signed by the CA `authority`."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".cnf") as config:
        config.write(OPENSSL_CONFIG)
        config.flush()
        output(
            "openssl",
            "req",
            "-x509",
            "-config",
            config.name,
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "3650",
            "-subj",
            subject,
            "-keyout",
            f"{stem}.key",
            "-out",
            f"{stem}.crt",
            *(
                ("-extensions", "leaf", "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key")
                if authority
                else ("-extensions", "ca")
            ),
            *(("-addext", f"subjectAltName={names}") if names else ()),
        )
    return stem


def kubeconfig(path: Path, stem: Path, authority: Path) -> None:
    """Write a self-contained kubeconfig for the certificate `stem`."""

    def data(file: str) -> str:
        return base64.b64encode(Path(file).read_bytes()).decode()

    write(
        path,
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "kube",
            "clusters": [
                {
                    "name": "kube",
                    "cluster": {
                        "server": API_URL,
                        "certificate-authority-data": data(f"{authority}.crt"),
                    },
                }
            ],
            "users": [
                {
                    "name": stem.name,
                    "user": {
                        "client-certificate-data": data(f"{stem}.crt"),
                        "client-key-data": data(f"{stem}.key"),
                    },
                }
            ],
            "contexts": [{"name": "kube", "context": {"cluster": "kube", "user": stem.name}}],
        },
        0o600,
    )
