"""Keeps child processes alive, as a cluster would: starts, restarts and ends them.

Each child has a thread that waits for its end, and one for all looks every second whether they
still react: a child that is frozen, or hangs, is killed and so started again. Children are sessions
of their own, so that a Ctrl-C in the terminal reaches only their supervisor; they notice the
supervisor's own end by the end of their standard input.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from disco_engine.local.pulse import BEAT_S, Pulse

log = logging.getLogger(__name__)

MAX_RESTARTS = 20
MAX_FAILED_STARTS = 5
SILENCE_S = 30.0
"""A child that does not react for so long is killed; Kubernetes is told to wait as long."""
_STEADY_S = 60.0  # a child that lived this long was well: its restarts are forgotten
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_LOG_TAIL_LINES = 20


class Role(StrEnum):
    """What a child process does, in the order in which children are stopped."""

    WORKER = "worker"
    COORDINATOR = "coordinator"
    PARTITION_SERVICE = "partition service"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """How to start one child, the first time and every time after it died.

    Attributes:
        id: Unique among the supervisor's children; names its log file.
        command: Program and arguments.
        ready_file: The file that the child writes when it serves.
    """

    id: str
    role: Role
    command: Sequence[str]
    ready_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStatus:
    """A child at this moment.

    Attributes:
        pid: Of the running process; None between two of them and after the end.
        restarts: How often it was started again.
    """

    id: str
    role: Role
    pid: int | None
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnded:
    """A child has ended without having been told to.

    Attributes:
        status: Exit status; negative: minus the signal that killed it.
        given_up: It will not be started again: it has died too often.
        reason: For people: how it ended, and if it was given up, the last lines of its log.
    """

    id: str
    role: Role
    status: int
    given_up: bool
    reason: str


class Supervisor:
    """Starts children and keeps them running until told to stop them.

    Args:
        logs: The directory for one log file per child.
        environment: Of the children.
        inherited_fd: A descriptor that every child keeps open.
        on_end: Called, from the child's own thread, for every unexpected end, and says whether the
            child should be started again. Not asked (but told) when the child is given up.
        silence_s: A child that reads nothing from its standard input for so long is killed.
    """

    def __init__(
        self,
        *,
        logs: Path,
        environment: Mapping[str, str],
        inherited_fd: int,
        on_end: Callable[[ChildEnded], bool],
        silence_s: float = SILENCE_S,
    ) -> None:
        self._logs = logs
        self._environment = dict(environment)
        self._inherited_fd = inherited_fd
        self._on_end = on_end
        self._silence_s = silence_s
        self._known = threading.Lock()  # guards the next two
        self._keepers: list[_Keeper] = []
        self._watching = False

    def start(self, spec: ChildSpec) -> None:
        """Start a child and keep it running.

        Raises:
            OSError: The program cannot be started at all.
        """
        keeper = _Keeper(
            spec,
            self._logs / f"{spec.id}.log",
            self._environment,
            self._inherited_fd,
            self._on_end,
            self._silence_s,
        )
        keeper.launch()
        with self._known:
            self._keepers.append(keeper)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="watch-children", daemon=True).start()

    def children(self) -> list[ChildStatus]:
        """Return all children but those that were seen off, in the order of their start."""
        return [keeper.status() for keeper in self._all()]

    def retire(self, ids: Collection[str]) -> None:
        """Ask some children to end (SIGTERM), and do not start them again; returns at once."""
        for keeper in self._all():
            if keeper.spec.id in ids:
                keeper.retire()
                keeper.signal(signal.SIGTERM)

    def see_off(self, ids: Collection[str], *, grace_s: float) -> None:
        """Wait until children that were retired are gone, and forget them.

        Args:
            ids: Which.
            grace_s: How long to wait before SIGKILL.
        """
        keepers = [keeper for keeper in self._all() if keeper.spec.id in ids]
        _join(keepers, grace_s)
        self._kill(keepers)
        with self._known:
            self._keepers = [keeper for keeper in self._keepers if keeper not in keepers]

    def stop(self, role: Role, *, patience_s: float, grace_s: float = 5.0) -> None:
        """End all children of one role and return when they are gone.

        Args:
            role: Which.
            patience_s: How long to let them end by themselves, before SIGTERM.
            grace_s: How long to wait after SIGTERM, before SIGKILL.
        """
        keepers = [keeper for keeper in self._all() if keeper.spec.role is role]
        for keeper in keepers:
            keeper.retire()
        _join(keepers, patience_s)
        for keeper in keepers:
            keeper.signal(signal.SIGTERM)
        _join(keepers, grace_s)
        self._kill(keepers)

    def kill(self) -> None:
        """End all children at once, without asking them."""
        keepers = self._all()
        for keeper in keepers:
            keeper.retire()
        self._kill(keepers)

    def _watch(self) -> None:
        """Look after the children for as long as there are any."""
        while True:
            time.sleep(BEAT_S)
            with self._known:
                keepers = [keeper for keeper in self._keepers if keeper.alive]
                self._watching = bool(keepers)
            if not keepers:
                return
            for keeper in keepers:
                keeper.beat()

    def _all(self) -> list["_Keeper"]:
        with self._known:
            return list(self._keepers)

    def _kill(self, keepers: Sequence["_Keeper"]) -> None:
        for keeper in keepers:
            keeper.signal(signal.SIGKILL)
        _join(keepers, None)


def _join(keepers: Sequence["_Keeper"], timeout_s: float | None) -> None:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    for keeper in keepers:
        keeper.join(None if deadline is None else max(0.0, deadline - time.monotonic()))


class _Keeper:
    """One child: its process, and the thread that waits for it."""

    def __init__(
        self,
        spec: ChildSpec,
        log_file: Path,
        environment: Mapping[str, str],
        inherited_fd: int,
        on_end: Callable[[ChildEnded], bool],
        silence_s: float,
    ) -> None:
        self.spec = spec
        self._log_file = log_file
        self._environment = environment
        self._inherited_fd = inherited_fd
        self._on_end = on_end
        self._silence_s = silence_s
        self._lock = threading.Lock()  # guards _process against a signal meant for its successor
        self._process: subprocess.Popen[bytes] | None = None
        self._pulse: Pulse
        self._silent = False  # the process was killed because it did not react
        self._retired = threading.Event()
        self._restarts = 0
        self._thread = threading.Thread(target=self._keep, name=f"keep-{spec.id}", daemon=True)

    def launch(self) -> None:
        self._spawn()
        self._thread.start()

    def status(self) -> ChildStatus:
        with self._lock:
            pid = None if self._process is None else self._process.pid
        return ChildStatus(id=self.spec.id, role=self.spec.role, pid=pid, restarts=self._restarts)

    def retire(self) -> None:
        """Do not start the child again."""
        with self._lock:
            self._retired.set()

    def signal(self, number: signal.Signals) -> None:
        """Send the child a signal; SIGKILL goes to everything it has started, too."""
        with self._lock:
            if self._process is None:
                return
            if number is signal.SIGKILL:
                _kill_session(self._process.pid)
            else:
                # Not Popen.send_signal: that would reap the process behind _wait's back.
                os.kill(self._process.pid, number)

    @property
    def alive(self) -> bool:
        """Whether there is a process, or will be one again."""
        return self._thread.is_alive()

    def beat(self) -> None:
        """Kill the process if it has not reacted for too long."""
        with self._lock:
            if self._process is not None and self._pulse.beat():
                self._silent = True
                _kill_session(self._process.pid)

    def join(self, timeout_s: float | None) -> None:
        self._thread.join(timeout_s)

    def _spawn(self) -> None:
        self.spec.ready_file.unlink(missing_ok=True)
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self.spec.command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=self._environment,
                pass_fds=(self._inherited_fd,),
                start_new_session=True,
            )
        assert self._process.stdin is not None
        self._silent = False
        self._pulse = Pulse(self._process.stdin.fileno(), self.spec.ready_file, self._silence_s)

    def _keep(self) -> None:
        failed_starts = 0
        while True:
            started = time.monotonic()
            status = self._wait()
            if self._retired.is_set():
                return
            if time.monotonic() - started > _STEADY_S:
                self._restarts = 0
            failed_starts = 0 if self.spec.ready_file.exists() else failed_starts + 1
            given_up = self._restarts >= MAX_RESTARTS or failed_starts >= MAX_FAILED_STARTS
            wanted = self._on_end(self._ended(status, given_up=given_up))
            if given_up or not wanted:
                return
            pause_s = min(_FIRST_PAUSE_S * 2.0**self._restarts, _LONGEST_PAUSE_S)
            if self._retired.wait(pause_s):
                return
            self._restarts += 1
            if not self._respawn():
                return

    def _respawn(self) -> bool:
        """Start the process again; False if the child was retired, or cannot be started."""
        try:
            with self._lock:
                if self._retired.is_set():
                    return False
                self._spawn()
        except OSError as error:
            reason = f"the {self.spec.role} {self.spec.id} cannot be started again: {error}"
            self._on_end(self._ended_for(reason, status=-1, given_up=True))
            return False
        return True

    def _wait(self) -> int:
        """Wait for the process's end and return its exit status."""
        process = self._process
        assert process is not None
        if hasattr(os, "waitid"):
            # Leaves a zombie, so that the id cannot belong to someone else when what is left of
            # the session (slots that hang in the user's code) is killed.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            _kill_session(process.pid)
            status = process.wait()
            self._process = None
        assert process.stdin is not None
        process.stdin.close()
        return status

    def _ended(self, status: int, *, given_up: bool) -> ChildEnded:
        how = f"did not react for {self._silence_s:g} s" if self._silent else _how(status)
        reason = f"the {self.spec.role} {self.spec.id} {how}"
        if given_up:
            tail = _last_lines(self._log_file)
            reason += f", {self._restarts + 1} times now. The last lines of its log:\n{tail}"
        return self._ended_for(reason, status=status, given_up=given_up)

    def _ended_for(self, reason: str, *, status: int, given_up: bool) -> ChildEnded:
        log.info("child ended", extra={"child": self.spec.id, "status": status})
        return ChildEnded(
            id=self.spec.id, role=self.spec.role, status=status, given_up=given_up, reason=reason
        )


def _kill_session(leader: int) -> None:
    # Nothing of it may be left; macOS says EPERM if only zombies are.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _how(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _last_lines(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_LOG_TAIL_LINES:])
