"""Attempts that never end: a rival does their work, and nothing is lost, doubled or left behind."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import eventually

from disco import Job
from disco.submission import job_spec
from disco.util import kvgroup
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.session import session_token
from disco_engine.local.supervisor import Role
from disco_engine.records.readers import pairs_of
from disco_engine.results import read_part

TASKS = 8
SLOW = 5
WORDS = 30  # per map task
SPECULATION = {"speculation_multiplier": 1.5, "speculation_quantile": 0.75}
LEASES = {"worker_lease_s": 60.0, "service_lease_s": 60.0}
Progress = coordinator_pb2.JobProgress


class OneWritesForEver(Job):
    """Write words; whoever comes first to one of the inputs stays there for ever."""

    partitions = 3

    @staticmethod
    def map(entry: str, params: Any) -> Iterator[tuple[str, int]]:
        import os
        import time

        number, here = int(entry), params["directory"]
        for i in range(WORDS):
            yield f"word-{number * i % 17}", 1
            if number == SLOW and i == WORDS // 2:
                try:
                    os.close(os.open(f"{here}/came", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    continue
                with open(f"{here}/stuck.new", "w") as file:
                    file.write(str(os.getppid()))
                os.rename(f"{here}/stuck.new", f"{here}/stuck")
                while not os.path.exists(f"{here}/enough"):
                    time.sleep(0.01)


class OneNeverEnds(OneWritesForEver):
    """Count the words."""

    sort = True

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[str, int]]:
        for word, ones in kvgroup(pairs):
            yield word, sum(ones)


def expected() -> Counter[str]:
    return Counter(f"word-{number * i % 17}" for number in range(TASKS) for i in range(WORDS))


def engine_for(
    job: Job, directory: Path, *, settings: Any = SPECULATION, **more: Any
) -> LocalEngine:
    spec = job_spec(
        job,
        {
            "input": [f"raw://{number}" for number in range(TASKS)],
            "params": {"directory": str(directory)},
            **more,
        },
        name="stragglers",
        settings={**LEASES, **settings},
    )
    return LocalEngine(spec, workers=4, partition_services=2)


def result_of(engine: LocalEngine) -> Counter[str]:
    records: Counter[str] = Counter()
    for part in engine.results():
        uid = engine.progress.job_uid if engine.progress else ""
        frames = read_part(part.service.address, session_token(), uid, part.stage, part.task)
        for word, count in pairs_of(frames):
            records[word] += count
    return records


def told(engine: LocalEngine, kind: str) -> list[coordinator_pb2.JobEvent]:
    """Wait for the job's end, and return the events of one kind."""
    return [event for reply in engine.watch() for event in reply.events if event.kind == kind]


def test_a_job_ends_although_one_of_its_attempts_never_does(tmp_path: Path) -> None:
    with engine_for(OneNeverEnds(), tmp_path) as engine:
        engine.start()
        rivals = told(engine, "speculated")  # others may be slow by themselves here
        progress = engine.wait()
        assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress
        assert result_of(engine) == expected()
        maps = progress.stages[0]
        assert (maps.tasks_done, maps.retries, maps.records_in) == (TASKS, 0, TASKS)
        assert sum(stage.rivals for stage in progress.stages) == len(rivals)
        assert not progress.failures
        (rival,) = (e for e in rivals if (e.attempt.stage, e.attempt.task) == (1, SLOW))
        # Workers 0 and 2 are on one node, 1 and 3 on the other.
        slow = rival.text.partition(" on worker worker-")[2][0]
        assert int(slow) % 2 != int(rival.worker_id[-1]) % 2, rival.text


def test_only_the_winner_s_file_becomes_output(tmp_path: Path) -> None:
    output = tmp_path / "output"
    more = {"output": str(output), "format": "text"}
    with engine_for(OneWritesForEver(), tmp_path, **more) as engine:
        engine.start()
        assert engine.wait().phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
        engine.stop_workers()
    names = sorted(path.name for path in output.iterdir())
    assert names == ["_SUCCESS", *(f"part-{number:05}.txt" for number in range(TASKS))]
    lines = [line for path in output.glob("part-*") for line in path.read_text().splitlines()]
    assert Counter(line.partition("\t")[0] for line in lines) == expected()


@pytest.mark.parametrize("whose", ["coordinator", "ps-0", "ps-1", "the rival's worker"])
def test_a_process_that_is_killed_while_two_are_at_one_task_costs_no_record(
    whose: str, tmp_path: Path
) -> None:
    with engine_for(OneNeverEnds(), tmp_path) as engine:
        engine.start()
        killed = False
        for reply in engine.watch():
            for event in reply.events:
                if event.kind == "speculated" and not killed:
                    name = event.worker_id if whose.startswith("the") else whose
                    (pid,) = (child.pid for child in engine.children() if child.id == name)
                    if pid is not None:
                        os.kill(pid, signal.SIGKILL)
                        killed = True
        assert killed
        assert engine.wait().phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
        assert result_of(engine) == expected()


def test_a_frozen_machine_holds_nothing_up(tmp_path: Path) -> None:
    """Worker and slot are stopped where they are: no word comes from there, but no end either."""
    with engine_for(OneNeverEnds(), tmp_path) as engine:
        engine.start()
        eventually((tmp_path / "stuck").exists)
        worker = int((tmp_path / "stuck").read_text())
        assert worker in [c.pid for c in engine.children() if c.role is Role.WORKER]
        os.kill(worker, signal.SIGSTOP)
        try:
            assert engine.wait(60.0).phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
            assert result_of(engine) == expected()
        finally:
            os.kill(worker, signal.SIGCONT)


def test_without_speculation_a_job_waits_for_its_slowest(tmp_path: Path) -> None:
    with engine_for(OneNeverEnds(), tmp_path, settings={}) as engine:
        engine.start()
        eventually(lambda: engine.progress is not None and _nearly_done(engine.progress))
        (tmp_path / "enough").touch()
        assert told(engine, "speculated") == []
        progress = engine.wait()
        assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
        assert result_of(engine) == expected()


def _nearly_done(progress: Progress) -> bool:
    return bool(progress.stages) and progress.stages[0].tasks_done == TASKS - 1
