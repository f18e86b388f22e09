import io
import re

from rich.console import Console

from disco.cli.job_view import job_view, results_text
from disco.v1 import common_pb2, coordinator_pb2, jobs_pb2

NOW_S = 1_000_000.0


def shown(job: jobs_pb2.Job, width: int = 120) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False)
    console.print(job_view(job, NOW_S, width=width))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def a_job(**fields: object) -> jobs_pb2.Job:
    job = jobs_pb2.Job(namespace="team-a", name="one", **fields)  # type: ignore[arg-type]
    job.created.FromSeconds(int(NOW_S) - 100)
    job.started.FromSeconds(int(NOW_S) - 90)
    return job


def labels(*sizes: int) -> list[common_pb2.LabelTotals]:
    return [
        common_pb2.LabelTotals(label=number, totals=common_pb2.Totals(bytes=size))
        for number, size in enumerate(sizes)
    ]


def failure(message: str, task: int = 0, traceback: str = "") -> coordinator_pb2.FailureReport:
    return coordinator_pb2.FailureReport(
        stage_name="map",
        attempt=common_pb2.AttemptRef(task=task, attempt=2),
        worker_id="worker-1",
        failure=common_pb2.Failure(
            kind=common_pb2.FAILURE_KIND_USER, message=message, traceback=traceback
        ),
    )


def test_a_running_job_tells_its_workers_tasks_and_stages() -> None:
    job = a_job(
        phase=coordinator_pb2.JOB_PHASE_RUNNING,
        workers=2,
        slots=4,
        retries=1,
        tasks_done=40,
        tasks_total=120,
        submitted_by="alice",
        labels={"b": "2", "a": "1"},
        warnings=["spec.image is ignored here"],
        stages=[
            coordinator_pb2.StageProgress(
                name="map", tasks_total=120, tasks_done=40, records_in=4000, started_s=10.0
            ),
            coordinator_pb2.StageProgress(name="reduce", tasks_total=2),
        ],
    )

    text = shown(job)

    assert text.startswith("one  running for 1 min 30 s\n")
    assert re.search(r"submitted +\d{4}-.*, 1 min 40 s ago, by alice\n", text)
    assert re.search(r"labels +a=1, b=2\n", text)
    assert re.search(r"tasks +40 of 120 done, 1 retry\n", text)
    assert re.search(r"workers +2 connected, 4 slots\n", text)
    assert re.search(r"warning +spec.image is ignored here\n", text)
    assert re.search(r"map +━+ +40/120 +4,000 records +50 records/s +2 min 40 s left", text)
    assert re.search(r"reduce +waiting", text)


def test_a_job_that_waits_tells_why() -> None:
    job = a_job(
        phase=coordinator_pb2.JOB_PHASE_PENDING, reason="Queued", message="3 jobs are before it"
    )
    job.ClearField("started")

    text = shown(job)

    assert text.startswith("one  pending\n")
    assert re.search(r"why +Queued: 3 jobs are before it\n", text)
    assert "Stages" not in text


def test_a_label_that_is_much_larger_than_the_others_is_told() -> None:
    stage = coordinator_pb2.StageProgress(
        name="map", bytes_out=1_000_000, largest_labels=labels(900_000, 50_000, 50_000)
    )

    assert "map: label 0 90%, label 1 5%, label 2 5% of 1.0 MB" in shown(a_job(stages=[stage]))
    assert "the largest has 2.7 times the mean" in shown(a_job(stages=[stage]))


def test_of_many_labels_the_next_stages_tasks_tell_the_mean() -> None:
    stages = [
        coordinator_pb2.StageProgress(
            name="map", bytes_out=1_000, largest_labels=labels(100, 10, 10, 10, 10)
        ),
        coordinator_pb2.StageProgress(name="reduce", tasks_total=100),
    ]

    assert "the largest has 10.0 times the mean" in shown(a_job(stages=stages))


def test_labels_of_one_size_are_not_worth_a_word() -> None:
    stage = coordinator_pb2.StageProgress(
        name="map", bytes_out=300, largest_labels=labels(110, 95, 95)
    )

    assert "Largest labels" not in shown(a_job(stages=[stage]))


def test_failures_are_told_newest_last_and_the_same_words_once() -> None:
    job = a_job(
        failures=[
            failure("first"),
            *(failure(f"number {number}") for number in range(3)),
            failure("again", task=7, traceback="a\nb\nc\nd\ne\n"),
            failure("again", task=8, traceback="a\nb\nc\nd\ne\n"),
        ]
    )

    text = shown(job)

    assert "map:8 (attempt 2, worker-1) user: again (and 1 more like it)" in text
    assert "\n    b\n    c\n    d\n    e\n" in text
    assert text.index("number 2") < text.index("again")
    assert "first" not in text
    assert "and 2 older ones: -o yaml tells all" in text


def test_what_a_job_says_does_not_move_the_cursor() -> None:
    text = shown(a_job(message="\x1b[2Jgone", failures=[failure("\x1b[2J")]))

    assert "\x1b" not in text
    assert "\\x1b[2Jgone" in text


def test_everything_fits_into_eighty_columns() -> None:
    job = a_job(
        message=50 * "word ",
        failures=[failure(200 * "x")],
        stages=[
            coordinator_pb2.StageProgress(
                name=40 * "s", tasks_total=99_999, tasks_done=40, bytes_in=10**12, started_s=1.0,
                records_in=10**12, retries=100,
            )
        ],
    )  # fmt: skip

    assert max(map(len, shown(job, 80).splitlines())) <= 80


def test_results_are_where_they_are() -> None:
    kept = jobs_pb2.ResultsInfo(records=3, parts=1, bytes=2_000)
    assert results_text("one", kept) == "3 records in 1 part, 2.0 kB: disco results one"
    written = jobs_pb2.ResultsInfo(records=3, output_url="s3://b/o", output_format="csv")
    assert results_text("one", written) == "3 records in s3://b/o, as csv"
    assert results_text("one", jobs_pb2.ResultsInfo(lost="ps-0 is gone")) == "lost: ps-0 is gone"
