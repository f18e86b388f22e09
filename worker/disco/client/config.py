"""The config file: servers a user talks to, by the name of a context, and which is the current one.

    current_context: prod
    contexts:
      prod:
        server: disco://gateway.example.org:443
        namespace: analytics
        token_file: /home/me/.disco-token
        ca_file: /home/me/disco-ca.crt
      staging:
        kubectl: {context: staging, namespace: disco-system}

It may hold tokens, so it is written with mode 0600, and never half.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIG_VARIABLE = "DISCO_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """How kubectl reaches a gateway that is not exposed; empty: kubectl's or the chart's default.

    Attributes:
        context: Of the kubeconfig.
        namespace: Where the gateway is.
        service: The gateway's Service.
        service_account: Ask for a token of this ServiceAccount (``namespace/name``, or the name of
            one in the context's namespace); empty: the kubeconfig's own token.
    """

    context: str = ""
    namespace: str = "disco-system"
    service: str = "disco-gateway"
    service_account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A server, and who to be there; empty: not set. See ``disco.client.connection.Connection``."""

    server: str = ""
    namespace: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    ca_file: str = ""
    server_name: str = ""
    insecure: bool | None = None
    kubectl: Kubectl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the config file says.

    Attributes:
        contexts: By name.
        current_context: One of the names; empty: none is.
    """

    contexts: Mapping[str, Context] = field(default_factory=dict)
    current_context: str = ""


def config_path() -> Path:
    """Return where the config file is: ``DISCO_CONFIG``, or in the user's config directory."""
    raise NotImplementedError


def load(path: Path | None = None) -> Config:
    """Return what the file says; an empty config if there is none.

    Raises:
        SettingsError: It cannot be read or makes no sense; all mistakes are named.
    """
    raise NotImplementedError


def save(config: Config, path: Path | None = None) -> Path:
    """Write the file, as a whole or not at all, readable for its owner only; return its path.

    Raises:
        SettingsError: It cannot be written.
    """
    raise NotImplementedError


def set_context(config: Config, name: str, context: Context) -> Config:
    """Return *config* with the context; the first one becomes the current one.

    Raises:
        SettingsError: A context cannot be called that, or makes no sense.
    """
    raise NotImplementedError


def use_context(config: Config, name: str) -> Config:
    """Return *config* with another current context.

    Raises:
        SettingsError: There is none of that name.
    """
    raise NotImplementedError


def delete_context(config: Config, name: str) -> Config:
    """Return *config* without the context.

    Raises:
        SettingsError: There is none of that name.
    """
    raise NotImplementedError


def view(config: Config) -> dict[str, Any]:
    """Return what the file has, as plain data to print, tokens hidden."""
    raise NotImplementedError
