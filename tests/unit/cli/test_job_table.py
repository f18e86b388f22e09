import pytest

from disco.cli.job_table import brief_duration, job_rows
from disco.cli.remote_progress import elapsed_s, phase_name, progress_of
from disco.v1 import coordinator_pb2, jobs_pb2

NOW_S = 1_000_000.0


def job_of(name: str, *, ago_s: int, **fields: object) -> jobs_pb2.Job:
    job = jobs_pb2.Job(namespace="ns", name=name, **fields)  # type: ignore[arg-type]
    job.created.FromSeconds(int(NOW_S) - ago_s)
    return job


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    waiting = job_of("a", ago_s=5, phase=coordinator_pb2.JOB_PHASE_PENDING)
    running = job_of("long-name", ago_s=3600, phase=coordinator_pb2.JOB_PHASE_RUNNING)
    running.started.FromSeconds(int(NOW_S) - 90)
    running.submitted_by = "alice"
    running.tasks_done, running.tasks_total = 2, 10

    lines = list(job_rows([waiting, running], NOW_S, namespaces=False))

    assert [line.replace("\x1b[33m", "").replace("\x1b[0m", "") for line in lines] == [
        "NAME        PHASE     PROGRESS   AGE   DURATION   USER",
        "a           pending   -          5s    -          -",
        "long-name   running   2/10       1h    1m30s      alice",
    ]
    assert next(job_rows([waiting], NOW_S, namespaces=True)).startswith("NAMESPACE   NAME ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (90, "1m30s"),
        (599, "9m59s"),
        (601, "10m"),
        (3600, "1h"),
        (11_520, "3h12m"),
        (90_000, "1d1h"),
        (864_000, "10d"),
    ],
)
def test_durations_are_as_short_as_kubectls(seconds: float, text: str) -> None:
    assert brief_duration(seconds) == text


def test_a_job_runs_from_its_start_to_its_end_or_until_now() -> None:
    job = job_of("a", ago_s=100)
    assert elapsed_s(job, NOW_S) == 0
    job.started.FromSeconds(int(NOW_S) - 60)
    assert elapsed_s(job, NOW_S) == 60
    job.finished.FromSeconds(int(NOW_S) - 20)
    assert elapsed_s(job, NOW_S) == 40


def test_a_clock_that_is_behind_the_servers_makes_no_negative_times() -> None:
    job = job_of("a", ago_s=-50)
    job.started.FromSeconds(int(NOW_S) + 40)
    job.stages.add(started_s=3.0, finished_s=7.0)

    assert elapsed_s(job, NOW_S) == 7
    assert "   0s   " in list(job_rows([job], NOW_S, namespaces=False))[1]


def test_a_job_is_shown_as_a_run_of_this_machine_is() -> None:
    job = job_of("a", ago_s=10, phase=coordinator_pb2.JOB_PHASE_SUCCEEDED, workers=2, slots=4)
    job.stages.add(name="map")
    job.results.records = 5

    progress = progress_of(job, NOW_S)

    assert (progress.name, progress.workers, progress.slots) == ("a", 2, 4)
    assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert [stage.name for stage in progress.stages] == ["map"]
    assert sum(part.totals.records for part in progress.results) == 5


def test_phases_of_newer_servers_have_no_name() -> None:
    assert phase_name(coordinator_pb2.JOB_PHASE_COMMITTING) == "committing"
    assert phase_name(99) == "unknown"  # type: ignore[arg-type]
