import io
import json
import re
import sys

import pytest
from rich.console import Console

from disco.cli.display import JsonDisplay, LineDisplay, QuietDisplay, display_for
from disco.cli.live_display import LiveDisplay
from disco.v1 import common_pb2, coordinator_pb2

RUNNING = coordinator_pb2.JobProgress(
    name="count",
    phase=coordinator_pb2.JOB_PHASE_RUNNING,
    workers=2,
    slots=2,
    elapsed_s=10.0,
    stages=[
        coordinator_pb2.StageProgress(
            name="map",
            tasks_total=120,
            tasks_waiting=70,
            tasks_running=10,
            tasks_done=40,
            retries=1,
            records_in=400_000,
            bytes_in=80_000_000,
            started_s=2.0,
        ),
        coordinator_pb2.StageProgress(name="reduce", tasks_total=2, tasks_waiting=2),
    ],
)
DONE = coordinator_pb2.JobProgress(
    phase=coordinator_pb2.JOB_PHASE_SUCCEEDED,
    elapsed_s=20.0,
    stages=[
        coordinator_pb2.StageProgress(
            name="map",
            tasks_total=120,
            tasks_done=120,
            records_in=1_200_000,
            records_out=5_000,
            bytes_in=240_000_000,
            started_s=2.0,
            finished_s=18.0,
        )
    ],
)
PRINTED = coordinator_pb2.JobEvent(
    kind="output",
    stage_name="map",
    attempt=common_pb2.AttemptRef(stage=1, task=3),
    text="one\ntwo\n",
)
RETRIED = coordinator_pb2.JobEvent(kind="task-failed", text="map:3 failed: no luck")
STARTED = coordinator_pb2.JobEvent(kind="stage-started", stage_name="map", text="120 tasks")
JOINED = coordinator_pb2.JobEvent(kind="worker-joined", text="worker-0 joined")


def reply(
    progress: coordinator_pb2.JobProgress, *events: coordinator_pb2.JobEvent
) -> coordinator_pb2.WatchReply:
    return coordinator_pb2.WatchReply(progress=progress, events=events)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(stream: io.StringIO) -> list[str]:
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines)
    return [line[10:] for line in lines]


def test_a_log_has_a_line_for_each_start_end_print_and_failure() -> None:
    stream = io.StringIO()
    display = LineDisplay(stream, Clock())
    display.show(reply(RUNNING, JOINED, STARTED, PRINTED))
    display.show(reply(RUNNING, RETRIED))
    display.show(reply(DONE))

    assert lines_of(stream) == [
        "map: started, 120 tasks",
        "map:3 | one",
        "map:3 | two",
        "map:3 failed: no luck",
        "map: finished 120 tasks in 16 s, 1.2 M records in, 5,000 out",
    ]


def test_a_log_has_a_progress_line_when_nothing_else_was_said_for_a_while() -> None:
    stream, clock = io.StringIO(), Clock()
    display = LineDisplay(stream, clock)
    display.show(reply(RUNNING))
    clock.now = 9.0
    display.tick()
    clock.now = 10.0
    display.tick()
    display.tick()

    assert lines_of(stream) == [
        "map: started, 120 tasks",
        "map: 40/120 tasks done, 10 running, 4.4 MB/s, 1 retry, about 36 s left",
    ]


def test_a_log_tells_no_progress_while_nobody_knows_any() -> None:
    stream, clock = io.StringIO(), Clock()
    display = LineDisplay(stream, clock)
    display.show(reply(RUNNING))
    display.lose("here:7070 does not answer")
    for clock.now in (10.0, 20.0, 30.0):
        display.tick()
    display.show(reply(DONE))

    assert lines_of(stream) == [
        "map: started, 120 tasks",
        "here:7070 does not answer",
        "the server answers again",
        "map: finished 120 tasks in 16 s, 1.2 M records in, 5,000 out",
    ]


def test_stages_that_end_between_two_looks_are_told_in_order() -> None:
    stage = coordinator_pb2.StageProgress(tasks_total=1, started_s=1.0, finished_s=2.0)
    stages = [coordinator_pb2.StageProgress(name=name) for name in ("map", "reduce")]
    for each in stages:
        each.MergeFrom(stage)
    stream = io.StringIO()
    LineDisplay(stream, Clock()).show(reply(coordinator_pb2.JobProgress(stages=stages)))

    assert [line.split(" ")[:2] for line in lines_of(stream)] == [
        ["map:", "started,"],
        ["map:", "finished"],
        ["reduce:", "started,"],
        ["reduce:", "finished"],
    ]


def test_json_lines_tell_events_then_progress() -> None:
    stream = io.StringIO()
    JsonDisplay(stream).show(reply(RUNNING, RETRIED))

    event, progress = map(json.loads, stream.getvalue().splitlines())
    assert (event["type"], event["kind"]) == ("event", "task-failed")
    assert (progress["type"], progress["phase"]) == ("progress", "running")
    assert progress["stages"][0]["tasks_done"] == 40


def screen(width: int, *replies: coordinator_pb2.WatchReply) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=20, color_system=None
    )
    display = LiveDisplay("count", console)
    for item in replies:
        display.show(item)
    display.close()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_a_bar_per_stage() -> None:
    text = screen(100, reply(RUNNING))

    assert "count" in text
    assert "2 workers, 2 slots" in text
    assert "40/120" in text
    assert "MB/s" in text
    assert "1 retry" in text
    assert "left" in text
    assert re.search(r"reduce .*waiting", text)


def test_a_narrow_terminal_still_has_every_number_on_one_line() -> None:
    for line in screen(80, reply(RUNNING)).splitlines():
        assert len(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip()) <= 80


def test_what_user_code_prints_is_shown_as_it_is() -> None:
    event = coordinator_pb2.JobEvent(kind="output", stage_name="map", text="[bold]x[/bold]")

    assert "map:0 | [bold]x[/bold]" in screen(100, reply(RUNNING, event))


def test_without_a_standard_error_there_is_nothing_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)

    assert isinstance(display_for(quiet=False, as_json=False, title="job"), QuietDisplay)
