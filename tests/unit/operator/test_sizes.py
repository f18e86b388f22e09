"""What the operator writes into a status is small, whatever the job has."""

import string
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from disco.v1 import common_pb2, coordinator_pb2
from disco_operator.conditions import MAX_MESSAGE
from disco_operator.progress import MAX_STAGES, note_progress
from disco_operator.sizes import first_of, last_of, written_bytes

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEXTS = st.text(alphabet=string.printable + "…\x00\U0001f600", max_size=50)
COUNTS = st.integers(min_value=0, max_value=2**32 - 1)


@st.composite
def progresses(draw: st.DrawFn) -> coordinator_pb2.JobProgress:
    """Return what the coordinator of a job with long texts and many stages may tell."""
    names, text = draw(TEXTS), draw(TEXTS) * draw(st.integers(0, 100))
    count, done = draw(st.integers(0, 150)), draw(st.integers(0, 150))
    labels = [
        common_pb2.LabelTotals(label=-(2**63), totals=common_pb2.Totals(bytes=2**64 - 1))
    ] * draw(st.integers(0, 5))
    tasks = draw(COUNTS)
    stages = [
        coordinator_pb2.StageProgress(
            name=f"{number} {names * draw(st.integers(0, 6))}",
            tasks_total=tasks if number <= done else 0,
            tasks_done=tasks if number < done else 0,
            records_in=2**64 - 1,
            started_s=1.0 if number <= done else 0.0,
            largest_labels=labels,
        )
        for number in range(count)
    ]
    failure = coordinator_pb2.FailureReport(
        stage_name=names * 9,
        failure=common_pb2.Failure(message=text, traceback=text, record=text, input=text),
        worker_id="w" * 300,
        node="n" * 300,
    )
    failed = coordinator_pb2.JOB_PHASE_FAILED
    return coordinator_pb2.JobProgress(
        epoch=1, phase=failed, stages=stages, failures=[failure] * draw(st.integers(0, 20))
    )


@given(progresses())
@settings(deadline=None, max_examples=50)
def test_a_status_has_room_for_every_job(progress: coordinator_pb2.JobProgress) -> None:
    status: dict[str, Any] = {}
    note_progress(status, progress, NOW)
    others = 4 * MAX_MESSAGE + 2_000  # why it failed, three times; the plan; what is always there
    assert written_bytes(status) + others < 20_000
    before = written_bytes(status)
    note_progress(status, progress, NOW)
    assert written_bytes(status) == before


@given(progresses())
@settings(deadline=None, max_examples=50)
def test_the_stage_that_runs_and_the_last_one_are_always_told_in_full(
    progress: coordinator_pb2.JobProgress,
) -> None:
    status: dict[str, Any] = {}
    note_progress(status, progress, NOW)
    told = status["stages"]
    assert len(told) <= min(len(progress.stages), MAX_STAGES)
    numbers = [int(stage["name"].split()[0]) for stage in told]
    assert numbers == sorted(set(numbers))
    if told:
        by_number = dict(zip(numbers, told, strict=True))
        current = next(stage for stage in told if stage["name"] == status["stage"])
        for stage in (current, by_number[len(progress.stages) - 1]):
            assert "recordsOut" in stage


def test_a_job_with_few_stages_is_told_in_full() -> None:
    status: dict[str, Any] = {}
    stages = [
        coordinator_pb2.StageProgress(name=f"stage-{number}", tasks_total=9, records_in=10**9)
        for number in range(12)
    ]
    note_progress(status, coordinator_pb2.JobProgress(stages=stages), NOW)
    assert all("recordsIn" in stage for stage in status["stages"])


def test_a_hundred_stages_with_usual_names_are_all_there() -> None:
    status: dict[str, Any] = {}
    stages = [
        coordinator_pb2.StageProgress(name=f"iteration-{n}", tasks_total=2_000, tasks_done=2_000)
        for n in range(100)
    ]
    note_progress(status, coordinator_pb2.JobProgress(stages=stages), NOW)
    assert len(status["stages"]) == 100


@given(st.text(max_size=400), st.integers(min_value=10, max_value=300))
@settings(deadline=None)
def test_texts_are_cut_to_what_they_take_as_json(text: str, limit: int) -> None:
    text = text.encode(errors="ignore").decode()
    first, last = first_of(text, limit), last_of(text, limit)
    assert max(written_bytes(first), written_bytes(last)) <= limit
    assert (first == text) == (last == text) == (written_bytes(text) <= limit)
    if first != text:
        assert text.startswith(first.removesuffix("…"))
        assert text.endswith(last.removeprefix("…"))
