"""Does to the processes of a local engine what a plan says, and undoes it."""

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from chaos.plan import Planned
from chaos.scene import Fault, Target
from disco_engine.local.engine import LocalEngine

Undo = Callable[[], None]

_BALLAST = "ballast"
_FLIPS = 8
_CHUNK = bytes(64 * 1024)


class MissedError(Exception):
    """There was nothing to do it to, or this machine cannot do it."""


def inflict(planned: Planned, engine: LocalEngine) -> tuple[str, Undo]:
    """Do what is planned; return what was done, for people, and how to undo it.

    Raises:
        MissedError: Nothing was done.
    """
    match planned.fault:
        case Fault.KILL:
            return _signal(planned, engine, signal.SIGKILL)
        case Fault.TERMINATE:
            return _signal(planned, engine, signal.SIGTERM)
        case Fault.FREEZE:
            return _freeze(planned, engine)
        case Fault.FILL_DISK:
            return _fill(planned, engine)
        case Fault.FLIP_BITS:
            return _flip(planned, engine)
        case Fault.CUT:
            return _cut(planned, engine)
        case Fault.SILENCE:
            return _silence(planned, engine)
        case other:
            raise AssertionError(f"nobody knows how to {other}")


def with_disk_of_its_own(directory: Path, size: str) -> Undo:
    """Make *directory* a file system, so that it can be full; undone by what is returned.

    Raises:
        MissedError: Only root can.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory))
    return lambda: _run("umount", "--lazy", str(directory))


def _nothing() -> None:
    pass


# --- processes ------------------------------------------------------------------------------------


def _process(planned: Planned, engine: LocalEngine) -> tuple[str, int]:
    """Return name and id of the process that is meant."""
    role = Target.WORKER if planned.target == Target.SLOT else planned.target
    found = [
        (child.id, child.pid)
        for child in engine.children()
        if child.role == role and child.pid is not None
    ]
    if planned.target == Target.SLOT:
        found = [(f"slot of {name}", slot) for name, pid in found for slot in _children_of(pid)]
    chosen = planned.picked(found)
    if chosen is None:
        raise MissedError(f"there was no {planned.target}")
    return chosen


def _children_of(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _signal(planned: Planned, engine: LocalEngine, number: signal.Signals) -> tuple[str, Undo]:
    name, pid = _process(planned, engine)
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return f"{planned.fault} {name}", _nothing


def _freeze(planned: Planned, engine: LocalEngine) -> tuple[str, Undo]:
    name, pid = _process(planned, engine)

    def thaw() -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    return f"freeze {name}", thaw


# --- disks ----------------------------------------------------------------------------------------


def _data(planned: Planned, engine: LocalEngine) -> Path:
    directory = planned.picked(sorted((engine.run_dir / "data").iterdir()))
    if directory is None:
        raise MissedError("there was no data")
    return directory


def _fill(planned: Planned, engine: LocalEngine) -> tuple[str, Undo]:
    directory = _data(planned, engine)
    if not directory.is_mount():
        raise MissedError(f"{directory.name} had no disk of its own")
    if not (directory / "journal").exists():  # who finds no room at all gives up, and says so
        raise MissedError(f"{directory.name} had not begun")
    ballast = directory / _BALLAST
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while file.write(_CHUNK):
            pass
    return f"fill the disk of {directory.name}", lambda: ballast.unlink(missing_ok=True)


def _flip(planned: Planned, engine: LocalEngine) -> tuple[str, Undo]:
    """Damage what a stage wrote that is not the last: nobody makes results again once they are."""
    directory = _data(planned, engine)
    last = len(engine.progress.stages) if engine.progress else 0
    logs = [
        log
        for number in range(1, last)
        for log in sorted(directory.glob(f"stage-{number}.*"))
        if log.stat().st_size
    ]
    log = planned.picked(logs)
    if log is None:
        raise MissedError(f"{directory.name} had nothing on disk")
    chance = random.Random(planned.pick)
    try:
        with log.open("r+b") as file:
            size = log.stat().st_size
            for _ in range(_FLIPS):
                at = chance.randrange(size)
                file.seek(at)
                old = file.read(1)
                file.seek(at)
                file.write(bytes([old[0] ^ 1 << chance.randrange(8)]))
    except (OSError, IndexError, ValueError) as error:  # it was just removed or cut
        raise MissedError(f"{log.name} of {directory.name} was gone") from error
    return f"flip {_FLIPS} bits of {log.name} of {directory.name}", _nothing


# --- the network ----------------------------------------------------------------------------------


def _port(planned: Planned, engine: LocalEngine) -> tuple[str, int]:
    name, _ = _process(planned, engine)
    try:
        return name, int(json.loads((engine.run_dir / "ready" / name).read_text())["port"])
    except (OSError, ValueError) as error:
        raise MissedError(f"{name} did not listen") from error


def _cut(planned: Planned, engine: LocalEngine) -> tuple[str, Undo]:
    name, port = _port(planned, engine)
    _run("ss", "--kill", "--tcp", f"( sport = :{port} or dport = :{port} )")
    return f"cut the connections of {name}", _nothing


def _silence(planned: Planned, engine: LocalEngine) -> tuple[str, Undo]:
    if not in_own_network():
        raise MissedError("this network is not ours alone")
    name, port = _port(planned, engine)
    rules = [
        ("INPUT", "--protocol", "tcp", side, str(port), "--jump", "DROP")
        for side in ("--dport", "--sport")
    ]
    for rule in rules:
        _run("iptables", "--append", *rule)

    def listen() -> None:
        for rule in rules:
            _run("iptables", "--delete", *rule)

    return f"drop the packets of {name}", listen


_NETWORK = "DISCO_CHAOS_NETWORK"


def in_own_network() -> bool:
    """Return whether only we are in this process's network."""
    return bool(os.environ.get(_NETWORK))


def command_in_own_network(command: list[str]) -> list[str] | None:
    """Return how to run *command* in a network of its own; None: we cannot, or are in one."""
    if in_own_network() or os.geteuid() or not (shutil.which("unshare") and shutil.which("ip")):
        return None
    script = f'ip link set lo up && {_NETWORK}=1 exec "$@"'
    return ["unshare", "--net", "sh", "-c", script, "sh", *command]


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        raise MissedError(f"there is no {command[0]}") from error
    except subprocess.CalledProcessError as error:
        raise MissedError(f"{' '.join(command)}: {error.stderr.strip()}") from error
