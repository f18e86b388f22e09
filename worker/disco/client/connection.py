"""Which server to talk to, and as whom: found in arguments, environment, config file or pod.

A ``Connection`` only says so; ``disco.client.aio`` opens it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from disco.client.config import Kubectl

DEFAULT_PORT = 8990


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A server, and what to show it.

    Attributes:
        server: What to call the server in messages and URLs: ``host:port``, or the name of the
            context whose server is reached through kubectl.
        address: ``host:port`` to connect to; empty: kubectl tells.
        plaintext: Without TLS: only on this machine, or where the user has said so.
        ca_file: Certificates of the authorities whose word counts, PEM; None: the usual ones.
        server_name: The name that the server's certificate must have; empty: the host's.
        namespace: Of jobs whose namespace a call does not name; empty: the server's default.
        token: Shown with each call; empty: see *token_file*.
        token_file: Where the token is read for each call, so that it may be replaced; None: none.
        kubectl: How to reach a server that is not exposed; None: it is.
    """

    server: str
    address: str
    plaintext: bool = False
    ca_file: Path | None = None
    server_name: str = ""
    namespace: str = ""
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    kubectl: Kubectl | None = None


def resolve(
    *,
    context: str | None = None,
    server: str | None = None,
    namespace: str | None = None,
    token: str | None = None,
    token_file: str | Path | None = None,
    ca_file: str | Path | None = None,
    server_name: str | None = None,
    insecure: bool | None = None,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Connection:
    """Return which server is meant.

    Each argument that is None is looked up in the environment (``DISCO_SERVER``,
    ``DISCO_NAMESPACE``, ``DISCO_TOKEN``, ``DISCO_TOKEN_FILE``, ``DISCO_CA_FILE``,
    ``DISCO_CONTEXT``), then in a context of the config file (the one that is named, else the
    current one), then in the service account of the pod that this is.

    A server that is given as argument or by the environment is not the context's: then nothing is
    taken from the current context, so that no token goes to a server that it is not for. A context
    that is named beside it still counts.

    Args:
        context: Name of a context of the config file.
        server: ``disco://host:port`` or ``host:port``.
        namespace: See ``Connection``; the others, too.
        token: Bearer token.
        token_file: A file that holds it.
        ca_file: Certificates, PEM.
        server_name: The name that the server's certificate must have.
        insecure: True: without TLS, even to other machines; False: with TLS, even on this one.
            None: without it on this machine, unless there is a ``ca_file``.
        config_file: None: where the config file usually is.
        environment: None: this process's.

    Raises:
        SettingsError: There is no server, no such context, or something makes no sense.
    """
    raise NotImplementedError
