"""What of a coordinator's events people read in ``kubectl describe``."""

from disco.v1 import coordinator_pb2
from disco_operator.saying import MAX_OF_A_KIND, events_of


def _told(*events: tuple[str, str]) -> list[tuple[str, str, str]]:
    messages = [
        coordinator_pb2.JobEvent(kind=kind, text=text, stage_name="map") for kind, text in events
    ]
    return [(said.kind, said.reason, said.message) for said in events_of(messages)]


def test_what_a_person_would_want_to_know_is_told() -> None:
    assert _told(
        ("stage-started", "8 tasks"),
        ("task-failed", "ValueError: bad line"),
        ("worker-lost", "nothing was heard of it"),
        ("excluded", "worker w gets no tasks for a while"),
        ("service-lost", "j-ps-0 on node-1"),
        ("stage-finished", "8 tasks"),
    ) == [
        ("Normal", "StageStarted", "map: 8 tasks"),
        ("Warning", "TaskFailed", "map: ValueError: bad line"),
        ("Warning", "WorkerLost", "map: nothing was heard of it"),
        ("Warning", "NodeExcluded", "map: worker w gets no tasks for a while"),
        ("Warning", "PartitionServiceLost", "map: j-ps-0 on node-1"),
        ("Normal", "StageFinished", "map: 8 tasks"),
    ]


def test_what_user_code_prints_and_orderly_departures_are_not() -> None:
    assert _told(("output", "hello"), ("task-failed", "the worker is draining: not started")) == []


def test_many_of_a_kind_are_counted() -> None:
    told = _told(*[("task-failed", f"error {number}") for number in range(50)])
    assert len(told) == MAX_OF_A_KIND + 1
    assert told[-1][2].startswith(f"and {50 - MAX_OF_A_KIND} more")
