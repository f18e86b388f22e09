"""A running job gets more worker processes, or fewer, and nothing is lost or charged."""

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
from tests.waiting import eventually

from disco import Job
from disco.submission import job_spec
from disco.v1 import common_pb2, coordinator_pb2, job_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.supervisor import Role


class Gated(Job):
    """Each task says that it runs, and goes on when it is let through."""

    partitions = 1

    @staticmethod
    def map(line, params):  # type: ignore[no-untyped-def]
        place = Path(params["place"])
        (place / f"began-{line}-{os.getppid()}").touch()
        while not (place / "open").exists() and not (place / f"open-{line}").exists():
            time.sleep(0.01)
        yield line, 1

    @staticmethod
    def reduce(pairs, params):  # type: ignore[no-untyped-def]
        return list(pairs)


def spec(place: Path, tasks: int) -> job_pb2.JobSpec:
    inputs = [f"raw://{number}" for number in range(tasks)]
    return job_spec(Gated(), {"input": inputs, "params": {"place": str(place)}}, name="gated")


def began(place: Path) -> set[str]:
    """Return the tasks that have begun."""
    return {path.name.split("-")[1] for path in place.glob("began-*")}


def worker_pids(engine: LocalEngine) -> list[int]:
    return [c.pid for c in engine.children() if c.role is Role.WORKER and c.pid is not None]


@pytest.fixture(autouse=True)
def _temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def all_is_well(engine: LocalEngine, tasks: int) -> bool:
    progress = engine.wait(60)
    assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress.message
    assert sum(part.totals.records for part in engine.results()) == tasks
    return not any(stage.retries for stage in progress.stages) and not progress.failures


def test_more_workers_run_what_one_could_not(tmp_path: Path) -> None:
    with LocalEngine(spec(tmp_path, 3), workers=1).start() as engine:
        eventually(lambda: len(began(tmp_path)) == 1)

        engine.scale(3)

        eventually(lambda: len(began(tmp_path)) == 3)
        assert len(worker_pids(engine)) == 3
        (tmp_path / "open").touch()
        assert all_is_well(engine, 3)


def test_workers_that_are_too_many_finish_what_they_run_and_are_not_replaced(
    tmp_path: Path,
) -> None:
    with LocalEngine(spec(tmp_path, 4), workers=2).start() as engine:
        eventually(lambda: len(began(tmp_path)) == 2)
        first, second = worker_pids(engine)

        surplus = engine.scale(1)
        # What the second runs, and only that, may go on: the first cannot take more.
        (own,) = (path.name.split("-")[1] for path in tmp_path.glob(f"began-*-{second}"))
        (tmp_path / f"open-{own}").touch()
        engine.see_off(surplus)

        assert surplus == ["worker-1"]
        assert worker_pids(engine) == [first]
        assert len(began(tmp_path)) == 2
        (tmp_path / "open").touch()
        assert all_is_well(engine, 4)


def test_a_worker_that_is_killed_while_it_drains_costs_no_attempt(tmp_path: Path) -> None:
    with LocalEngine(spec(tmp_path, 2), workers=2).start() as engine:
        eventually(lambda: len(began(tmp_path)) == 2)
        second = worker_pids(engine)[1]

        surplus = engine.scale(1)
        os.kill(second, signal.SIGKILL)
        engine.see_off(surplus)
        (tmp_path / "open").touch()

        progress = engine.wait(60)
        assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress.message
        assert not any(
            report.failure.kind == common_pb2.FAILURE_KIND_USER for report in progress.failures
        )
        assert sum(part.totals.records for part in engine.results()) == 2


def test_who_is_scaled_down_and_up_again_has_new_workers(tmp_path: Path) -> None:
    with LocalEngine(spec(tmp_path, 3), workers=2).start() as engine:
        eventually(lambda: len(began(tmp_path)) == 2)
        surplus = engine.scale(1)

        assert engine.scale(2) == []  # while the other still drains

        eventually(lambda: len(began(tmp_path)) == 3)
        (tmp_path / "open").touch()
        engine.see_off(surplus)
        assert all_is_well(engine, 3)


def test_a_job_that_is_over_cannot_be_scaled(tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    with LocalEngine(spec(tmp_path, 1), workers=1).start() as engine:
        engine.wait(60)
        engine.stop_workers()

        assert engine.scale(4) == []
        assert worker_pids(engine) == []


def test_a_number_of_workers_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    with LocalEngine(spec(tmp_path, 1), workers=1).start() as engine:
        with pytest.raises(ValueError, match="workers is 0"):
            engine.scale(0)
        with pytest.raises(ValueError, match="this machine takes at most"):
            engine.scale(100_000)
