"""The process from outside: flags, and how it ends when there is nothing to lead by."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from disco_engine.process import EXIT_FENCED, EXIT_PORT_TAKEN
from disco_engine.rpc import PortTakenError
from disco_operator.__main__ import EXIT_FAILED, explain, main
from disco_operator.cluster import FencedError, ForbiddenError
from disco_operator.doors import WatchEndedError
from disco_operator.lease import LeadershipLostError

NOWHERE = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "u", "user": {}}],
}


@contextmanager
def an_operator(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a replica whose API server cannot be reached."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(NOWHERE))
    command = [sys.executable, "-P", "-m", "disco_operator", "--job-image=i", "--http-port=0"]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "POD_NAMESPACE": "home"}
    environment.pop("KUBERNETES_SERVICE_HOST", None)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_replica_without_an_api_server_waits_and_stops_when_asked(tmp_path: Path) -> None:
    with an_operator(tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line)["event"] == "lease not readable or writable":
                break
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LeadershipLostError("the lease was not renewed for 7 s"), EXIT_FENCED),
        (FencedError("create pods ns/p"), EXIT_FENCED),
        (WatchEndedError("kopf stopped watching"), EXIT_FAILED),
        (ForbiddenError("create leases home/operator"), EXIT_FAILED),
        (PortTakenError("*:8080"), EXIT_PORT_TAKEN),
        (KeyError("a bug"), EXIT_FAILED),
    ],
)
def test_the_exit_status_says_whose_fault_it_is(error: Exception, status: int) -> None:
    assert explain(error) == status
    assert explain(ExceptionGroup("tasks", [ExceptionGroup("inner", [error])])) == status


def test_who_lost_the_lease_begins_anew_as_the_same_process(tmp_path: Path) -> None:
    """The kubelet started both replicas later and later, while the API server was slow at times."""
    code = """
import os, sys
import disco_operator.__main__ as operator

def main():
    print(os.getpid(), *sys.argv, flush=True)
    had_led = os.path.exists(sys.argv[1])
    open(sys.argv[1], "w").close()
    return operator.EXIT_FAILED if had_led else operator.EXIT_FENCED

operator.main = main
operator.program()
"""
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "led")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert first == second
    assert done.returncode == EXIT_FAILED


def test_who_lost_the_lease_says_so_whatever_else_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    both = ExceptionGroup("tasks", [WatchEndedError("connection"), LeadershipLostError("7 s")])
    assert explain(both) == EXIT_FENCED
    assert [record.message for record in caplog.records] == ["leadership lost"]


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--job-image=i", "--namespace-mode=namespaced"],
        ["--job-image=i", "--namespace=ns"],
        ["--job-image=i"],
    ],
    ids=["no image", "no namespaces", "namespaces of all", "no namespace of its own"],
)
def test_flags_that_make_no_sense_are_refused(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    if len(flags) != 1:
        monkeypatch.setenv("POD_NAMESPACE", "home")
    with pytest.raises(SystemExit) as ended:
        main(flags)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err
