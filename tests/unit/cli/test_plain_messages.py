import json

from disco.cli.plain_messages import plain
from disco.v1 import common_pb2, coordinator_pb2, job_pb2, jobs_pb2


def test_zeros_are_there_and_numbers_are_numbers() -> None:
    told = plain(coordinator_pb2.StageProgress(name="map", bytes_in=2**60))

    assert (told["name"], told["bytes_in"], told["tasks_done"]) == ("map", 2**60, 0)
    assert told["largest_labels"] == []


def test_enums_are_their_names_without_the_prefix() -> None:
    assert plain(common_pb2.Failure(kind=common_pb2.FAILURE_KIND_USER))["kind"] == "user"
    progress = coordinator_pb2.JobProgress(phase=coordinator_pb2.JOB_PHASE_RUNNING)
    assert plain(progress)["phase"] == "running"


def test_a_message_that_is_not_set_is_none_and_an_optional_number_is_left_out() -> None:
    assert plain(coordinator_pb2.JobEvent())["attempt"] is None
    assert "length" not in plain(job_pb2.TaskInput())
    assert plain(job_pb2.TaskInput(length=0))["length"] == 0


def test_all_of_it_is_json() -> None:
    progress = coordinator_pb2.JobProgress(
        stages=[coordinator_pb2.StageProgress(name="map")],
        failures=[coordinator_pb2.FailureReport(attempt=common_pb2.AttemptRef(stage=1))],
    )

    assert json.loads(json.dumps(plain(progress)))["failures"][0]["attempt"]["stage"] == 1


def test_a_spec_is_what_it_stands_for_and_times_are_texts() -> None:
    job = jobs_pb2.Job(labels={"team": "a"})
    job.spec.update({"workers": {"replicas": 2}, "inputs": ["a", 0.5, None, True]})
    job.created.FromJsonString("2026-01-31T12:00:00Z")

    told = plain(job)

    assert told["spec"] == {"workers": {"replicas": 2}, "inputs": ["a", 0.5, None, True]}
    assert isinstance(told["spec"]["workers"]["replicas"], int)
    assert (told["created"], told["started"]) == ("2026-01-31T12:00:00Z", None)
    assert told["labels"] == {"team": "a"}
