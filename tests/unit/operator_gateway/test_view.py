"""What the gateway shows of a DiscoJob."""

from typing import Any

from disco.v1 import common_pb2, coordinator_pb2
from disco_operator.gateway.view import job_of, outline_of
from disco_operator.model import DiscoJob

STATUS: dict[str, Any] = {
    "phase": "Running",
    "reason": "WorkersConnected",
    "observedMessage": "2 workers with 2 slots",
    "startTime": "2026-01-02T03:04:06Z",
    "workers": 2,
    "slots": 4,
    "retries": 1,
    "progress": "3/10",
    "stages": [
        {
            "name": "map",
            "tasks": {"total": 10, "waiting": 5, "running": 2, "done": 3},
            "recordsOut": 7,
            "startTime": "2026-01-02T03:04:16Z",
            "largestLabels": [{"label": -1, "bytes": 5, "records": 2}],
        },
        {"name": "reduce", "tasks": {"total": 0}},
    ],
    "failures": [
        {
            "stage": "map",
            "task": 4,
            "attempt": 2,
            "epoch": 1,
            "kind": "User",
            "message": "ValueError: no",
            "traceback": "…",
        }
    ],
}


def _made(build: Any, **status: Any) -> Any:
    body = build.discojob(**{**STATUS, **status})
    body["metadata"] |= {
        "uid": "u-1",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": {"team": "a"},
        "annotations": {"discoproject.org/submitted-by": "alice"},
    }
    return body


def test_everything_is_shown(build: Any) -> None:
    job = job_of(_made(build))
    assert (job.namespace, job.name, job.uid, job.submitted_by) == ("ns", "j", "u-1", "alice")
    assert dict(job.labels) == {"team": "a"}
    assert (job.workers, job.slots, job.retries) == (2, 4, 1)
    assert (job.tasks_done, job.tasks_total) == (3, 10)
    assert job.created.ToJsonString() == "2026-01-02T03:04:05Z"
    assert job.started.ToJsonString() == "2026-01-02T03:04:06Z"
    assert not job.HasField("finished")
    stage = job.stages[0]
    assert (stage.name, stage.tasks_done, stage.started_s, stage.finished_s) == ("map", 3, 10, 0)
    assert stage.largest_labels[0].label == -1
    (failure,) = job.failures
    assert failure.failure.kind == common_pb2.FAILURE_KIND_USER
    assert (failure.attempt.stage, failure.attempt.task) == (1, 4)
    assert job.spec["job"] == "wc:WC"


def test_a_list_shows_less(build: Any) -> None:
    job = outline_of(_made(build))
    assert not job.HasField("spec")
    assert not job.stages
    assert not job.failures
    assert job.tasks_done == 3


def test_a_job_that_nobody_has_looked_at_is_pending(build: Any) -> None:
    body = build.discojob()
    body["metadata"] |= {"uid": "u-1", "creationTimestamp": "2026-01-02T03:04:05Z"}
    del body["status"]
    assert job_of(body).phase == coordinator_pb2.JOB_PHASE_PENDING


def test_what_the_coordinator_says_is_newer_than_the_status(build: Any) -> None:
    progress = coordinator_pb2.JobProgress(
        phase=coordinator_pb2.JOB_PHASE_COMMITTING,
        workers=5,
        slots=5,
        stages=[coordinator_pb2.StageProgress(name="map", tasks_done=10, tasks_total=10)],
    )
    job = job_of(_made(build), progress)
    assert job.phase == coordinator_pb2.JOB_PHASE_COMMITTING
    assert (job.workers, job.tasks_done) == (5, 10)
    assert [stage.name for stage in job.stages] == ["map"]


def test_a_coordinator_that_has_just_started_knows_less(build: Any) -> None:
    job = job_of(
        _made(build), coordinator_pb2.JobProgress(phase=coordinator_pb2.JOB_PHASE_PLANNING)
    )
    assert [stage.name for stage in job.stages] == ["map", "reduce"]


def test_that_a_job_is_over_its_status_says(build: Any) -> None:
    """Else somebody would ask for results that the status does not know of yet."""
    over = coordinator_pb2.JobProgress(phase=coordinator_pb2.JOB_PHASE_SUCCEEDED)
    assert job_of(_made(build), over).phase == coordinator_pb2.JOB_PHASE_RUNNING
    body = _made(build, phase="Failed", completionTime="2026-01-02T03:05:05Z")
    assert job_of(body, over).phase == coordinator_pb2.JOB_PHASE_FAILED


def test_results_are_shown_with_what_became_of_them(build: Any) -> None:
    results = {"records": 7, "bytes": 70, "parts": 2, "expiresAt": "2026-01-03T00:00:00Z"}
    lost = {"type": "ResultsAvailable", "status": "False", "message": "j-ps-0 is gone"}
    job = job_of(_made(build, phase="Succeeded", results=results, conditions=[lost]))
    assert (job.results.records, job.results.bytes, job.results.parts) == (7, 70, 2)
    assert job.results.lost == "j-ps-0 is gone"
    assert job.results.expires.ToJsonString() == "2026-01-03T00:00:00Z"


def test_a_password_for_which_a_spec_is_refused_is_not_shown(build: Any) -> None:
    body = _made(build)
    body["spec"] |= {"inputs": ["ftp://me:secret@host/a"], "output": {"url": "ftp://me:secret@h"}}
    problem = DiscoJob.from_body(body).problem
    assert "spec.inputs[0]: ftp://me:***@host/a has a password in it" in problem
    assert "secret" not in f"{problem} {job_of(body)}"


def test_a_spec_that_cannot_travel_is_left_out(build: Any) -> None:
    body = _made(build)
    deep: Any = 1
    for _ in range(200):
        deep = {"a": deep}
    body["spec"]["params"] = deep
    job = job_of(body)
    assert not job.HasField("spec")
    assert "nested too deeply" in job.warnings[-1]
    assert job.FromString(job.SerializeToString()) == job


def test_a_spec_as_deep_as_may_be_travels(build: Any) -> None:
    body = _made(build)
    deep: Any = [1]
    for _ in range(27):
        deep = [deep]
    body["spec"]["params"] = {"a": deep}
    job = job_of(body)
    assert job.HasField("spec")
    assert job.FromString(job.SerializeToString()) == job
