"""What readers of logs are told of an update."""

import pytest

from disco.v1 import coordinator_pb2, jobs_pb2
from disco_gateway.backend import Position, Update
from disco_gateway.errors import InvalidRequestError
from disco_gateway.following import log_replies


def _update(*stages: str, printed: str = "map") -> Update:
    job = jobs_pb2.Job(stages=[coordinator_pb2.StageProgress(name=name) for name in stages])
    event = coordinator_pb2.JobEvent(number=1, kind="output", stage_name=printed, text="hello")
    return Update(job=job, events=[event], position=Position(uid="u", epoch=1, event=1))


def _texts(stage: str, update: Update) -> list[str]:
    replies = log_replies(jobs_pb2.LogsRequest(stage=stage), update, first=True)
    return [entry.text for reply in replies for entry in reply.entries]


def test_a_stage_that_a_job_does_not_have_is_named_with_those_it_has() -> None:
    with pytest.raises(InvalidRequestError) as told:
        _texts("mpa", _update("map", "reduce"))
    assert str(told.value) == ("stage: the job has no stage 'mpa': its stages are 'map', 'reduce'")


def test_a_stage_may_have_printed_nothing() -> None:
    assert _texts("map", _update("map", "reduce")) == ["hello"]
    assert _texts("reduce", _update("map", "reduce")) == []


def test_planning_is_a_stage_once_it_was_heard_and_before_a_plan_nobody_knows() -> None:
    assert _texts("plan", _update("map", printed="plan")) == ["hello"]
    assert _texts("mpa", _update()) == []
