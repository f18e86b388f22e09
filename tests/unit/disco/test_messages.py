"""Events in Disco's form, and where to go on reading them."""

import pytest

from disco.messages import first_number, messages_of, shown, told_from
from disco.v1 import common_pb2, coordinator_pb2

MAP_3 = common_pb2.AttemptRef(stage=1, task=3, epoch=1, attempt=1)


def event(kind: str, text: str, **more: object) -> coordinator_pb2.JobEvent:
    return coordinator_pb2.JobEvent(
        kind=kind,
        text=text,
        stage_name="map",
        attempt=MAP_3,
        worker_id="worker-0",
        **more,  # type: ignore[arg-type]
    )


def texts(what: coordinator_pb2.JobEvent) -> list[str]:
    return [text for _, _, text in messages_of(what)]


def told(events: list[tuple[int, coordinator_pb2.JobEvent]], offset: int = 0) -> list[str]:
    kept = [(number, one) for number, one in events if number > first_number(offset)]
    return [text for _, (_, _, text) in told_from(offset, kept)]


def test_each_line_that_a_task_prints_is_a_message() -> None:
    assert texts(event("output", "one\ntwo\n")) == ["MSG: [map:3] one", "MSG: [map:3] two"]


def test_a_status_line_is_a_message() -> None:
    assert texts(event("status", "5 entries mapped")) == ["MSG: [map:3] 5 entries mapped"]


def test_what_is_no_text_is_a_warning() -> None:
    (text,) = texts(event("output", r"Binary message data: \xff\x00"))
    assert text == r"WARNING: [map:3] Binary message data: \xff\x00"


def test_a_failure_that_is_tried_again_is_a_warning_with_the_traceback() -> None:
    failure = common_pb2.Failure(message="KeyError: 'x'", traceback="Traceback …\n")
    (text,) = texts(event("task-failed", "stage map, task 3: KeyError: 'x'", failure=failure))
    assert text == "WARNING: [map:3] stage map, task 3: KeyError: 'x'\nTraceback …"


def test_a_failure_that_ends_the_job_is_fatal() -> None:
    failure = common_pb2.Failure(message="KeyError: 'x'", traceback="Traceback …\n")
    (text,) = texts(event("job-finished", "failed 4 times", failure=failure))
    assert text == "FATAL: [map:3] failed 4 times\nTraceback …"


def test_reading_goes_on_behind_any_message() -> None:
    events = [(1, event("output", "a\nb\nc")), (2, event("status", "d")), (3, event("output", "e"))]
    everything = list(told_from(0, events))
    offsets = [offset for offset, _ in everything]
    assert offsets == sorted(set(offsets))
    for position, (offset, _) in enumerate(everything, start=1):
        assert told(events, offset) == [text for _, (_, _, text) in everything[position:]]


def test_what_was_dropped_is_counted() -> None:
    kept = [(6, event("status", "f"))]
    assert told(kept) == [
        "WARNING: 5 events before this are not kept any more",
        "MSG: [map:3] f",
    ]
    ((offset, _), _) = told_from(0, kept)
    assert told(kept, offset) == ["MSG: [map:3] f"]


def test_lines_of_an_event_that_was_dropped_meanwhile_are_not_taken_for_others() -> None:
    (_, (offset, _), _) = told_from(0, [(1, event("output", "a\nb\nc"))])
    assert told([(2, event("output", "d\ne\nf"))], offset)[1:] == [
        "MSG: [map:3] d",
        "MSG: [map:3] e",
        "MSG: [map:3] f",
    ]


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("json", ', "worker-0", "MSG: [map:3] caf\\u00e9"]'),
        (True, "  worker-0  MSG: [map:3] café"),
        ("nocolor", "  worker-0  MSG: [map:3] café"),
    ],
)
def test_messages_are_shown_as_the_setting_says(
    how: str | bool, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with shown(iter([event("output", "café\n")]), how):
        pass
    assert capsys.readouterr().err.rstrip("\n").endswith(line)
