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

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import platformdirs

from disco.client.credentials import warn_if_open
from disco.client.errors import SettingsError

CONFIG_VARIABLE = "DISCO_CONFIG"
RESERVED = "local"
"""No context is called that: it is the engine without a server."""


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
    given = os.environ.get(CONFIG_VARIABLE, "")
    return Path(given) if given else platformdirs.user_config_path("disco") / "config.yaml"


def load(path: Path | None = None) -> Config:
    """Return what the file says; an empty config if there is none.

    Raises:
        SettingsError: It cannot be read or makes no sense; all mistakes are named, each with its
            line.
    """
    from disco.manifest.yaml_document import YamlError, read_yaml  # most calls need no file

    place = path or config_path()
    try:
        if not place.exists() or not _says_anything(place):
            return Config()
        document = read_yaml(place)
    except (OSError, YamlError) as error:
        raise SettingsError(f"the config file cannot be read: {error}") from error
    reading = _Reading()
    config = reading.config(document.value)
    mistakes = [
        (document.line(where), f"{_dotted(where)}: {text}") for where, text in reading.wrong
    ]
    mistakes += [
        (line, f"{_dotted(where)}: is there twice; remove one")
        for where, line in document.duplicates
    ]
    if mistakes:
        lines = "\n".join(f"{place}:{line}: {text}" for line, text in sorted(mistakes))
        raise SettingsError(lines)
    if any(context.token for context in config.contexts.values()):
        warn_if_open(place)
    return config


def save(config: Config, path: Path | None = None) -> Path:
    """Write the file, as a whole or not at all, readable for its owner only; return its path.

    Raises:
        SettingsError: It cannot be written.
    """
    import yaml

    place = path or config_path()
    text = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = place.resolve()  # a link stays one
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:  # mkstemp has made it 0600
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise SettingsError(
            f"the config file {place} cannot be written: {error.strerror or error}"
        ) from error
    return place


def set_context(config: Config, name: str, context: Context) -> Config:
    """Return *config* with the context; the first one becomes the current one.

    Raises:
        SettingsError: A context cannot be called that, or makes no sense.
    """
    if problem := _wrong_name(name):
        raise SettingsError(f"context {name!r}: {problem}")
    if problem := _wrong_context(context):
        raise SettingsError(f"context {name!r}: {problem}")
    return replace(
        config,
        contexts={**config.contexts, name: context},
        current_context=config.current_context or name,
    )


def use_context(config: Config, name: str) -> Config:
    """Return *config* with another current context.

    Raises:
        SettingsError: There is none of that name.
    """
    context_called(config, name)
    return replace(config, current_context=name)


def delete_context(config: Config, name: str) -> Config:
    """Return *config* without the context; if it was the current one, there is none afterwards.

    Raises:
        SettingsError: There is none of that name.
    """
    context_called(config, name)
    others = {other: context for other, context in config.contexts.items() if other != name}
    current = "" if config.current_context == name else config.current_context
    return replace(config, contexts=others, current_context=current)


def context_called(config: Config, name: str) -> Context:
    """Return a context.

    Raises:
        SettingsError: There is none of that name.
    """
    if name not in config.contexts:
        known = ", ".join(sorted(config.contexts)) or "none"
        raise SettingsError(
            f"there is no context {name!r} in {config_path()}; there are: {known}"
            " (disco config set-context makes one)"
        )
    return config.contexts[name]


def view(config: Config) -> dict[str, Any]:
    """Return what the file has, as plain data to print, tokens hidden."""
    plain = _plain(config)
    for context in plain["contexts"].values():
        if "token" in context:
            context["token"] = "REDACTED"
    return plain


def _says_anything(path: Path) -> bool:
    return any(line.partition(b"#")[0].strip() for line in path.read_bytes().splitlines())


def _plain(config: Config) -> dict[str, Any]:
    """Return what the file has, without what is not set."""
    contexts = {name: _set_fields(context) for name, context in config.contexts.items()}
    plain: dict[str, Any] = {"contexts": contexts}
    if config.current_context:
        plain = {"current_context": config.current_context, **plain}
    return plain


def _set_fields(value: Context) -> dict[str, Any]:
    plain = {name: item for name, item in asdict(value).items() if item not in ("", None)}
    if "kubectl" in plain:
        plain["kubectl"] = {name: item for name, item in plain["kubectl"].items() if item}
    return plain


def _wrong_name(name: str) -> str:
    if name == RESERVED:
        return "that is the engine on this machine without a server; choose another name"
    if not name or not all(letter.isalnum() or letter in "-_.@" for letter in name):
        return "a name has letters, digits and any of - _ . @"
    return ""


def _wrong_context(context: Context) -> str:
    if context.server and context.kubectl is not None:
        return "has a server, and kubectl to reach one: remove one of the two"
    if not context.server and context.kubectl is None:
        return "has no server: give server (disco://host:port), or kubectl"
    if context.token and context.token_file:
        return "has a token and a token_file: remove one of the two"
    return ""


_Where = tuple[str | int, ...]


class _Reading:
    """Makes values of plain data, and notes all that is wrong with it.

    Attributes:
        wrong: Where each mistake is, and what it is.
    """

    def __init__(self) -> None:
        self.wrong: list[tuple[_Where, str]] = []

    def config(self, value: Any) -> Config:
        """Return what the file's only document says."""
        known = self._mapping((), value, ("contexts", "current_context"))
        contexts: dict[str, Context] = {}
        for name, item in self._items(("contexts",), known.get("contexts")):
            if problem := _wrong_name(name):
                self.wrong.append((("contexts", name), problem))
            contexts[name] = self._context(("contexts", name), item)
        current = self._text(("current_context",), known.get("current_context", ""))
        if current and current not in contexts:
            self.wrong.append((("current_context",), f"there is no context {current!r}"))
        return Config(contexts=contexts, current_context=current)

    def _context(self, where: _Where, value: Any) -> Context:
        names = tuple(field.name for field in fields(Context))
        before = len(self.wrong)
        known = self._mapping(where, value, names)
        insecure = known.pop("insecure", None)
        if insecure is not None and not isinstance(insecure, bool):
            self.wrong.append(((*where, "insecure"), f"expected true or false, found {insecure!r}"))
        kubectl = known.pop("kubectl", None)
        context = Context(
            **{name: self._text((*where, name), item) for name, item in known.items()},
            insecure=insecure,
            kubectl=None if kubectl is None else self._kubectl((*where, "kubectl"), kubectl),
        )
        if len(self.wrong) == before and (problem := _wrong_context(context)):
            self.wrong.append((where, problem))
        return context

    def _kubectl(self, where: _Where, value: Any) -> Kubectl:
        names = tuple(field.name for field in fields(Kubectl))
        known = self._mapping(where, value, names)
        return Kubectl(**{name: self._text((*where, name), item) for name, item in known.items()})

    def _mapping(self, where: _Where, value: Any, known: tuple[str, ...]) -> dict[str, Any]:
        found = {}
        for name, item in self._items(where, value):
            if name in known:
                found[name] = item
            else:
                expected = ", ".join(known)
                self.wrong.append(((*where, name), f"unknown field; known are {expected}"))
        return found

    def _items(self, where: _Where, value: Any) -> Iterator[tuple[str, Any]]:
        if value is None:
            return
        if not isinstance(value, dict):
            self.wrong.append((where, f"expected a mapping, found {type(value).__name__}"))
            return
        for name, item in value.items():
            if isinstance(name, str):
                yield name, item
            else:
                self.wrong.append(((*where, str(name)), "expected a key that is text"))

    def _text(self, where: _Where, value: Any) -> str:
        if isinstance(value, str) and value.isprintable():
            return value
        self.wrong.append((where, "expected one line of text (in quotes, if it is a number)"))
        return ""


def _dotted(where: _Where) -> str:
    return ".".join(map(str, where)) or "the document"
