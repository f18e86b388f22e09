from disco.cli.wording import (
    decisive_failure,
    event_lines,
    failure_lines,
    finished_line,
    progress_line,
    task_name,
)
from disco.v1 import common_pb2, coordinator_pb2


def report(
    message: str, attempt: int = 0, kind: str = "USER", traceback: str = "", record: str = ""
) -> coordinator_pb2.FailureReport:
    return coordinator_pb2.FailureReport(
        attempt=common_pb2.AttemptRef(stage=1, task=7, attempt=attempt) if attempt else None,
        stage_name="map",
        worker_id="worker-1",
        node="node-0",
        failure=common_pb2.Failure(
            kind=common_pb2.FailureKind.Value(f"FAILURE_KIND_{kind}"),
            message=message,
            traceback=traceback,
            record=record,
        ),
    )


def test_a_failed_job_is_explained_by_the_failure_that_ended_it() -> None:
    progress = coordinator_pb2.JobProgress(
        message="map, task 7 failed 2 times; the last time: ValueError: no",
        failures=[
            report("KeyError: 3", 1),
            report("ValueError: no", 2, traceback="Traceback:\n  line\n", record="b'x'"),
            report("OSError: another task's", 1),
            report("ValueError: no"),
        ],
    )

    assert list(failure_lines(progress)) == [
        "map, task 7 failed 2 times; the last time: ValueError: no",
        "",
        "Traceback:",
        "  line",
        "",
        "  record   b'x'",
        "  task     map:7",
        "  attempt  2, by worker-1 on node-0",
        "",
        "Correct the job where the traceback points, or have it skip such records, and run it"
        " again.",
    ]


def test_a_limit_that_was_exceeded_needs_no_other_advice_than_its_message() -> None:
    progress = coordinator_pb2.JobProgress(
        message="it ran longer than 1 s", failures=[report("it ran longer than 1 s", 4)]
    )

    assert list(failure_lines(progress))[-1] == "  attempt  4, by worker-1 on node-0"


def test_a_job_that_failed_without_a_failed_attempt_has_its_message_only() -> None:
    progress = coordinator_pb2.JobProgress(message="the deadline has passed")

    assert list(failure_lines(progress)) == ["the deadline has passed"]
    assert decisive_failure(progress) is None


def test_what_a_job_prints_cannot_clear_the_screen() -> None:
    event = coordinator_pb2.JobEvent(kind="output", stage_name="map", text="a\tb\x1b[2J\x00\nc")
    assert list(event_lines(event)) == ["map:0 | a\tb\\x1b[2J\\x00", "map:0 | c"]


def test_nothing_that_a_job_says_can_move_the_cursor() -> None:
    evil = "\x1b]0;title\x07"
    failed = report(f"ValueError: {evil}", 1, traceback=f"Traceback:\n  {evil}", record=evil)
    progress = coordinator_pb2.JobProgress(message=f"{failed.failure.message}\n{evil}")
    progress.failures.append(failed)
    lines = list(failure_lines(progress))
    for kind in ("output", "status", "task-failed"):
        lines += event_lines(coordinator_pb2.JobEvent(kind=kind, text=evil))

    assert lines[:2] == ["ValueError: \\x1b]0;title\\x07", "\\x1b]0;title\\x07"]
    assert "".join(lines).isprintable()


def test_nor_can_the_name_of_a_stage() -> None:
    evil, escaped = "\x1b[2J", "\\x1b[2J"
    stage = coordinator_pb2.StageProgress(name=evil, started_s=1.0, finished_s=2.0)

    assert task_name(evil, common_pb2.AttemptRef(task=3)) == f"{escaped}:3"
    assert progress_line(stage, 3.0).startswith(f"{escaped}: ")
    assert finished_line(stage).startswith(f"{escaped}: ")


def test_retries_and_rivals_are_told_apart() -> None:
    stage = coordinator_pb2.StageProgress(
        name="map", tasks_total=4, tasks_done=3, started_s=1, retries=2, rivals=1
    )
    assert "3/4 tasks done, " in progress_line(stage, 3.0)
    assert "2 retries, 1 rival" in progress_line(stage, 3.0)
    stage.retries = 0
    assert finished_line(stage).endswith("0 out, 1 rival")
