"""ls, status, cancel, retry, delete, wait, version: what needs a server and no job's code."""

import json
import re
import socket
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from disco.v1 import common_pb2, coordinator_pb2
from disco_gateway.fake import FakeBackend

from .conftest import Shell, is_watched, until

RUNNING = coordinator_pb2.JOB_PHASE_RUNNING
FAILED = coordinator_pb2.JOB_PHASE_FAILED
SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED


async def test_jobs_are_listed_newest_first(server: FakeBackend, shell: Shell) -> None:
    now = datetime.now(UTC)
    for name, ago_s, phase in (("old", 7200, SUCCEEDED), ("new", 60, RUNNING)):
        job = server.add("default", name, phase=phase, submitted_by="alice").job
        job.created.FromDatetime(now - timedelta(seconds=ago_s))
        job.started.FromDatetime(now - timedelta(seconds=ago_s))
        job.tasks_done, job.tasks_total = 3, 9
    server.jobs["default", "old"].job.finished.FromDatetime(now - timedelta(seconds=3600))

    done = await shell.disco("ls")

    assert (done.status, done.err) == (0, "")
    head, newer, older = (line.split() for line in done.out.splitlines())
    assert head == ["NAME", "PHASE", "PROGRESS", "AGE", "DURATION", "USER"]
    assert (newer[:3], newer[-1]) == (["new", "running", "3/9"], "alice")
    assert older == ["old", "succeeded", "3/9", "2h", "1h", "alice"]
    assert (await shell.disco("ls", "--phase", "running", "-o", "name")).out == "new\n"
    assert (await shell.disco("ls", "--since", "1h", "-o", "name")).out == "new\n"


async def test_jobs_of_all_namespaces_have_names_that_other_commands_take(
    server: FakeBackend, shell: Shell
) -> None:
    server.add("default", "one", labels={"team": "a"})
    server.add("elsewhere", "two", labels={"team": "b"})

    assert (await shell.disco("ls", "-o", "name")).out == "one\n"
    assert "elsewhere   two " in (await shell.disco("ls", "-A")).out
    names = (await shell.disco("ls", "-A", "-l", "team=b", "-o", "name")).out.split()
    assert names == ["elsewhere/two"]
    assert (await shell.disco("cancel", *names)).out == "elsewhere/two: is over: cancelled\n"
    assert (await shell.disco("-n", "elsewhere", "ls", "-o", "name")).out == "two\n"


async def test_no_jobs_are_told_on_standard_error(server: FakeBackend, shell: Shell) -> None:
    done = await shell.disco("ls", "--phase", "failed")

    assert (done.status, done.out, done.err) == (0, "", "There are no such jobs.\n")


async def test_lists_and_jobs_are_documents_for_programs(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "one", labels={"team": "a"}, tasks_total=2**20)

    listed = json.loads((await shell.disco("ls", "-o", "json")).out)
    told = yaml.safe_load((await shell.disco("status", "one", "-o", "yaml")).out)

    assert listed["jobs"][0]["name"] == "one"
    assert (told["phase"], told["labels"], told["tasks_total"]) == ("running", {"team": "a"}, 2**20)
    assert datetime.fromisoformat(told["created"]) < datetime.now(UTC)


async def test_the_status_of_a_failed_job_tells_what_and_where(
    server: FakeBackend, shell: Shell
) -> None:
    message = "map:3 failed 4 times: ValueError: no luck"
    failure = common_pb2.Failure(
        kind=common_pb2.FAILURE_KIND_USER,
        message=message,
        traceback="Traceback (most recent call last):\n  File a.py\nValueError: no luck\n",
        record="b'x'",
    )
    report = coordinator_pb2.FailureReport(
        failure=failure, stage_name="map", attempt=common_pb2.AttemptRef(task=3, attempt=4)
    )
    stage = coordinator_pb2.StageProgress(
        name="map", tasks_total=10, tasks_done=9, tasks_running=1, retries=3, started_s=1.0
    )
    server.add(
        "default", "bad", phase=FAILED, reason="TaskFailed", message=message, failures=[report],
        stages=[stage], submitted_by="alice", retries=3, tasks_done=9, tasks_total=10,
    )  # fmt: skip

    done = await shell.disco("status", "bad")

    assert done.status == 0
    assert "bad  failed" in done.out
    assert re.search(rf"why +TaskFailed: {message}", done.out)
    assert re.search(r"submitted +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, .* ago, by alice", done.out)
    assert re.search(r"map +━+ +9/10", done.out)
    assert "map:3 (attempt 4, no worker) user: map:3 failed 4 times" in done.out
    assert "ValueError: no luck" in done.out
    assert "record: b'x'" in done.out
    assert "\x1b" not in done.out, "colours in a file"


async def test_several_jobs_are_acted_on_and_each_is_told(
    server: FakeBackend, shell: Shell
) -> None:
    for name in ("one", "two"):
        server.add("default", name)

    done = await shell.disco("cancel", "one", "nothere", "two", "--reason", "no need")

    assert done.status == 2
    assert done.out == "one: is over: cancelled\ntwo: is over: cancelled\n"
    assert done.err == "nothere: there is no job 'nothere' in namespace 'default'\n"
    assert server.jobs["default", "two"].job.message == "cancelled by alice: no need"
    assert (await shell.disco("delete", "one", "two")).out == "one: deleted\ntwo: deleted\n"
    assert server.jobs == {}


async def test_only_a_failed_job_is_retried(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "bad", phase=FAILED)
    server.add("default", "good", phase=SUCCEEDED)

    assert (await shell.disco("retry", "bad")).out == "bad: runs again\n"
    refused = await shell.disco("retry", "good")
    assert (refused.status, refused.err) == (1, "good: the job good has not failed\n")


async def test_waiting_tells_the_end_by_the_exit_status(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "bad")
    waiting = await shell.start("wait", "bad")
    await until(lambda: is_watched(server))
    server.finish("default", "bad", FAILED, message="no luck")

    done = await shell.ended(waiting)

    assert (done.status, done.out, done.err) == (1, "bad failed\n", "no luck\n")
    assert (await shell.disco("wait", "bad", "--for", "ended")).status == 0


async def test_waiting_too_long_has_a_status_of_its_own(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "slow")

    done = await shell.disco("wait", "slow", "--timeout", "100ms")

    assert (done.status, done.out) == (4, "")
    assert done.err == "Error: slow has not ended within 0.1 s; it goes on\n"


@pytest.mark.parametrize("command", ["status", "watch", "events", "logs", "results", "wait"])
async def test_an_unknown_job_is_wrong_use(server: FakeBackend, shell: Shell, command: str) -> None:
    done = await shell.disco(command, "nothere")

    assert (done.status, done.out) == (2, "")
    assert done.err == "Error: there is no job 'nothere' in namespace 'default'\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"DISCO_SERVER": "disco://127.0.0.1:1"}, r"Error: no Disco server at 127.0.0.1:1: "),
        ({"DISCO_TOKEN": "other"}, r"Error: .*the token is not accepted"),
        ({"DISCO_NAMESPACE": "secret"}, r"Error: 'alice' may not list discojobs in .*'secret'"),
    ],
)
async def test_a_server_that_cannot_be_used_has_a_status_of_its_own(
    server: FakeBackend, shell: Shell, environment: dict[str, str], expected: str
) -> None:
    server.rights = {("alice", "*", "default")}
    shell.environment.update(environment)

    done = await shell.disco("ls")

    assert (done.status, done.out) == (3, "")
    assert re.match(expected, done.err)


async def test_without_a_server_it_is_said_how_to_name_one(shell: Shell) -> None:
    done = await shell.disco("ls")

    assert done.status == 2
    assert "disco config set-context" in done.err


async def test_the_versions_of_both_sides_are_told(server: FakeBackend, shell: Shell) -> None:
    done = await shell.disco("version")

    assert done.status == 0
    assert re.match(
        r"client  \S+, Python 3\.\d+\.\d+\nserver  \S+, local, Python 3.\d+, you are alice\n",
        done.out,
    )
    told = json.loads((await shell.disco("version", "-o", "json")).out)
    assert told["server"]["kind"] == "local"


async def test_a_server_that_is_away_is_no_error_for_the_version(shell: Shell) -> None:
    done = await shell.disco("version", "--server", "disco://127.0.0.1:1")

    assert done.status == 0
    assert "server  none: no Disco server at 127.0.0.1:1" in done.out


async def test_names_of_jobs_are_completed(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "count-one")
    server.add("default", "other")
    shell.environment.update(
        _DISCO_COMPLETE="bash_complete", COMP_WORDS="disco status co", COMP_CWORD="2"
    )

    assert (await shell.disco()).out == "plain,count-one\n"


async def test_completion_without_a_server_completes_nothing_and_says_nothing(shell: Shell) -> None:
    shell.environment.update(
        _DISCO_COMPLETE="bash_complete", COMP_WORDS="disco status co", COMP_CWORD="2"
    )

    done = await shell.disco()
    assert (done.out.strip(), done.err) == ("", "")


async def test_completion_does_not_wait_for_a_server_that_says_nothing(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it listens, and never answers
        shell.environment.update(
            DISCO_SERVER=f"disco://127.0.0.1:{silent.getsockname()[1]}",
            DISCO_TOKEN="x",
            _DISCO_COMPLETE="bash_complete",
            COMP_WORDS="disco status co",
            COMP_CWORD="2",
        )
        done = await shell.disco()

    assert (done.out.strip(), done.err) == ("", "")
