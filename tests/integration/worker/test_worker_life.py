"""A worker's conversation with its coordinator, and its end."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from disco.v1 import common_pb2, coordinator_pb2, job_pb2
from disco_engine import outputs
from disco_engine.wire import attempt_from_wire

if TYPE_CHECKING:
    from tests.integration.worker.conftest import Bench, Do, FakeCoordinator

INFRASTRUCTURE = common_pb2.FAILURE_KIND_INFRASTRUCTURE

WAIT = """
def wait(context):
    context.status("waiting")
    while not os.path.exists(context.inputs[0].urls[1]):
        time.sleep(0.01)

def forever(context):
    subprocess.Popen(["sleep", "1000"])
    context.status("waiting")
    time.sleep(1000)

def pid(context):
    print(os.getpid())

def litter(context):
    import tempfile
    (context.scratch / "file").write_text("x")
    open(tempfile.mkstemp()[1], "w").close()
    print(context.scratch)

def progress(context):
    context.status("first")
    context.read(5, 50)
    while not os.path.exists(context.inputs[0].urls[2]):
        time.sleep(0.01)
    time.sleep(1.1)
    context.read(6, 60)
    wait(context)
"""


def waiting_for(path: Path | str) -> list[job_pb2.TaskInput]:
    return [job_pb2.TaskInput(urls=["wait", str(path)])]


async def runs(coordinator: FakeCoordinator, task: coordinator_pb2.TaskAssignment) -> None:
    """Wait until a heartbeat says that the attempt runs and has said so."""
    attempt = attempt_from_wire(task.attempt)
    await coordinator.until(
        lambda: attempt in coordinator.progress and "waiting" in coordinator.statuses
    )


async def test_a_finished_worker_leaves_no_process_and_no_file(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WAIT)
    worker = await bench.worker("--ready-file", str(bench.tmp_path / "ready"), slots=2)
    report = await coordinator.run(inputs=do("litter"))
    assert report.output.startswith(str(worker.scratch))
    assert Path(report.output.strip()) not in worker.scratch.rglob("*")
    assert (bench.tmp_path / "ready").exists()
    coordinator.finish()
    assert await worker.ended() == 0
    assert coordinator.ended_well
    assert not worker.scratch.exists()
    assert await worker.alone()


async def test_finish_kills_what_still_runs_and_what_that_has_started(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WAIT)
    worker = await bench.worker()
    task = coordinator.task(inputs=do("forever"))
    coordinator.assign(task)
    await runs(coordinator, task)
    assert worker.started("sleep")
    coordinator.finish()
    assert await worker.ended() == 0
    assert await worker.alone()


async def test_temporary_output_is_removed_before_the_worker_says_goodbye(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WAIT)
    directory = bench.tmp_path / "output"
    coordinator.job.output.CopyFrom(job_pb2.Output(url=str(directory), format="text"))
    worker = await bench.worker()
    outputs.prepare(str(directory), "text", "job-1")
    task = coordinator.task(inputs=do("forever"))
    coordinator.assign(task)
    await runs(coordinator, task)  # so that no slot is free to do it
    coordinator.finish(remove_output=True)
    assert await worker.ended() == 0
    assert coordinator.ended_well
    assert not directory.exists()


async def test_records_go_to_the_jobs_output_and_the_commit_makes_them_visible(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(
        """
        def write(context):
            context.writer().add(0, "key", context.task)
        """
    )
    directory = bench.tmp_path / "output"
    coordinator.job.output.CopyFrom(job_pb2.Output(url=str(directory), format="text"))
    outputs.prepare(str(directory), "text", "job-1")
    await bench.worker()
    written = await coordinator.run(inputs=do("write"), write_output=True)
    silent = await coordinator.run(inputs=do("nothing"), write_output=True)
    assert (written.finished.output_records, silent.finished.output_records) == (1, 0)
    assert not written.finished.label_table
    assert not list(directory.glob("part-*"))
    files = [written.finished.output_file, silent.finished.output_file]
    commit = coordinator_pb2.TaskAssignment(
        attempt=common_pb2.AttemptRef(stage=2, task=0, epoch=1, attempt=1),
        stage_name="commit",
        commit=coordinator_pb2.CommitTask(output_files=files),
    )
    coordinator.assign(commit)
    assert (await coordinator.report_of(commit)).HasField("finished")
    parts = sorted(directory.glob("part-*"))
    assert [part.read_text() for part in parts] == ["key\t1\n", ""]
    assert (directory / "_SUCCESS").exists()

    # A coordinator that does not know of that is told, whatever it asks for.
    late = await coordinator.run(inputs=do("write"), write_output=True)
    assert late.finished.output_complete
    plan = coordinator_pb2.TaskAssignment(
        attempt=common_pb2.AttemptRef(stage=0, task=0, epoch=2, attempt=1),
        stage_name="plan",
        plan=coordinator_pb2.PlanTask(),
    )
    coordinator.assign(plan)
    again = (await coordinator.report_of(plan)).finished
    assert again.output_complete
    assert not again.HasField("plan")
    assert sorted(directory.glob("part-*")) == parts


async def test_heartbeats_tell_how_far_attempts_are_and_each_status_once(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WAIT)
    await bench.worker()
    done, heard = bench.tmp_path / "done", bench.tmp_path / "heard"
    inputs = [job_pb2.TaskInput(urls=["progress", str(done), str(heard)])]
    task = coordinator.task(inputs=inputs)
    coordinator.assign(task)
    attempt = attempt_from_wire(task.attempt)
    await coordinator.until(lambda: coordinator.statuses == ["first"])
    heard.touch()
    await coordinator.until(
        lambda: attempt in coordinator.progress and coordinator.progress[attempt].records_in == 11
    )
    done.touch()
    await coordinator.report_of(task)
    assert coordinator.statuses == ["first", "waiting"]


async def test_a_running_attempt_that_is_cancelled_makes_room_at_once(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WAIT)
    worker = await bench.worker()
    task, next_task = coordinator.task(inputs=do("forever")), coordinator.task(inputs=do("pid"))
    coordinator.assign(task, next_task)
    await runs(coordinator, task)
    coordinator.cancel(task)
    assert (await coordinator.report_of(next_task)).HasField("finished")
    assert attempt_from_wire(task.attempt) not in coordinator.reports
    assert await worker.alone("sleep")


async def test_cancelling_an_attempt_costs_none_of_those_behind_it(bench: Bench, do: Do) -> None:
    """The slot is killed while it hurries through attempts that were sent ahead."""
    coordinator = await bench.begin(WAIT)
    await bench.worker()
    for _ in range(3):
        await coordinator.run(inputs=do("nothing"))
    tasks = [coordinator.task(inputs=do("nothing")) for _ in range(2_000)]
    coordinator.assign(*tasks)
    for task in tasks[::10]:
        coordinator.cancel(task)
    for index, task in enumerate(tasks):
        if index % 10:
            assert (await coordinator.report_of(task)).HasField("finished")


async def test_a_queued_attempt_that_is_cancelled_never_runs(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WAIT)
    await bench.worker()
    done = bench.tmp_path / "done"
    first = coordinator.task(inputs=waiting_for(done))
    cancelled, last = (coordinator.task(inputs=do("pid")) for _ in range(2))
    coordinator.assign(first, cancelled, last)
    await runs(coordinator, first)
    before = coordinator.credit
    coordinator.cancel(cancelled)
    await coordinator.until(lambda: coordinator.credit > before)  # its place is free again
    done.touch()
    await coordinator.report_of(last)
    assert attempt_from_wire(cancelled.attempt) not in coordinator.reports


async def test_attempts_do_not_wait_behind_a_long_one_while_another_slot_is_idle(
    bench: Bench, do: Do
) -> None:
    """Short tasks were sent ahead to a slot whose turn then takes long."""
    coordinator = await bench.begin(WAIT)
    await bench.worker(slots=2)
    for _ in range(5):
        await coordinator.run(inputs=do("nothing"))
    done = bench.tmp_path / "done"
    long = coordinator.task(inputs=waiting_for(done))
    short = [coordinator.task(inputs=do("nothing")) for _ in range(50)]
    coordinator.assign(long, *short)
    for task in short:
        assert (await coordinator.report_of(task)).HasField("finished")
    assert attempt_from_wire(long.attempt) not in coordinator.reports
    done.touch()
    await coordinator.report_of(long)


async def test_a_worker_that_is_asked_hands_back_the_newest_it_has_not_started(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WAIT)
    await bench.worker()
    done = bench.tmp_path / "done"
    running = coordinator.task(inputs=waiting_for(done))
    kept, newest = (coordinator.task(inputs=do("pid")) for _ in range(2))
    coordinator.assign(running, kept, newest)
    await runs(coordinator, running)
    coordinator.ask_back(5, 2, 3)  # stages of which it has nothing
    coordinator.ask_back(1, 1)
    assert (await coordinator.report_of(newest)).HasField("returned")
    done.touch()
    assert (await coordinator.report_of(running)).HasField("finished")
    assert (await coordinator.report_of(kept)).HasField("finished")
    assert len(coordinator.reports) == 3


async def test_what_was_sent_ahead_to_a_slot_is_handed_back_and_what_runs_there_goes_on(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WAIT)
    await bench.worker()
    for _ in range(5):
        await coordinator.run(inputs=do("nothing"))
    done = bench.tmp_path / "done"
    running = coordinator.task(inputs=waiting_for(done))
    ahead = [coordinator.task(inputs=do("pid")) for _ in range(3)]
    coordinator.assign(running, *ahead)
    await runs(coordinator, running)
    before = coordinator.heartbeats
    await coordinator.until(lambda: coordinator.heartbeats > before)  # it has run for 0.2 s
    coordinator.ask_back(9, 1)
    for task in ahead:
        assert (await coordinator.report_of(task)).HasField("returned")
    assert attempt_from_wire(running.attempt) not in coordinator.reports
    done.touch()
    assert (await coordinator.report_of(running)).HasField("finished")
    assert (await coordinator.run(inputs=do("pid"))).HasField("finished")


async def test_reports_that_were_not_confirmed_are_sent_again_after_a_reconnect(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WAIT)
    coordinator.confirms = False
    await bench.worker()
    done = bench.tmp_path / "done"
    report = await coordinator.run(inputs=do("pid"))
    running = coordinator.task(inputs=waiting_for(done))
    coordinator.assign(running)
    await runs(coordinator, running)
    coordinator.reports.clear()
    coordinator.confirms = True
    coordinator.drop_connection()
    await coordinator.until(lambda: len(coordinator.hellos) == 2)
    hello = coordinator.hellos[1]
    assert hello.epoch == 1
    assert {ref.task for ref in hello.attempts} == {report.attempt.task, running.attempt.task}
    await coordinator.until(lambda: len(coordinator.reports) == 1)
    done.touch()
    assert (await coordinator.report_of(running)).HasField("finished")
    assert coordinator.credit > 0


async def test_a_new_coordinator_ends_all_attempts_of_the_old_one(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WAIT)
    worker = await bench.worker()
    task, queued = coordinator.task(inputs=do("forever")), coordinator.task(inputs=do("pid"))
    coordinator.assign(task, queued)
    await runs(coordinator, task)
    await coordinator.stop()
    second = await bench.serve(type(coordinator)(coordinator.job, coordinator.port, epoch=2))
    await second.until(lambda: bool(second.hellos))
    assert (await second.run(inputs=do("pid"))).HasField("finished")
    assert [attempt.epoch for attempt in second.reports] == [2]
    assert await worker.alone("sleep")


async def test_a_draining_worker_finishes_what_runs_and_hands_back_the_rest(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WAIT)
    worker = await bench.worker()
    done = bench.tmp_path / "done"
    running, queued = coordinator.task(inputs=waiting_for(done)), coordinator.task(inputs=do("pid"))
    coordinator.assign(running, queued)
    await runs(coordinator, running)
    worker.terminate()
    assert (await coordinator.report_of(queued)).HasField("returned")
    assert coordinator.draining
    done.touch()
    assert (await coordinator.report_of(running)).HasField("finished")
    assert await worker.ended() == 0
    assert coordinator.ended_well
    assert await worker.alone()


async def test_a_draining_worker_does_not_wait_for_ever(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WAIT)
    worker = await bench.worker("--drain", "0.2")
    running = coordinator.task(inputs=do("forever"))
    coordinator.assign(running)
    await runs(coordinator, running)
    worker.terminate()
    failure = (await coordinator.report_of(running)).failed
    assert failure.kind == INFRASTRUCTURE
    assert failure.message == "the worker is draining: not finished within 0.2 s"
    assert await worker.ended() == 0
    assert await worker.alone()


async def test_a_worker_without_a_coordinator_gives_up(bench: Bench) -> None:
    coordinator = await bench.begin()
    await coordinator.stop()
    worker = await bench.worker("--give-up-after", "0.5", wait=False)
    assert await worker.ended() == 1
    assert "could not be reached for" in worker.log.read_text()
    assert await worker.alone()


async def test_a_worker_that_is_told_to_come_again_does_not_give_up(bench: Bench) -> None:
    """Partition services may be slower to start than it is patient with a silent coordinator."""
    coordinator = await bench.begin()
    coordinator.wants_workers = False
    await bench.worker("--give-up-after", "0.3", wait=False)
    await coordinator.until(lambda: coordinator.put_off >= 5)  # 0.8 s later than the first time
    coordinator.wants_workers = True
    await coordinator.until(lambda: bool(coordinator.hellos))


async def test_a_worker_with_the_wrong_token_ends_at_once(bench: Bench) -> None:
    await bench.begin()
    worker = await bench.worker(token="wrong", wait=False)
    assert await worker.ended() == 1
    assert "refuses this worker: UNAUTHENTICATED" in worker.log.read_text()
    assert await worker.alone()


async def test_a_worker_that_is_started_again_has_a_clean_directory(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WAIT)
    rest = bench.tmp_path / "scratch" / "w0" / "w0" / "slot-0-0" / "rest"
    rest.parent.mkdir(parents=True)
    rest.touch()
    worker = await bench.worker()
    assert not rest.exists()
    assert (await coordinator.run(inputs=do("litter"))).HasField("finished")
    coordinator.finish()
    assert await worker.ended() == 0
    assert not list(worker.scratch.iterdir())


async def test_a_worker_ends_at_once_when_its_supervisor_is_gone(bench: Bench) -> None:
    """It does not drain: what runs here never ends, and the drain time is longer than we wait."""
    coordinator = await bench.begin(WAIT)
    worker = await bench.worker("--exit-on-stdin-eof", "--drain", "1000")
    task = coordinator.task(inputs=waiting_for("/nowhere"))
    coordinator.assign(task)
    await runs(coordinator, task)
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert await worker.ended() == 0
    assert not coordinator.draining
    assert await worker.alone()
    assert not worker.scratch.exists()


async def test_slots_die_with_a_worker_that_is_killed(bench: Bench, do: Do) -> None:
    """Also a slot that is in the middle of user code, and does not look at its socket."""
    coordinator = await bench.begin(WAIT)
    worker = await bench.worker()
    task = coordinator.task(inputs=waiting_for("/nowhere"))
    coordinator.assign(task)
    await runs(coordinator, task)
    worker.process.send_signal(signal.SIGKILL)
    await worker.ended()
    assert await worker.alone()
