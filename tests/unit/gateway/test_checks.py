"""What a submission, a list and logs must be."""

import math
from typing import Any, cast

import pytest
from google.protobuf.struct_pb2 import Struct

from disco.v1 import coordinator_pb2, jobs_pb2
from disco_gateway.checks import check_logs, checked_query, checked_spec
from disco_gateway.errors import InvalidRequestError


def submission(spec: dict[str, Any] | None = None, **fields: Any) -> jobs_pb2.SubmitRequest:
    struct = Struct()
    struct.update({"job": "a:b", **(spec or {})})
    return jobs_pb2.SubmitRequest(namespace="team", spec=struct, **fields)


def violations(request: jobs_pb2.SubmitRequest) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        checked_spec(request)
    return dict(caught.value.violations)


def test_whole_numbers_of_a_struct_are_whole_again() -> None:
    plain, spec = checked_spec(
        submission({"partitions": 4, "params": {"n": 3, "x": 0.5, "deep": [{"k": -2}, None, True]}})
    )
    assert plain["partitions"] == 4
    assert isinstance(plain["partitions"], int)
    assert plain["params"] == {"n": 3, "x": 0.5, "deep": [{"k": -2}, None, True]}
    assert isinstance(plain["params"]["deep"][0]["k"], int)
    assert spec.partitions == 4


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, 1e300])
def test_whole_numbers_that_do_not_arrive_as_they_were_sent_are_refused(number: float) -> None:
    found = violations(submission({"params": {"ids": [1, number]}}))
    assert "write this one as a text" in found["spec.params.ids[1]"]


def test_the_largest_whole_number_that_arrives_is_taken() -> None:
    plain, _ = checked_spec(submission({"params": {"n": 2**53 - 1}}))
    assert plain["params"]["n"] == 2**53 - 1


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_does_not_know_are_refused(number: float) -> None:
    assert "JSON" in violations(submission({"params": {"n": number}}))["spec.params.n"]


def test_every_mistake_is_named() -> None:
    request = submission(
        {"job": "nonsense", "partitions": "many", "unknown": 1},
        name="Not A Name",
        name_prefix="9",
        request_id="x" * 65,
        labels={"bad key": "v", "team": "bad value"},
        code_sha256="abc",
    )
    assert set(violations(request)) == {
        "request_id",
        "name",
        "name_prefix",
        "labels[bad key]",
        "labels[team]",
        "code_sha256",
        "spec.job",
        "spec.partitions",
        "spec.unknown",
    }


def test_a_password_in_an_input_is_refused_and_not_repeated() -> None:
    found = violations(submission({"job": "a:b", "inputs": ["ftp://me:secret@host/a"]}))
    assert found["spec.inputs[0]"].startswith("ftp://me:***@host/a has a password in it")


def test_uploaded_code_and_code_in_the_spec_exclude_each_other() -> None:
    request = submission({"code": {"inline": "x = 1"}}, code_sha256="0" * 64)
    assert "code_sha256" in violations(request)["spec.code"]


def test_an_empty_submission_is_told_what_it_lacks() -> None:
    found = violations(jobs_pb2.SubmitRequest())
    assert found == {"spec.job": "is required and missing"}


def test_too_many_labels_are_refused_without_looking_at_each() -> None:
    labels = {f"label-{number}": "" for number in range(65)}
    assert set(violations(submission(labels=labels))) == {"labels"}


def test_a_query_says_what_is_wanted() -> None:
    request = jobs_pb2.ListRequest(
        namespace="team", phases=[coordinator_pb2.JOB_PHASE_FAILED], label_selector="a=b"
    )
    request.created_from.FromSeconds(1_000_000_000)
    query = checked_query(request)
    assert query.limit == 100
    assert query.phases == {coordinator_pb2.JOB_PHASE_FAILED}
    assert query.created_from is not None
    assert query.created_from.isoformat() == "2001-09-09T01:46:40+00:00"
    assert query.created_before is None


def test_a_query_that_makes_no_sense_is_refused() -> None:
    request = jobs_pb2.ListRequest(page_size=501, label_selector="a b")
    for number in (0, 99):
        request.phases.append(cast(coordinator_pb2.JobPhase.ValueType, number))
    request.created_from.seconds = 2**60
    request.created_before.nanos = -5
    with pytest.raises(InvalidRequestError) as caught:
        checked_query(request)
    assert {violation.field for violation in caught.value.violations} == {
        "page_size",
        "phases[0]",
        "phases[1]",
        "label_selector",
        "created_from",
        "created_before",
    }


def test_logs_of_a_task_need_its_stage() -> None:
    check_logs(jobs_pb2.LogsRequest(stage="map", task=0, attempt=1))
    for request in (jobs_pb2.LogsRequest(task=0), jobs_pb2.LogsRequest(stage="map", attempt=1)):
        with pytest.raises(InvalidRequestError):
            check_logs(request)
