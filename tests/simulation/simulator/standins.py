"""What stands for the network, the disk and slot processes while a simulation runs."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from disco_engine.coordinator import calls, job_run, services
from disco_engine.coordinator.workers import Workers
from disco_engine.outputs import committing, files
from disco_engine.outputs.directories import Directory, _Local
from disco_engine.partition import appendfile, journal, stage, store
from disco_engine.worker import connections, fetch, parent, slots
from simulator.calls import Channel
from simulator.disk import SECTOR_BYTES, NoLocks, NowhereTrees, SimulatedFile
from simulator.servers import Server
from simulator.slot import SlotStarter
from simulator.world import running_process

if TYPE_CHECKING:
    from simulator.simulation import Simulation


@contextmanager
def replaced(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Let attributes have other values until the block ends."""
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


class _OutputDirectory(_Local):
    """The job's output; its writer may die between any two steps."""

    def create(self, name: str, data: bytes) -> None:
        _touch("create")
        super().create(name, data)

    def move(self, source: str, target: str) -> bool:
        _touch("move")
        return super().move(source, target)

    def remove(self, name: str) -> None:
        _touch("remove")
        super().remove(name)

    def remove_if_empty(self, name: str = "") -> None:
        _touch("remove")
        super().remove_if_empty(name)


def _touch(what: str) -> None:
    mount = running_process().mount
    if mount is not None:
        mount.touch(what)


def output_directory(url: str) -> Directory:
    """Return the directory that *url* names, where a writer may die."""
    return _OutputDirectory(url)


class _WorkersToLookAt(Workers):
    def __init__(self) -> None:
        super().__init__()
        running_process().inside.members = self


class _ServicesToLookAt(services.Services):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        running_process().inside.services = self


@contextmanager
def unheard() -> Iterator[None]:
    """Let nobody hear logs, nor what coroutines say that are thrown away in the middle."""
    disabled, hook = logging.root.manager.disable, sys.unraisablehook
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        sys.unraisablehook = hook


@contextmanager
def in_simulation(simulation: "Simulation") -> Iterator[None]:
    """Have the real programs meet the simulated world until the block ends."""
    network = simulation.network
    ids = Random(simulation.seed)

    def channel(address: str) -> Channel:
        return Channel(network, running_process(), address)

    def server(token: str) -> Server:
        return Server(network, running_process(), token)

    def listen(server: Server, host: str, port: int) -> int:
        server.bind(f"{host}:{port}")
        return port

    changes: list[tuple[Any, str, Any]] = [
        (calls, "aio_channel", channel),
        (connections, "aio_channel", channel),
        (job_run, "aio_server", server),
        (job_run, "listen", listen),
        (job_run, "Workers", _WorkersToLookAt),
        (job_run, "Services", _ServicesToLookAt),
        (services, "uuid4", lambda: SimpleNamespace(hex=ids.randbytes(16).hex())),
        (appendfile, "_PAGE_BYTES", SECTOR_BYTES),
        (stage, "AppendFile", SimulatedFile),
        (journal, "AppendFile", SimulatedFile),
        (journal, "fcntl", NoLocks),
        (store, "os", SimpleNamespace(urandom=ids.randbytes)),
        (fetch, "is_guarded", lambda address: True),  # nobody listens in
        (slots, "SlotProcess", SlotStarter(simulation)),
        (slots, "shutil", NowhereTrees),
        (parent, "shutil", NowhereTrees),
        (committing, "directory_of", output_directory),
        (files, "directory_of", output_directory),
    ]
    with replaced(changes):
        yield
