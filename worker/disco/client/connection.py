"""Which server to talk to, and as whom: found in arguments, environment, config file or pod.

A ``Connection`` only says so; ``disco.client.server`` opens it.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from disco.client.config import Context, Kubectl, config_path, context_called, load
from disco.client.credentials import warn_if_open
from disco.client.errors import SettingsError
from disco_engine.rpc import is_loopback

DEFAULT_PORT = 7070
"""Of a server whose address names none: that of the chart's gateway, and of ``disco serve``."""

POD_SERVER = "disco-gateway.disco-system.svc"
"""Where a pod finds the gateway, if the chart was installed as it suggests."""

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SERVER = re.compile(r"(?:disco://)?(\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+)(?::(\d{1,5}))?/?")
_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


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
    variables = os.environ if environment is None else environment
    given = Context(
        server=server or "",
        namespace=namespace or "",
        token=token or "",
        token_file=str(token_file or ""),
        ca_file=str(ca_file or ""),
        server_name=server_name or "",
        insecure=insecure,
    )
    path = config_file or config_path()
    layers = [given]
    name = context or ""
    if name:
        layers.append(_named(name, path))
    layers.append(_environment(variables))
    if not name and (name := variables.get("DISCO_CONTEXT", "")):
        layers.append(_named(name, path))
    if not name:
        name, current = _current(layers, path)
        layers += current
    connection = _merged([*layers, *_pod(variables)], name)
    file = connection.token_file
    if file is not None and file.parent != _SERVICE_ACCOUNT:  # which is open in every pod
        warn_if_open(file)
    return connection


def _named(name: str, path: Path) -> Context:
    """Return a context of the config file; paths in it start where the file is."""
    found = context_called(load(path), name)
    return replace(
        found,
        token_file=_located(found.token_file, path.parent),
        ca_file=_located(found.ca_file, path.parent),
    )


def _located(text: str, directory: Path) -> str:
    return str(directory / Path(text).expanduser()) if text else ""


def _environment(variables: Mapping[str, str]) -> Context:
    flag = variables.get("DISCO_INSECURE", "").lower()
    if flag and flag not in _FLAGS:
        raise SettingsError(f"DISCO_INSECURE is {flag!r}: expected true or false")
    return Context(
        server=variables.get("DISCO_SERVER", ""),
        namespace=variables.get("DISCO_NAMESPACE", ""),
        token=variables.get("DISCO_TOKEN", ""),
        token_file=variables.get("DISCO_TOKEN_FILE", ""),
        ca_file=variables.get("DISCO_CA_FILE", ""),
        server_name=variables.get("DISCO_SERVER_NAME", ""),
        insecure=_FLAGS.get(flag),
    )


def _current(layers: Sequence[Context], path: Path) -> tuple[str, list[Context]]:
    """Return the name of the current context and the context, unless it is of another server."""
    server = next((layer.server for layer in layers if layer.server), "")
    if server and any(layer.token or layer.token_file for layer in layers):
        return "", []  # all is said: the file need not even make sense
    name = load(path).current_context
    if not name:
        return "", []
    context = _named(name, path)
    if server and (not context.server or address_of(context.server) != address_of(server)):
        return "", []
    return name, [context]


def _pod(variables: Mapping[str, str]) -> list[Context]:
    """Return who the pod is that this process runs in; nothing if it runs in none."""
    token_file = _SERVICE_ACCOUNT / "token"
    if "KUBERNETES_SERVICE_HOST" not in variables or not token_file.is_file():
        return []
    try:
        namespace = (_SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        namespace = ""
    return [Context(server=POD_SERVER, namespace=namespace, token_file=str(token_file))]


def _merged(layers: Sequence[Context], name: str) -> Connection:
    """Return what the layers say, the first of them that says anything about a thing."""
    target = next((layer for layer in layers if layer.server or layer.kubectl is not None), None)
    if target is None:
        raise SettingsError(
            "which server? Give its address (--server disco://host:port, or DISCO_SERVER), or make"
            " a context once: disco config set-context NAME --server disco://host:port"
        )
    shown = next((layer for layer in layers if layer.token or layer.token_file), Context())
    ca_file = _text(layers, "ca_file")
    connection = Connection(
        server=name,
        address="",
        ca_file=Path(ca_file) if ca_file else None,
        server_name=_text(layers, "server_name"),
        namespace=_text(layers, "namespace"),
        token=_checked_token(shown.token),
        token_file=Path(shown.token_file) if shown.token_file else None,
        kubectl=target.kubectl,
    )
    if not target.server:
        return connection
    insecure = next((layer.insecure for layer in layers if layer.insecure is not None), None)
    if insecure and ca_file:
        raise SettingsError(
            f"the connection to {target.server} has a ca_file, and is insecure: without TLS"
            " nothing is checked; remove one of the two"
        )
    host, port = address_of(target.server)
    return replace(
        connection,
        server=f"{host}:{port}",
        address=f"{host}:{port}",
        plaintext=is_loopback(host) and not ca_file if insecure is None else insecure,
        kubectl=None,
    )


def _text(layers: Sequence[Context], name: str) -> str:
    return next((text for layer in layers if (text := getattr(layer, name))), "")


def address_of(server: str) -> tuple[str, int]:
    """Return host and port of a server's address.

    Raises:
        SettingsError: It is none.
    """
    match = _SERVER.fullmatch(server.strip())
    host = match.group(1) if match else ""
    port = int(match.group(2) or DEFAULT_PORT) if match else 0
    if not 0 < port < 65_536:
        raise SettingsError(
            f"{server!r} is no server: expected disco://host:port (without user and path), such as"
            " disco://127.0.0.1:7070"
        )
    return host, port


def _checked_token(token: str) -> str:
    stripped = token.strip()
    if stripped and not (stripped.isascii() and stripped.isprintable() and " " not in stripped):
        raise SettingsError("the token has characters that no token has: see that it is all there")
    return stripped
