import os
import queue
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import eventually

from disco_engine.local.supervisor import (
    MAX_FAILED_STARTS,
    ChildEnded,
    ChildSpec,
    ChildStatus,
    Role,
    Supervisor,
)

# Serves until its standard input ends, as our programs do when their supervisor is gone.
SERVES = """
import pathlib, sys
ready = pathlib.Path(sys.argv[1])
ready.with_suffix(".tmp").write_text("{}")
ready.with_suffix(".tmp").rename(ready)
sys.stdin.read()
"""
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVES
WITH_GRANDCHILD = (
    """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print(child.pid, flush=True)
"""
    + SERVES
)
FREEZES = "import os, signal, sys; sys.stdin.read(1); os.kill(os.getpid(), signal.SIGSTOP)"
FREEZES_AT_ONCE = """
import os, pathlib, signal, sys
pathlib.Path(sys.argv[1]).write_text("{}")
os.kill(os.getpid(), signal.SIGSTOP)
"""
STARTS_SLOWLY = "import sys, time; time.sleep(4); sys.exit(9)"
BROKEN = "import sys; print('no such file: settings'); sys.exit(7)"


class Fixture:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ends: queue.Queue[ChildEnded] = queue.Queue()
        self.restart = True
        (directory / "lock").touch()
        self._fd = os.open(directory / "lock", os.O_RDONLY)
        self.supervisor = Supervisor(
            logs=directory,
            environment=os.environ,
            inherited_fd=self._fd,
            on_end=self._on_end,
            silence_s=2,
        )

    def start(self, program: str, name: str = "one", role: Role = Role.WORKER) -> None:
        ready = self.directory / f"{name}.ready"
        command = [sys.executable, "-c", program, str(ready)]
        self.supervisor.start(ChildSpec(id=name, role=role, command=command, ready_file=ready))

    def child(self, name: str = "one") -> ChildStatus:
        return next(child for child in self.supervisor.children() if child.id == name)

    def close(self) -> None:
        self.supervisor.kill()
        os.close(self._fd)

    def _on_end(self, ended: ChildEnded) -> bool:
        self.ends.put(ended)
        return self.restart


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    fixture.close()


def test_a_child_that_is_killed_is_started_again_under_the_same_name(fixture: Fixture) -> None:
    fixture.start(SERVES)
    eventually(lambda: (fixture.directory / "one.ready").exists())
    first = fixture.child().pid
    assert first is not None

    os.kill(first, signal.SIGKILL)

    ended = fixture.ends.get(timeout=60)
    assert (ended.status, ended.given_up) == (-signal.SIGKILL, False)
    assert ended.reason == "the worker one was killed by SIGKILL"
    eventually(lambda: fixture.child().pid not in (None, first))
    assert fixture.child().restarts == 1


def test_a_child_that_is_frozen_or_hangs_is_started_again(fixture: Fixture) -> None:
    fixture.start(FREEZES)

    ended = fixture.ends.get(timeout=60)

    assert ended.status == -signal.SIGKILL
    assert ended.reason == "the worker one did not react for 2 s"


def test_a_child_that_is_frozen_as_soon_as_it_serves_is_started_again(fixture: Fixture) -> None:
    """Before it has read anything."""
    fixture.start(FREEZES_AT_ONCE)

    ended = fixture.ends.get(timeout=60)

    assert ended.reason == "the worker one did not react for 2 s"


def test_a_child_that_takes_long_to_start_is_left_alone(fixture: Fixture) -> None:
    fixture.start(STARTS_SLOWLY)

    ended = fixture.ends.get(timeout=60)

    assert ended.reason == "the worker one exited with status 9"


def test_a_child_that_never_serves_is_given_up_with_the_last_lines_of_its_log(
    fixture: Fixture,
) -> None:
    fixture.start(BROKEN)

    ends = [fixture.ends.get(timeout=60) for _ in range(MAX_FAILED_STARTS)]

    assert [end.given_up for end in ends] == [False] * (MAX_FAILED_STARTS - 1) + [True]
    assert "exited with status 7" in ends[-1].reason
    assert ends[-1].reason.endswith("  no such file: settings")


def test_a_child_whose_end_is_expected_is_not_started_again(fixture: Fixture) -> None:
    fixture.restart = False
    fixture.start(BROKEN)

    fixture.ends.get(timeout=60)
    fixture.supervisor.stop(Role.WORKER, patience_s=10)

    assert fixture.child().pid is None
    assert fixture.ends.empty()


def test_stopping_one_role_leaves_the_others_alone(fixture: Fixture) -> None:
    fixture.start(SERVES, "w", Role.WORKER)
    fixture.start(SERVES, "s", Role.PARTITION_SERVICE)
    eventually(lambda: (fixture.directory / "w.ready").exists())

    fixture.supervisor.stop(Role.WORKER, patience_s=0)

    assert fixture.child("w").pid is None
    assert fixture.child("s").pid is not None


def test_a_child_that_ignores_sigterm_is_killed(fixture: Fixture) -> None:
    fixture.start(IGNORES_SIGTERM)
    eventually(lambda: (fixture.directory / "one.ready").exists())

    fixture.supervisor.stop(Role.WORKER, patience_s=0, grace_s=0.05)

    assert fixture.child().pid is None


def test_what_a_child_has_started_does_not_outlive_it(fixture: Fixture) -> None:
    fixture.start(WITH_GRANDCHILD)
    eventually(lambda: (fixture.directory / "one.ready").exists())
    grandchild = int((fixture.directory / "one.log").read_text())

    fixture.supervisor.stop(Role.WORKER, patience_s=0)

    eventually(lambda: not _runs(grandchild))


def test_a_program_that_does_not_exist_is_an_error_at_once(fixture: Fixture) -> None:
    spec = ChildSpec(
        id="x", role=Role.WORKER, command=["/no/such/program"], ready_file=fixture.directory / "x"
    )

    with pytest.raises(FileNotFoundError):
        fixture.supervisor.start(spec)


def _runs(pid: int) -> bool:
    """Whether the process runs; a zombie that waits for init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
