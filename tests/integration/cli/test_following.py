"""watch, events, logs: what is told of a job while it runs."""

import json
import re
import signal
from contextlib import AsyncExitStack

import pytest

from disco.v1 import coordinator_pb2
from disco_gateway.fake import TOKEN, FakeBackend
from disco_gateway.serving import serving

from .conftest import Shell, is_watched, until

FAILED = coordinator_pb2.JOB_PHASE_FAILED
SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED
MAP = coordinator_pb2.StageProgress(
    name="map", tasks_total=4, tasks_done=4, records_in=40, started_s=1.0, finished_s=2.0
)


async def test_watching_shows_stages_and_events_and_ends_with_the_job(
    server: FakeBackend, shell: Shell
) -> None:
    server.add("default", "one")
    watching = await shell.start("watch", "one")
    await until(lambda: is_watched(server))
    server.change("default", "one", stages=[MAP])
    server.print("default", "one", "a word\n", task=3)
    server.finish("default", "one")

    done = await shell.ended(watching)

    assert (done.status, done.out) == (0, "")
    lines = [line[10:] for line in done.err.splitlines() if re.match(r"\d\d:\d\d:\d\d  ", line)]
    assert "map: started, 4 tasks" in lines
    assert "map:3 | a word" in lines
    assert "map: finished 4 tasks in 1.0 s, 40 records in, 0 out" in lines
    assert re.search(r"^one succeeded in .*: 40 records read, 0 results\.$", done.err, re.M)


async def test_who_watches_is_told_that_the_server_is_gone_instead_of_progress(
    shell: Shell,
) -> None:
    """The last known progress was told again and again, with times that nobody knew."""
    backend = FakeBackend(kind="kubernetes")
    backend.add("default", "one")
    shell.environment["DISCO_TOKEN"] = TOKEN
    async with AsyncExitStack() as ending:
        served = await ending.enter_async_context(serving(backend))
        address = f"127.0.0.1:{served.grpc_port}"
        shell.environment["DISCO_SERVER"] = f"disco://{address}"
        watching = await shell.start("watch", "one")
        await until(lambda: is_watched(backend))
    assert watching.stderr is not None
    told = await watching.stderr.readline()
    nothing = "does not answer: nothing listens there (connection refused); asking again for 60 s"
    assert told[10:].decode() == f"{address} {nothing}\n"

    async with serving(backend, grpc_address=address):
        told = await watching.stderr.readline()
        assert told[10:] == b"the server answers again\n"
        backend.finish("default", "one")
        done = await shell.ended(watching)
    assert (done.status, done.err[:14]) == (0, "one succeeded ")


async def test_whoever_comes_late_sees_the_newest_events_only(
    server: FakeBackend, shell: Shell
) -> None:
    server.add("default", "one")
    for number in range(30):
        server.print("default", "one", f"word {number}\n")
    watching = await shell.start("watch", "one")
    await until(lambda: is_watched(server))
    server.finish("default", "one", FAILED, message="no luck")

    done = await shell.ended(watching)

    assert done.status == 1
    assert "word 29" in done.err
    assert "word 3\n" not in done.err
    assert "no luck" in done.err
    assert "disco retry one" in done.err


async def test_a_job_that_has_ended_is_told_at_once(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "one")
    server.finish("default", "one", FAILED, message="no luck")

    done = await shell.disco("watch", "one")

    assert done.status == 1
    assert done.err.startswith("Error: one failed after ")


async def test_ctrl_c_stops_the_watching_and_not_the_job(server: FakeBackend, shell: Shell) -> None:
    server.add("elsewhere", "one")
    watching = await shell.start("watch", "elsewhere/one")
    await until(lambda: is_watched(server))
    assert watching.stderr is not None
    server.print("elsewhere", "one", "now it is shown\n")
    assert b"now it is shown" in await watching.stderr.readline()
    watching.send_signal(signal.SIGINT)

    done = await shell.ended(watching)

    assert done.status == 130
    assert done.err == (
        "SIGINT: stopped watching; the job goes on.\n"
        "  to watch it again:  disco watch -n elsewhere one\n"
        "  to stop it:         disco cancel -n elsewhere one\n"
    )
    assert server.jobs["elsewhere", "one"].job.phase == coordinator_pb2.JOB_PHASE_RUNNING


async def test_watching_tells_programs_everything(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "one")
    watching = await shell.start("watch", "one", "--json")
    await until(lambda: is_watched(server))
    server.print("default", "one", "a word\n")
    server.finish("default", "one")

    done = await shell.ended(watching)

    lines = [json.loads(line) for line in done.out.splitlines()]
    assert {line["type"] for line in lines} == {"event", "progress", "result"}
    assert (lines[-1]["outcome"], done.err) == ("succeeded", "")


async def test_events_are_told_with_time_and_kind_but_not_what_was_printed(
    server: FakeBackend, shell: Shell
) -> None:
    server.add("default", "one")
    server.add_events(
        "default",
        "one",
        {"kind": "stage-started", "stage_name": "map", "text": "4 tasks", "time_s": 1e9},
        {"kind": "worker-lost", "text": "worker-1 is gone\x1b[2J", "worker_id": "worker-1"},
    )
    server.print("default", "one", "a word\n")

    done = await shell.disco("events", "one")

    first, second = done.out.splitlines()
    assert re.fullmatch(r"2001-09-0\d \d\d:\d\d:\d\d  stage-started +map: 4 tasks", first)
    assert second.endswith("worker-lost       worker-1 is gone\\x1b[2J")
    told = [
        json.loads(line) for line in (await shell.disco("events", "one", "--json")).out.splitlines()
    ]
    assert [event["kind"] for event in told] == ["stage-started", "worker-lost", "output"]


async def test_events_are_followed_to_the_end(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "one")
    following = await shell.start("events", "one", "-f")
    await until(lambda: is_watched(server))
    server.add_events("default", "one", {"kind": "stage-started", "text": "map"})
    server.finish("default", "one", message="done")

    done = await shell.ended(following)

    assert [line.split()[2] for line in done.out.splitlines()] == ["stage-started", "job-finished"]


async def test_logs_are_of_the_task_that_is_asked_for(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "one")
    server.print("default", "one", "of map\n", task=0)
    server.print("default", "one", "also\nof map\n", task=2)
    server.print("default", "one", "of reduce\n", stage="reduce")

    async def lines(*flags: str) -> list[str]:
        return (await shell.disco("logs", "one", *flags)).out.splitlines()

    assert await lines() == [
        "map:0 | of map",
        "map:2 | also",
        "map:2 | of map",
        "reduce:0 | of reduce",
    ]
    assert await lines("--stage", "reduce") == ["reduce:0 | of reduce"]
    assert await lines("--stage", "map", "--task", "2") == ["map:2 | also", "map:2 | of map"]


async def test_logs_are_followed_to_the_end(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "one")
    following = await shell.start("logs", "one", "-f")
    assert following.stdout is not None
    server.print("default", "one", "first\n")
    assert await following.stdout.readline() == b"map:0 | first\n"
    server.print("default", "one", "second\n")
    server.finish("default", "one")

    assert (await shell.ended(following)).out == "map:0 | second\n"


async def test_a_reader_that_has_seen_enough_ends_the_command_quietly(
    server: FakeBackend, shell: Shell
) -> None:
    server.add("default", "one")
    for _ in range(2_000):
        server.print("default", "one", 100 * "x" + "\n")
    printing = await shell.start("logs", "one")
    assert printing.stdout is not None
    assert printing.stderr is not None
    await printing.stdout.readline()
    printing.stdout._transport.close()  # type: ignore[attr-defined] # there is no other way

    assert await printing.stderr.read() == b""
    assert await printing.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("command", ["logs", "events"])
async def test_ctrl_c_ends_what_would_go_on_without_a_traceback(
    server: FakeBackend, shell: Shell, command: str
) -> None:
    server.add("default", "one")
    server.print("default", "one", "a word\n")
    server.add_events("default", "one", {"kind": "stage-started", "text": "map"})
    following = await shell.start(command, "one", "-f")
    assert following.stdout is not None
    assert await following.stdout.readline()
    following.send_signal(signal.SIGINT)

    done = await shell.ended(following)

    assert (done.status, done.err) == (130, "\nInterrupted.\n")
