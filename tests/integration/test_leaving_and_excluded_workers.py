"""Workers that have to leave, and workers on which nothing works: what that costs a job."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disco import Job
from disco.submission import job_spec
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.session import session_token
from disco_engine.records.readers import pairs_of
from disco_engine.results import read_part

TASKS = 30


class Noted(Job):
    """Counts its inputs; notes in a directory which attempts were begun."""

    partitions = 2

    @staticmethod
    def map(entry: str, params: Any) -> Iterator[tuple[str, int]]:
        import os
        import time
        from pathlib import Path

        Path(params["begun"], f"{entry}.{time.monotonic_ns()}").touch()
        parent = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
        other = Path(params["begun"], "other")
        if params["broken"] and params["broken"].encode() in parent.split(b"\0"):
            while not other.exists():  # alone it would be given everything, excluded or not
                time.sleep(0.01)
            raise OSError("this machine has no library for that")
        if params["broken"]:
            other.touch()
        time.sleep(0.1)
        yield entry, 1

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[str, int]]:
        yield from pairs


def engine_of(begun: Path, *, broken: str = "", **jobargs: Any) -> LocalEngine:
    spec = job_spec(
        Noted(),
        {
            "input": [f"raw://{number}" for number in range(TASKS)],
            "params": {"begun": str(begun), "broken": broken},
            **jobargs,
        },
        name="noted",
    )
    return LocalEngine(spec, workers=2)


def records_of(engine: LocalEngine) -> Counter[str]:
    assert engine.progress is not None
    uid = engine.progress.job_uid
    records: Counter[str] = Counter()
    for part in engine.results():
        frames = read_part(part.service.address, session_token(), uid, part.stage, part.task)
        for entry, count in pairs_of(frames):
            records[entry] += count
    return records


def test_a_worker_that_has_15_seconds_to_live_loses_no_finished_task_and_burns_no_attempt(
    tmp_path: Path,
) -> None:
    """The job allows no failure at all, and no task is begun twice."""
    with engine_of(tmp_path, max_attempts=1) as engine:
        engine.start()
        leaving = None
        kinds: Counter[str] = Counter()
        for reply in engine.watch():
            kinds.update(event.kind for event in reply.events)
            stages = reply.progress.stages
            if leaving is None and stages and stages[0].tasks_done >= TASKS // 3:
                (leaving,) = (c.pid for c in engine.children() if c.id == "worker-0")
                assert leaving is not None
                os.kill(leaving, signal.SIGTERM)
        progress = engine.wait()
        assert leaving is not None
        assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress.message
        assert records_of(engine) == Counter({str(number): 1 for number in range(TASKS)})
    assert kinds["task-failed"] == 0
    begun = Counter(path.name.partition(".")[0] for path in tmp_path.iterdir())
    assert begun == Counter({str(number): 1 for number in range(TASKS)})


def test_a_worker_on_which_nothing_works_is_left_out_and_the_job_says_so(tmp_path: Path) -> None:
    with engine_of(tmp_path, broken="worker-0") as engine:
        engine.start()
        told = [
            event
            for reply in engine.watch()
            for event in reply.events
            if event.kind in ("task-failed", "excluded")
        ]
        progress = engine.wait()
        assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress.message
        assert records_of(engine) == Counter({str(number): 1 for number in range(TASKS)})
    assert {event.kind for event in told} == {"task-failed", "excluded"}
    assert {event.worker_id for event in told} == {"worker-0"}
    assert "this machine has no library for that" in told[0].text
    assert len(told) < TASKS // 2, "it got no more tasks"
