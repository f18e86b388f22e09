"""What becomes of jobs that are submitted to a server on this machine."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import grpc
import pytest

from disco.v1 import coordinator_pb2, jobs_pb2

from .conftest import Gate, Gates, Person, Serve, Server, eventually, gated

PENDING = coordinator_pb2.JOB_PHASE_PENDING
SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED
FAILED = coordinator_pb2.JOB_PHASE_FAILED
CANCELLED = coordinator_pb2.JOB_PHASE_CANCELLED


async def test_a_job_is_submitted_runs_and_can_be_read_after_its_end(
    serve: Serve, gate: Gate
) -> None:
    server = await serve()
    gate.open()

    job = await server.ann.submit("count", gated(gate, tasks=3))
    done = await server.bob.until("count", "SUCCEEDED")
    info, records = await server.bob.results("count")

    assert (job.namespace, job.name, job.submitted_by) == ("default", "count", "ann")
    assert done.uid == job.uid
    assert (done.tasks_done, done.tasks_total, done.retries) == (4, 4, 0)
    assert (info.records, info.parts, records) == (3, 1, 3)
    printed = await server.ann.logs("count")
    assert sorted(line for line in printed.split("\n") if line) == [
        "this is 0",
        "this is 1",
        "this is 2",
    ]


async def test_only_what_holds_results_stays_of_a_job_that_has_ended(
    serve: Serve, gates: Gates
) -> None:
    server = await serve()
    kept, written = next(gates), next(gates)
    for gate in (kept, written):
        gate.open()

    await server.ann.submit("kept", gated(kept))
    out = written.place / "out"
    await server.ann.submit("written", gated(written, output={"url": str(out)}))
    await server.ann.until("kept", "SUCCEEDED")
    done = await server.ann.until("written", "SUCCEEDED")

    await eventually(lambda: len(server.processes()) == 1)
    assert "disco_engine.partition" in next(iter(server.processes().values()))
    assert (done.results.output_url, done.results.records) == (str(out), 1)
    assert (out / "_SUCCESS").exists()
    assert (await server.ann.results("written"))[0].output_url == str(out)
    await server.ann.delete("kept")
    await eventually(lambda: server.processes() == {})
    await server.ann.delete("written")  # with what its tasks put beside their records
    assert (out / "_SUCCESS").exists()
    await eventually(lambda: not list(server.directory.iterdir()))


async def test_a_failed_job_says_why_and_runs_again_when_it_is_asked_to(
    serve: Serve, gate: Gate
) -> None:
    server = await serve()
    gate.fail()
    gate.open()
    await server.ann.submit("gated", gated(gate, retries={"maxAttempts": 2}))

    failed = await server.ann.until("gated", "FAILED")
    assert failed.reason == "TaskFailed"
    assert "told to fail" in failed.message
    assert "RuntimeError: told to fail" in failed.failures[-1].failure.traceback
    before = await _last(server.ann.watch("gated"))

    gate.mend()
    again = await server.ann.retry("gated")
    assert again.uid == failed.uid
    done = await server.ann.until("gated", "SUCCEEDED")
    after = [reply async for reply in server.ann.watch("gated", before.cursor)]

    assert done.retries == 0
    assert (await server.ann.results("gated"))[1] == 1
    numbers = [event.number for reply in after for event in reply.events]
    assert numbers == list(range(before.events[-1].number + 1, numbers[-1] + 1))
    assert after[0].events[0].kind == "retried"
    with pytest.raises(grpc.aio.AioRpcError, match="only failed jobs can be retried"):
        await server.ann.retry("gated")


async def test_a_running_job_is_cancelled_and_leaves_nothing(serve: Serve, gate: Gate) -> None:
    server = await serve()
    await server.ann.submit("gated", gated(gate))
    await eventually(lambda: gate.began)

    await server.ann.cancel("gated", "it was a mistake")
    job = await server.ann.until("gated", "CANCELLED")

    assert job.message == "cancelled by ann: it was a mistake"
    assert job.reason == "Cancelled"
    await eventually(lambda: server.processes() == {})
    assert (await server.ann.cancel("gated")).phase == CANCELLED


async def test_a_job_that_has_just_started_can_be_cancelled(serve: Serve, gate: Gate) -> None:
    server = await serve()
    job = await server.ann.submit("gated", gated(gate))
    assert job.phase == coordinator_pb2.JOB_PHASE_PLANNING

    await server.ann.cancel("gated")

    await server.ann.until("gated", "CANCELLED")
    await eventually(lambda: server.processes() == {})


async def test_deleting_a_running_job_stops_it_and_frees_its_name(
    serve: Serve, gates: Gates
) -> None:
    server = await serve()
    first, second = next(gates), next(gates)
    await server.ann.submit("gated", gated(first))
    await eventually(lambda: first.began)
    watching = server.ann.watch("gated")
    heard = await anext(watching)

    await server.ann.delete("gated")

    with pytest.raises(grpc.aio.AioRpcError) as told:
        await _last(watching)
    assert told.value.code() is grpc.StatusCode.NOT_FOUND
    second.open()
    await server.ann.submit("gated", gated(second))
    await server.ann.until("gated", "SUCCEEDED")
    assert first.began == 1
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await anext(server.ann.watch("gated", heard.cursor))
    assert told.value.code() is grpc.StatusCode.ABORTED
    await server.ann.delete("gated")
    await eventually(lambda: server.processes() == {})
    await eventually(lambda: not list(server.directory.iterdir()))


async def test_jobs_whose_time_is_over_are_deleted(serve: Serve, gate: Gate) -> None:
    server = await serve()
    gate.open()
    await server.ann.submit("gone", gated(gate, ttlSecondsAfterFinished=0))

    with pytest.raises(grpc.aio.AioRpcError) as told:
        await _until_it_is_gone(server.ann, "gone")

    assert told.value.code() is grpc.StatusCode.NOT_FOUND
    await eventually(lambda: server.processes() == {})


async def test_of_finished_jobs_the_oldest_are_deleted_with_their_results(
    serve: Serve, gate: Gate
) -> None:
    server = await serve(keep_finished=1)
    gate.open()
    for name in ("one", "two"):
        await server.ann.submit(name, gated(gate))
        await server.ann.until(name, "SUCCEEDED")

    with pytest.raises(grpc.aio.AioRpcError, match="there is no job 'one'"):
        await server.ann.get("one")
    assert (await server.ann.results("two"))[1] == 1
    await eventually(lambda: len(server.processes()) == 1)


async def test_jobs_that_never_ran_go_before_those_that_have_results(
    serve: Serve, gates: Gates
) -> None:
    """Who cancelled a hundred waiting jobs took everybody's results away."""
    server = await serve(workers=1, keep_finished=1)
    done, busy = next(gates), next(gates)
    done.open()
    await server.ann.submit("done", gated(done))
    await server.ann.until("done", "SUCCEEDED")
    await server.ann.submit("busy", gated(busy))
    await server.ann.submit("waiting", gated(busy))

    await server.ann.cancel("waiting")

    with pytest.raises(grpc.aio.AioRpcError, match="there is no job 'waiting'"):
        await server.ann.get("waiting")
    assert (await server.ann.results("done"))[1] == 1


async def test_of_results_the_oldest_go_and_the_job_says_so(serve: Serve, gate: Gate) -> None:
    server = await serve(keep_results=1)
    gate.open()
    for name in ("one", "two"):
        await server.ann.submit(name, gated(gate))
        await server.ann.until(name, "SUCCEEDED")

    job = await server.ann.get("one")
    assert (job.phase, job.results.records) == (SUCCEEDED, 1)
    assert job.results.lost.startswith("this server keeps those of the newest 1 jobs")
    with pytest.raises(grpc.aio.AioRpcError, match="the results of default/one are gone") as told:
        await server.ann.results("one")
    assert told.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (await server.ann.results("two"))[1] == 1
    await eventually(lambda: len(server.processes()) == 1)


async def test_a_job_that_takes_too_long_fails_and_says_so(serve: Serve, gate: Gate) -> None:
    server = await serve()
    await server.ann.submit("slow", gated(gate, activeDeadlineSeconds=1))

    job = await server.ann.until("slow", "FAILED")

    assert "deadline" in job.message


async def test_watchers_lose_no_event_although_the_coordinator_is_killed(
    serve: Serve, gate: Gate
) -> None:
    server = await serve()
    await server.ann.submit("gated", gated(gate, tasks=2))
    await eventually(lambda: gate.began == 2)
    numbers: list[int] = []
    kinds: list[str] = []
    cursor = ""
    killed = False
    while not killed or not numbers or kinds[-1] != "job-finished":
        async with aclosing(server.ann.watch("gated", cursor)) as replies:
            async for reply in replies:
                cursor = reply.cursor
                numbers += [event.number for event in reply.events]
                kinds += [event.kind for event in reply.events]
                if reply.events:
                    break  # a new stream for all that follows
        if not killed and "stage-started" in kinds:
            killed = True
            _kill(server, "disco_engine.coordinator")
            gate.open()

    assert numbers == list(range(1, len(numbers) + 1))
    assert "process-restarted" in kinds
    assert (await server.ann.get("gated")).phase == SUCCEEDED
    assert (await server.ann.results("gated"))[1] == 2


async def test_results_can_be_read_after_the_process_that_holds_them_was_killed(
    serve: Serve, gate: Gate
) -> None:
    server = await serve()
    gate.open()
    await server.ann.submit("gated", gated(gate, tasks=3))
    await server.ann.until("gated", "SUCCEEDED")
    await eventually(lambda: len(server.processes()) == 1)

    _kill(server, "disco_engine.partition")

    assert (await server.ann.results("gated"))[1] == 3


async def test_an_engine_that_cannot_start_fails_the_job_and_not_the_server(
    serve: Serve, gates: Gates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = await serve()
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'libssl.so is missing' >&2\nexit 127\n")
    broken.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", str(broken))
        await server.ann.submit("broken", gated(next(gates)))
        job = await server.ann.until("broken", "FAILED")

    assert job.reason == "EngineFailed"
    assert "libssl.so is missing" in job.message
    gate = next(gates)
    gate.open()
    await server.ann.submit("fine", gated(gate))
    await server.ann.until("fine", "SUCCEEDED")


async def test_the_same_request_makes_one_job(serve: Serve, gate: Gate) -> None:
    server = await serve()
    gate.open()
    first = await server.ann.submit("", gated(gate), request_id="r1", name_prefix="count")
    again = await server.ann.submit("", gated(gate), request_id="r1", name_prefix="count")
    other = await server.bob.submit("", gated(gate), request_id="r1", name_prefix="count")

    assert first.name.startswith("count-")
    assert again.uid == first.uid
    assert other.uid != first.uid
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await server.bob.submit(first.name, gated(gate))
    assert told.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_dry_run_checks_and_makes_nothing(serve: Serve, gate: Gate) -> None:
    server = await serve()

    job = await server.ann.submit("dry", gated(gate, image="x"), dry_run=True)

    assert (job.name, job.uid, job.phase) == ("dry", "", PENDING)
    assert job.warnings == ["spec.image has no effect here: only a cluster heeds it"]
    assert (await server.ann.stub.List(
        jobs_pb2.ListRequest(), metadata=server.ann.metadata
    )).jobs == []  # fmt: skip
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await server.ann.submit("dry", gated(gate, inputs=["here.txt"]), dry_run=True)
    assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "spec.inputs[0]: expected an absolute path" in (told.value.details() or "")


async def test_who_may_change_a_job(serve: Serve, gate: Gate) -> None:
    server = await serve()
    await server.ann.submit("of-ann", gated(gate))

    for call in (server.bob.cancel, server.bob.retry, server.bob.delete):
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await call("of-ann")
        assert told.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "only 'ann', whose job it is, and admins may" in (told.value.details() or "")
    assert (await server.bob.get("of-ann")).submitted_by == "ann"
    await server.root.cancel("of-ann")
    await server.bob.until("of-ann", "CANCELLED")
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await server.stranger.get("of-ann")
    assert told.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_server_that_ends_stops_its_jobs_and_leaves_nothing(
    serve: Serve, gates: Gates, tmp_path: Path
) -> None:
    """What was started is looked for when the fixture has ended the server."""
    server = await serve(workers=1)
    running, waiting = next(gates), next(gates)
    await server.ann.submit("running", gated(running))
    await server.ann.submit("waiting", gated(waiting))
    await eventually(lambda: running.began)


async def _last(replies: AsyncIterator[jobs_pb2.WatchJobReply]) -> jobs_pb2.WatchJobReply:
    return [reply async for reply in replies][-1]


async def _until_it_is_gone(person: Person, name: str) -> None:
    while True:  # watching ends with the job, and that may be before it is deleted
        await person.until(name, "SUCCEEDED")


def _kill(server: Server, module: str) -> None:
    """Kill the only process that runs a module."""
    (pid,) = (pid for pid, line in server.processes().items() if module in line)
    os.kill(pid, signal.SIGKILL)
