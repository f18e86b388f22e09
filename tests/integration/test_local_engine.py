import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tests.integration.process_tree import processes_below, runs
from tests.waiting import eventually

from disco import Job
from disco.submission import job_spec
from disco.v1 import coordinator_pb2, job_pb2
from disco_engine import outputs
from disco_engine.local.engine import LocalEngine
from disco_engine.local.errors import EngineError
from disco_engine.local.supervisor import Role

SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED
CANCELLED = coordinator_pb2.JOB_PHASE_CANCELLED


class Digits(Job):
    """Counts last digits; each line takes a moment."""

    partitions = 2

    @staticmethod
    def map(line, params):  # type: ignore[no-untyped-def]
        time.sleep(params["pause_s"])
        yield int(line) % 10, 1

    @staticmethod
    def reduce(pairs, params):  # type: ignore[no-untyped-def]
        totals: dict[int, int] = {}
        for key, value in pairs:
            totals[key] = totals.get(key, 0) + value
        return totals.items()


def spec(tasks: int = 4, lines: int = 10, pause_s: float = 0.0) -> job_pb2.JobSpec:
    inputs = ["raw://" + "".join(f"{n}\n" for n in range(lines)) for _ in range(tasks)]
    return job_spec(Digits(), {"input": inputs, "params": {"pause_s": pause_s}}, name="digits")


def records_in_results(engine: LocalEngine) -> int:
    return sum(part.totals.records for part in engine.results())


@pytest.fixture(autouse=True)
def _temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def pid_of(engine: LocalEngine, role: Role) -> int:
    pids = [child.pid for child in engine.children() if child.role is role]
    assert pids[0] is not None
    return pids[0]


def test_a_job_runs_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with LocalEngine(spec()).start() as engine:
        pids = [pid for child in engine.children() for pid in processes_below(child.pid or 0)]
        progress = engine.wait(60)
        engine.stop_workers()

        assert progress.phase == SUCCEEDED
        assert [stage.tasks_done for stage in progress.stages] == [4, 2]
        assert records_in_results(engine) == 10
        assert [child.role for child in engine.children() if child.pid] == [Role.PARTITION_SERVICE]

    assert not any(map(runs, pids))
    assert list(tmp_path.iterdir()) == []


def test_watching_shows_the_job_from_its_start_to_its_end() -> None:
    with LocalEngine(spec()).start() as engine:
        replies = list(engine.watch())

    kinds = [event.kind for reply in replies for event in reply.events]
    numbers = [event.number for reply in replies for event in reply.events]
    assert kinds.index("worker-joined") < kinds.index("stage-started")
    assert kinds[-1] == "job-finished"
    assert numbers == list(range(1, len(numbers) + 1))
    assert replies[-1].progress.phase == SUCCEEDED


@pytest.mark.parametrize("role", list(Role))
def test_a_process_that_is_killed_in_the_middle_is_replaced_and_the_result_is_right(
    role: Role,
) -> None:
    with LocalEngine(spec(tasks=20, lines=20, pause_s=0.005)).start() as engine:
        killed = 0
        for reply in engine.watch():
            stages = reply.progress.stages
            if not killed and stages and stages[0].tasks_done >= 2:
                killed = pid_of(engine, role)
                os.kill(killed, signal.SIGKILL)
        progress = engine.wait()

        assert killed
        assert progress.phase == SUCCEEDED, progress.message
        assert records_in_results(engine) == 10
        assert any(child.restarts == 1 for child in engine.children())


def test_a_restarted_process_is_announced_to_those_who_watch() -> None:
    with LocalEngine(spec(tasks=20, lines=20, pause_s=0.005)).start() as engine:
        events: list[coordinator_pb2.JobEvent] = []
        killed = False
        for reply in engine.watch():
            events.extend(event for event in reply.events if event.kind == "process-restarted")
            stages = reply.progress.stages
            if not killed and stages and stages[0].tasks_done >= 2:
                killed = True
                os.kill(pid_of(engine, Role.WORKER), signal.SIGKILL)

    assert events[0].number == 0
    assert events[0].text == "the worker worker-0 was killed by SIGKILL; it is started again"


def test_results_survive_the_death_of_the_service_that_holds_them() -> None:
    with LocalEngine(spec()).start() as engine:
        engine.wait(60)
        engine.stop_workers()
        before = pid_of(engine, Role.PARTITION_SERVICE)
        address = engine.results()[0].service.address

        os.kill(before, signal.SIGKILL)

        eventually(lambda: engine.children()[0].pid not in (None, before))
        assert engine.results()[0].service.address == address


def test_a_cancelled_job_ends_soon_although_its_tasks_would_not(tmp_path: Path) -> None:
    with LocalEngine(spec(pause_s=1000)).start() as engine:
        for reply in engine.watch():
            if any(stage.tasks_running for stage in reply.progress.stages):
                engine.cancel("no longer needed")
        progress = engine.wait()

        assert progress.phase == CANCELLED
        assert "no longer needed" in progress.message
    assert list(tmp_path.iterdir()) == []


def test_closing_an_engine_ends_a_job_that_still_runs(tmp_path: Path) -> None:
    engine = LocalEngine(spec(pause_s=1000)).start()
    next(engine.watch())
    pids = [pid for child in engine.children() for pid in processes_below(child.pid or 0)]

    engine.close()
    engine.close()

    assert engine.wait().phase == CANCELLED
    assert not any(map(runs, pids))
    assert list(tmp_path.iterdir()) == []


def test_killing_an_engine_leaves_nothing_either(tmp_path: Path) -> None:
    engine = LocalEngine(spec(pause_s=1000)).start()
    next(engine.watch())
    pids = [pid for child in engine.children() for pid in processes_below(child.pid or 0)]

    engine.kill()

    with pytest.raises(EngineError, match="told to end at once"):
        engine.wait()
    eventually(lambda: not any(map(runs, pids)))
    assert list(tmp_path.iterdir()) == []


def test_programs_that_cannot_start_end_the_run_with_their_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'libssl.so is missing' >&2\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    job = spec()
    job.output.CopyFrom(job_pb2.Output(url=str(tmp_path / "out"), format="text"))
    outputs.prepare(job.output.url, job.output.format, job.uid)
    engine = LocalEngine(job).start()

    with pytest.raises(EngineError) as caught:
        engine.wait(60)
    engine.close()

    assert not (tmp_path / "out").exists()
    assert "exited with status 127" in str(caught.value)
    assert "libssl.so is missing" in str(caught.value)
    assert caught.value.logs is not None
    assert (caught.value.logs / "coordinator.log").exists()
    assert [path.name for path in engine.run_dir.iterdir()] == ["logs"]


def test_children_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "start.py"
    program.write_text(
        "import sys, time\n"
        "from disco.v1 import job_pb2\n"
        "from disco_engine.local.engine import LocalEngine\n"
        "spec = job_pb2.JobSpec.FromString(open(sys.argv[1], 'rb').read())\n"
        "engine = LocalEngine(spec).start()\n"
        "for reply in engine.watch():\n"
        "    if any(stage.tasks_running for stage in reply.progress.stages):\n"
        "        print('running', flush=True)\n"
    )
    (tmp_path / "job").write_bytes(spec(pause_s=1000).SerializeToString())
    with subprocess.Popen(
        [sys.executable, str(program), str(tmp_path / "job")], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        # The program; service, coordinator, workers; slots, of which one may still be started.
        eventually(lambda: len(processes_below(parent.pid)) == 1 + 4 + 2)
        pids = processes_below(parent.pid)
        parent.kill()
        parent.stdout.read()

    eventually(lambda: not any(map(runs, pids)))

    def next_run_removes_the_files() -> bool:
        LocalEngine(spec()).close()
        return not list(tmp_path.glob("disco-*"))

    # Not always the very next: a process is a zombie already while its last threads, which hold its
    # files open, are still ending.
    eventually(next_run_removes_the_files)


@pytest.mark.parametrize("argument", ["workers", "slots", "partition_services"])
def test_a_run_without_workers_or_services_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} is 0: a local run needs at least 1"):
        LocalEngine(spec(), **{argument: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ["workers", "slots", "partition_services"])
def test_a_run_of_more_processes_than_the_machine_can_bear_is_refused(argument: str) -> None:
    """A typo of --workers 100000 once kept a machine from answering for ten minutes."""
    with pytest.raises(ValueError, match=r"00000.*this machine takes at most"):
        LocalEngine(spec(), **{argument: 100_000})  # type: ignore[arg-type]


def test_a_forked_process_that_exits_does_not_end_the_run() -> None:
    program = (
        "import os, sys\n"
        "from disco.v1 import job_pb2\n"
        "from disco_engine.local.engine import LocalEngine\n"
        "engine = LocalEngine(job_pb2.JobSpec(uid='x')).start()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sys.exit(0)\n"
        "os.waitpid(child, 0)\n"
        "print([c.pid is not None for c in engine.children()], engine.run_dir.exists())\n"
        "engine.kill()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert done.stdout.decode() == "[True, True, True, True] True\n"
