"""Carries out one ``disco serve``: checks the flags, makes a token, says what to type next."""

import asyncio
import getpass
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import platformdirs

from disco.cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_WRONG_USE
from disco.client import config
from disco.client.errors import SettingsError
from disco_engine import logs
from disco_engine.local.machine import cores
from disco_engine.local.rundir import RunDirectory
from disco_engine.process import leaves_of
from disco_engine.rpc import IdentityError, PortTakenError, is_loopback
from disco_gateway.certificate import Certificate
from disco_gateway.local.backend import LocalSettings
from disco_gateway.local.server import ServerSettings, serve
from disco_gateway.local.sharing import Policy
from disco_gateway.local.submission import Capacity
from disco_gateway.local.users import ADMINS, Users, UsersError, read_users
from disco_gateway.serving import Served, split_address

_USUAL_PORT = 7070
_CONTEXT = "serve"
_ALL = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""Addresses that stand for all of this machine's, and how it reaches itself then."""


class ServeError(Exception):
    """The server cannot be started.

    Attributes:
        exit_code: Of the command.
    """

    def __init__(self, message: str, exit_code: int = EXIT_WRONG_USE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_server(flags: Mapping[str, Any]) -> int:
    """Serve until a signal comes; return the exit status.

    Raises:
        ServeError: The flags make no sense, or an address cannot be had.
    """
    logs.configure("ERROR" if flags["quiet"] else "WARNING")
    token = "" if flags["users"] else secrets.token_urlsafe(32)
    users = _users(flags["users"], token)
    tls = _certificate(flags)
    with ExitStack() as stack:
        directory = RunDirectory()
        stack.callback(directory.remove)
        settings = ServerSettings(
            grpc_address=_address(flags["listen"], "--listen", tls),
            http_address="" if flags["no_http"] else _address(flags["http"], "--http", tls),
            tls=tls,
            users=users,
            code_url=str(_code_dir(flags["code_dir"]) or directory.sub("code")),
            jobs=LocalSettings(
                directory=directory.sub("jobs"),
                capacity=_capacity(flags),
                policy=Policy(flags["policy"]),
                max_queued=flags["max_queued"],
                keep_finished=flags["keep_finished"],
                keep_results=flags["keep_results"],
            ),
        )

        def on_ready(served: Served) -> None:
            way = "--token-file FILE"
            if token:
                way = stack.enter_context(_way_in(token, settings, served))
            if not flags["quiet"]:
                _welcome(settings, served, way)

        def on_stop() -> None:
            if not flags["quiet"]:
                _say("Stopping: running jobs are cancelled; once more to end at once.")

        try:
            killed = asyncio.run(serve(settings, on_ready=on_ready, on_stop=on_stop))
        except ExceptionGroup as group:
            # Not except*: what is raised in there comes out as a group in Python 3.11.2.
            wrong, others = group.split((PortTakenError, IdentityError))
            if wrong is None or others is not None:
                raise
            raise _explained(wrong) from group
    return EXIT_INTERRUPTED if killed else 0


def _users(path: str | None, token: str) -> Users:
    if path is None:
        return Users([(token, getpass.getuser(), (ADMINS,))])
    try:
        return read_users(Path(path))
    except UsersError as error:
        raise ServeError(str(error)) from error


def _certificate(flags: Mapping[str, Any]) -> Certificate | None:
    chain, key = flags["tls_cert"], flags["tls_key"]
    if bool(chain) != bool(key):
        raise ServeError("--tls-cert and --tls-key belong together: give both, or neither")
    if not chain:
        return None
    certificate = Certificate(chain=Path(chain), key=Path(key))
    try:
        certificate.names()
    except IdentityError as error:
        raise ServeError(f"--tls-cert {error}") from error
    return certificate


def _name_for(host: str, tls: Certificate | None) -> str:
    """Return the name of ours that a client has to expect who knows us as *host*; empty: that."""
    if tls is None or tls.is_for(host.strip("[]")):
        return ""
    return tls.names()[0].replace("*", "disco", 1)


def _address(text: str, flag: str, tls: Certificate | None) -> str:
    try:
        host, _ = split_address(text)
    except ValueError as error:
        raise ServeError(f"{flag} {error}") from error
    if tls is None and not is_loopback(host):
        raise ServeError(
            f"{flag} {text}: others can reach that address, and tokens would travel in the open:"
            " give --tls-cert and --tls-key, or listen on 127.0.0.1"
        )
    return text


def _code_dir(text: str | None) -> Path | None:
    """Return the directory that was asked for, made private if it is made; None: none was."""
    if text is None:
        return None
    path = Path(text).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServeError(f"--code-dir {text}: {error.strerror}") from error
    return path


def _capacity(flags: Mapping[str, Any]) -> Capacity:
    workers = flags["workers"] or cores()
    return Capacity(
        workers=workers,
        workers_per_job=flags["max_workers_per_job"] or workers,
        slots=flags["slots"],
    )


def _explained(group: ExceptionGroup[Exception]) -> ServeError:
    error = next(leaves_of(group))
    if isinstance(error, PortTakenError):
        return ServeError(
            f"{error} (--listen and --http; --no-http leaves the second out)", EXIT_FAILED
        )
    return ServeError(str(error))


@contextmanager
def _way_in(token: str, settings: ServerSettings, served: Served) -> Iterator[str]:
    """Write down the token, and a context that finds it; give the flags that use them.

    Both are gone with the server, unless a successor on its port has written its own meanwhile.
    """
    port = served.grpc_port
    place = platformdirs.user_state_path("disco") / "serve" / f"{port}.token"
    _write_private(place, token)
    address, _ = split_address(settings.grpc_address)
    host = _reachable(address)
    context = config.Context(
        server=f"disco://{host}:{port}",
        token_file=str(place),
        ca_file="" if settings.tls is None else str(settings.tls.chain.absolute()),
        server_name=_name_for(host, settings.tls),
    )
    name = _CONTEXT if port == _USUAL_PORT else f"{_CONTEXT}-{port}"
    try:
        config.save(config.set_context(config.load(), name, context))
        way = f"--context {name}"
    except SettingsError as error:
        _say(f"No context was made: {error}")
        way = f"--server {context.server} --token-file {place}"
    try:
        yield way
    finally:
        with suppress(SettingsError, OSError):
            _withdraw(place, token, name, context)


def _withdraw(place: Path, token: str, name: str, context: config.Context) -> None:
    if place.read_text() != token:
        return
    place.unlink()
    known = config.load()
    if known.contexts.get(name) == context:  # and not what the user has made of it
        config.save(config.delete_context(known, name))


def _reachable(host: str) -> str:
    """Return how this machine's own user calls an address of it."""
    return _ALL.get(host, host)


def _write_private(place: Path, token: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.unlink(missing_ok=True)  # of a server that was killed; or anything else
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(token)


def _welcome(settings: ServerSettings, served: Served, way: str) -> None:
    capacity = settings.jobs.capacity
    host, _ = split_address(settings.grpc_address)
    where = f"{host}:{served.grpc_port}"
    if served.http_port:
        scheme = "http" if settings.tls is None else "https"
        http_host, _ = split_address(settings.http_address)
        where += f" (HTTP: {scheme}://{http_host}:{served.http_port})"
    workers = f"{capacity.workers} worker{'s' * (capacity.workers != 1)}"
    if way.startswith("--token-file"):
        name = socket.gethostname() if host in _ALL else host
        name = _name_for(name, settings.tls) or name
        way = f"--server disco://{name}:{served.grpc_port} {way}"
    _say(f"Serving jobs on {where}, with {workers}, {settings.jobs.policy}. Ctrl-C ends it.")
    _say(f"Next: disco {way} submit --follow wordcount.py book.txt")


def _say(text: str) -> None:
    click.echo(text, err=True)
