"""What jobs are called that nobody named."""

import pytest

from disco.manifest.model import Metadata
from disco_gateway.names import (
    MAX_NAME,
    MAX_PREFIX,
    identity_of_request,
    name_of_job,
    name_problem,
    namespace_problem,
    prefix_problem,
)


def test_the_same_request_names_the_same_job() -> None:
    one = name_of_job("count", identity_of_request("alice", "r1"))
    assert one == name_of_job("count", identity_of_request("alice", "r1"))
    assert one.startswith("count-")


@pytest.mark.parametrize(("caller", "request_id"), [("bob", "r1"), ("alice", "r2")])
def test_another_request_names_another_job(caller: str, request_id: str) -> None:
    one = identity_of_request("alice", "r1")
    assert identity_of_request(caller, request_id) != one
    assert name_of_job("", identity_of_request(caller, request_id)) != name_of_job("", one)


def test_requests_without_an_id_are_never_the_same() -> None:
    assert len({identity_of_request("alice", "") for _ in range(100)}) == 100


@pytest.mark.parametrize("prefix", ["", "a", "a-", "x" * MAX_PREFIX, "x" * (MAX_PREFIX - 1) + "-"])
def test_whatever_a_prefix_may_be_makes_a_name(prefix: str) -> None:
    assert prefix_problem(prefix) == ""
    name = name_of_job(prefix, identity_of_request("alice", "r1"))
    assert name_problem(name) == ""
    assert len(name) <= MAX_NAME


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "a-", "-a", "a_b", "a.b", "a b", "ä", "a\n", "x" * 46, "a/b"]
)
def test_what_no_job_can_be_called_is_refused_as_a_manifest_would(name: str) -> None:
    assert "letter" in name_problem(name)
    with pytest.raises(ValueError, match="name"):
        Metadata.model_validate({"name": name})


@pytest.mark.parametrize("name", ["", "A", "a-", "-a", "a_b", "a.b", "x" * 64, "a\n"])
def test_what_no_namespace_can_be_called_is_refused(name: str) -> None:
    assert namespace_problem(name)


@pytest.mark.parametrize("name", ["a", "1", "team-a", "x" * 63])
def test_what_a_namespace_can_be_called_is_not_refused(name: str) -> None:
    assert not namespace_problem(name)
