"""Commands by the names that Disco had, over a server that a test drives."""

import json
from pathlib import Path
from typing import Any

import pytest

from disco.cli.errors import CommandError
from disco.cli.main import cli
from disco.ddfs import DDFS
from disco.v1 import coordinator_pb2
from disco_gateway.fake import TOKEN

from .conftest import Elsewhere

FAILED = coordinator_pb2.JOB_PHASE_FAILED
SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED


@pytest.fixture
def server(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """Make it the environment's server, with jobs of which each is newer than those before."""
    monkeypatch.setenv("DISCO_SERVER", f"disco://127.0.0.1:{elsewhere.replicas.port}")
    monkeypatch.setenv("DISCO_TOKEN", TOKEN)
    for name in ("words-1", "words-2", "other-1"):
        elsewhere.do(elsewhere.backend.add, "default", name)
    for seconds, entry in enumerate(elsewhere.backend.jobs.values()):
        entry.job.created.FromSeconds(1_700_000_000 + seconds)
    elsewhere.do(elsewhere.backend.finish, "default", "words-1", FAILED)
    stage = coordinator_pb2.StageProgress(name="map", tasks_total=1, tasks_done=1)
    elsewhere.do(elsewhere.backend.change, "default", "words-2", stages=[stage])
    return elsewhere


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    cli.main(arguments, prog_name="disco", standalone_mode=False)
    return capsys.readouterr().out


def test_jobs_are_listed_with_the_states_that_disco_has(
    server: Elsewhere, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "jobs") == "other-1\nwords-2\nwords-1\n"
    assert printed(capsys, "jobs", "-S").splitlines()[1:] == ["active\twords-2", "dead\twords-1"]


def test_the_newest_job_is_called_at(server: Elsewhere, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed(capsys, "jobdict", "@?words"))
    assert told["pipeline"] == [["map", 0, 0, 0, 1, 0]]
    assert printed(capsys, "kill", "@", "words-2") == (
        "other-1: is over: cancelled\nwords-2: is over: cancelled\n"
    )
    assert printed(capsys, "purge", "default/@?words-1") == "default/words-1: deleted\n"
    for wrong, message in (("@?none", "there is no such job"), ("@x", "expected @, @")):
        with pytest.raises(CommandError, match=message):
            printed(capsys, "jobdict", wrong)


def test_what_a_stage_has_left_is_told_of_the_last_one(
    server: Elsewhere, capsys: pytest.CaptureFixture[str]
) -> None:
    info = {"results": {"parts": 2}}
    server.do(server.backend.finish, "default", "words-2", SUCCEEDED, **info)
    urls = printed(capsys, "stageresults", "words-2").splitlines()
    assert [url.rpartition("/")[2] for url in urls] == ["0", "1"]
    for name in ("words-2", "default/@?words-2"):
        assert printed(capsys, "deref", "-j", name).splitlines() == urls
    for name, state in (("none", "unknown job"), ("other-1", "active"), ("words-1", "dead")):
        with pytest.raises(CommandError, match=f"{name} has no results: it is {state}"):
            printed(capsys, "deref", "-j", name)
    with pytest.raises(CommandError, match="a server tells only where the records of a job that"):
        printed(capsys, "stageresults", "words-2", "-S", "reduce")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["start"], "disco serve runs a server on this machine"),
        (["restart", "--any", "flag"], "end disco serve and start it again"),
        (["debug", "host"], "--keep-logs"),
        (["nodeinfo"], "kubectl get nodes"),
    ],
)
def test_what_there_is_none_of_says_what_does_it(
    server: Elsewhere, arguments: list[str], message: str, capsys: Any
) -> None:
    with pytest.raises(CommandError, match=message):
        printed(capsys, *arguments)


def test_versions_are_printed_alone(server: Elsewhere, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "client_version").count("\n") == 1
    assert printed(capsys, "master_version") == printed(capsys, "client_version")


def test_urls_are_dereferenced(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ddfs = DDFS(str(tmp_path))
    ddfs.tag("data", [["raw://a", "raw://b"], ["raw://c"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISCO_DDFS", str(tmp_path))
        assert (
            printed(capsys, "deref", "raw://x", "tag://data")
            == "raw://x\nraw://a\traw://b\nraw://c\n"
        )
