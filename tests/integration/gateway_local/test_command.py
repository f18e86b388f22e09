"""``disco serve`` as it is typed: what it prints and leaves, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import yaml
from tests.waiting import eventually

from ..gateway.test_serving import certificate_in  # noqa: TID252  (tests are in no package)
from .conftest import Gate, gated, processes_below


@dataclass
class Shell:
    """Somebody's shell, with directories of his own.

    Attributes:
        home: For config and state.
        temporary: TMPDIR.
    """

    home: Path
    temporary: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.temporary.mkdir(parents=True)
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("DISCO_")},
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "TMPDIR": str(self.temporary),
        }

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return self.disco("serve", *arguments)

    def disco(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "disco.cli.main", *arguments],
            env={**self.environment, **environment},
            cwd=self.home,
            stderr=subprocess.PIPE,
            text=True,
        )

    def refused(self, *arguments: str) -> tuple[int, str]:
        """Start a server that cannot be; return the status and what it says."""
        with self.start(*arguments) as process:
            _, err = process.communicate(timeout=60)
        assert list(self.temporary.iterdir()) == []
        return process.returncode, err

    @contextmanager
    def serving(self, *arguments: str) -> Iterator["Served"]:
        """Have a server while the block runs; whatever it left is killed then."""
        with self.start("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments) as process:
            assert process.stderr is not None
            first, second = process.stderr.readline(), process.stderr.readline()
            try:
                yield Served(process, first, second, self)
            finally:
                process.kill()

    @property
    def contexts(self) -> dict[str, dict[str, str]]:
        text = (self.home / "config" / "disco" / "config.yaml").read_text()
        found: dict[str, dict[str, str]] = yaml.safe_load(text)["contexts"]
        return found


@dataclass
class Served:
    process: "subprocess.Popen[str]"
    first: str
    second: str
    shell: Shell

    def submit(self, name: str, gate: Gate, tasks: int = 1) -> None:
        """Submit over HTTP, as curl would."""
        (context,) = self.shell.contexts.values()
        http = self.first.partition("HTTP: ")[2].partition(")")[0]
        token = Path(context["token_file"]).read_text()
        request = Request(
            f"{http}/v1/namespaces/default/jobs",
            data=json.dumps({"name": name, "spec": gated(gate, tasks)}).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=30) as answer:
            assert json.load(answer)["name"] == name

    def watching(self, name: str) -> "subprocess.Popen[str]":
        """Follow a job as its user would."""
        (context,) = self.shell.contexts
        return self.shell.disco("--context", context, "watch", name)

    def signalled(self, *numbers: signal.Signals) -> tuple[int, str]:
        """Send signals, wait for the end, return the status and what was said."""
        for number in numbers:
            self.process.send_signal(number)
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        return self.process.wait(60), said


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(home=tmp_path, temporary=tmp_path / "tmp")


def test_it_says_what_to_type_next_and_lets_only_this_user_in(shell: Shell, gate: Gate) -> None:
    with shell.serving("--workers", "3") as served:
        ((name, context),) = shell.contexts.items()
        token_file = Path(context["token_file"])
        assert served.first.startswith("Serving jobs on 127.0.0.1:")
        assert served.first.endswith("with 3 workers, fair. Ctrl-C ends it.\n")
        assert served.second.startswith(f"Next: disco --context {name} submit")
        assert token_file.stat().st_mode & 0o777 == 0o600
        assert token_file.parent.stat().st_mode & 0o777 == 0o700
        assert token_file.read_text() not in _command_line(served.process.pid)

        gate.open()
        served.submit("count", gate)
        status, said = served.signalled(signal.SIGTERM)

    assert (status, said) == (
        0,
        "Stopping: running jobs are cancelled; once more to end at once.\n",
    )
    assert shell.contexts == {}
    assert not token_file.exists()
    assert list(shell.temporary.iterdir()) == []


def test_the_first_ctrl_c_cancels_what_runs_and_leaves_nothing(shell: Shell, gate: Gate) -> None:
    with shell.serving() as served:
        served.submit("gated", gate)
        eventually(lambda: gate.began)
        started = _below(served.process.pid)
        assert len(started) >= 4  # partition service, coordinator, worker, slot
        with served.watching("gated") as follower:
            assert follower.stderr is not None
            assert "map: started" in follower.stderr.readline()

            status, _ = served.signalled(signal.SIGINT)

            _, heard = follower.communicate(timeout=60)

    assert status == 0
    assert heard.startswith("Error: gated was cancelled after ")
    assert heard.endswith("\nthe server has ended\n")
    assert follower.returncode == 1
    assert not any(map(_runs, started))
    assert list(shell.temporary.iterdir()) == []


def test_the_second_ctrl_c_ends_everything_at_once(shell: Shell, gate: Gate) -> None:
    with shell.serving() as served:
        served.submit("gated", gate)
        eventually(lambda: gate.began)
        started = _below(served.process.pid)
        for pid in started:
            if "disco_engine.coordinator" in _command_line(pid):
                os.kill(pid, signal.SIGSTOP)  # so that it cannot be asked to cancel

        served.process.send_signal(signal.SIGINT)
        assert served.process.stderr is not None
        assert served.process.stderr.readline().startswith("Stopping")
        status, _ = served.signalled(signal.SIGINT)

    assert status == 130
    eventually(lambda: not any(map(_runs, started)))
    assert list(shell.temporary.iterdir()) == []


def test_a_server_that_is_killed_leaves_no_process(shell: Shell, gate: Gate) -> None:
    with shell.serving() as served:
        served.submit("gated", gate)
        eventually(lambda: gate.began)
        started = _below(served.process.pid)

        served.process.kill()

        eventually(lambda: not any(map(_runs, started)))

    def next_server_removes_the_files() -> bool:
        with shell.serving() as served:
            served.signalled(signal.SIGTERM)
        return not list(shell.temporary.iterdir())

    # Not always the very next: a process is a zombie already while its last threads, which hold its
    # files open, are still ending.
    eventually(next_server_removes_the_files)


def test_an_address_that_is_taken_is_named_with_what_to_do(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        for flags in (["--listen", address], ["--listen", "127.0.0.1:0", "--http", address]):
            status, said = shell.refused(*flags)
            assert status == 1
            assert said.startswith(f"Error: cannot listen on {address}: the port is taken")
            assert "--listen" in said


def test_where_others_can_come_there_must_be_a_certificate(shell: Shell) -> None:
    for flag in ("--listen", "--http"):
        status, said = shell.refused(flag, "0.0.0.0:7070")

        assert status == 2
        assert said == (
            f"Error: {flag} 0.0.0.0:7070: others can reach that address, and tokens would travel in"
            " the open: give --tls-cert and --tls-key, or listen on 127.0.0.1\n"
        )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--listen", "here"], "--listen 'here' is no address: expected host:port"),
        (["--tls-cert", "a.crt"], "--tls-cert and --tls-key belong together"),
        (["--tls-cert", "a.crt", "--tls-key", "a.key"], "a.crt cannot be read"),
        (["--users", "nobody"], "nobody: cannot be read"),
        (["--workers", "0"], "expected an integer of at least 1"),
        (["--policy", "random"], "'random' is not one of 'fair', 'fifo'"),
    ],
)
def test_wrong_use_is_said(shell: Shell, flags: list[str], said: str) -> None:
    status, told = shell.refused(*flags)

    assert status == 2
    assert said in told


def test_users_of_a_file_come_with_their_own_tokens(shell: Shell) -> None:
    users = shell.home / "users"
    users.write_text("token-of-ann-0123,ann\n")
    users.chmod(0o600)
    with shell.serving("--users", str(users)) as served:
        http = served.first.partition("HTTP: ")[2].partition(")")[0]
        request = Request(f"{http}/v1/about", headers={"Authorization": "Bearer token-of-ann-0123"})
        with urlopen(request, timeout=30) as answer:
            assert json.load(answer)["user"] == "ann"
        assert "--token-file FILE submit" in served.second
        assert not (shell.home / "config").exists()


def test_a_certificate_for_another_name_is_told_to_who_is_led_there(shell: Shell) -> None:
    """The context named the address only, and nobody could use it."""
    made = certificate_in(shell.home, "*.example.org")
    with shell.serving("--tls-cert", str(made.chain), "--tls-key", str(made.key)) as served:
        ((name, context),) = shell.contexts.items()
        assert context["server_name"] == "disco.example.org"
        with shell.disco("--context", name, "ls") as asking:
            _, said = asking.communicate(timeout=60)
        assert (asking.returncode, said) == (0, "There are no such jobs.\n")
        (shell.home / "another user").mkdir()
        stranger = certificate_in(shell.home / "another user", "*.example.com")
        theirs = {"XDG_CONFIG_HOME": str(shell.home / "x"), "DISCO_CA_FILE": str(stranger.chain)}
        with shell.disco("--server", context["server"], "ls", **theirs) as unknowing:
            _, said = unknowing.communicate(timeout=60)
        assert unknowing.returncode != 0
        assert said.startswith("Error: no Disco server at 127.0.0.1:"), "gRPC says nothing itself"
        assert "its certificate is not to be trusted" in said
        served.signalled(signal.SIGTERM)


def _below(pid: int) -> list[int]:
    return list(processes_below(pid))


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
