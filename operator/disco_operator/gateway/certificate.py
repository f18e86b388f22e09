"""What the gateway proves with who it is, if nobody gives it a certificate: derived from the key.

Every replica derives the same, after every restart, so nothing has to be made, kept or renewed by
anybody; who calls needs the authority's certificate, which is published in a ConfigMap.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from disco_engine.rpc import TlsIdentity
from disco_gateway.certificate import Certificate
from disco_operator.cluster import Cluster, Kind, UnavailableError
from disco_operator.identity import MASTER_SECRET, Identities
from disco_operator.model import GATEWAY, Json, read_time

CA_ENTRY = "ca.crt"


def names_of(service: str, home: str, extra: Sequence[str]) -> list[str]:
    """Return all names under which the gateway may be called, each once.

    Args:
        service: Of the cluster.
        home: Its namespace.
        extra: What else leads to it: load balancers, ingresses, addresses.
    """
    inside = [
        service,
        f"{service}.{home}",
        f"{service}.{home}.svc",
        f"{service}.{home}.svc.cluster.local",
    ]
    # Who forwards a port calls this machine.
    here = ["localhost", "127.0.0.1", "::1"]
    return list(dict.fromkeys([*inside, *here, *extra]))


async def derived(
    cluster: Cluster, identities: Identities, home: str, names: Sequence[str]
) -> TlsIdentity:
    """Return the gateway's certificate, valid from when the master key was made.

    Raises:
        ClusterError: When that was, cannot be found out.
    """
    secret = await cluster.get(Kind.SECRET, home, MASTER_SECRET)
    if secret is None:
        raise UnavailableError(f"Secret {home}/{MASTER_SECRET} was deleted as it was read")
    made = read_time(secret["metadata"]["creationTimestamp"])
    return identities.gateway_identity(home, made, names)


def written(identity: TlsIdentity, directory: Path) -> Certificate:
    """Write a certificate and its key into a directory of ours, and return where they are."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    chain, key = directory / "tls.crt", directory / "tls.key"
    for path, content in ((chain, identity.certificate + identity.ca), (key, identity.key)):
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    return Certificate(chain=chain, key=key)


def published(name: str, home: str, ca: bytes) -> Json:
    """Return the ConfigMap that tells callers whose word to take."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": home,
            "labels": {
                "app.kubernetes.io/name": "disco-gateway",
                "app.kubernetes.io/managed-by": GATEWAY,
            },
        },
        "data": {CA_ENTRY: ca.decode()},
    }
