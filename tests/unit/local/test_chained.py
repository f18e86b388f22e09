"""What of another job's result a job gets as its inputs."""

from collections.abc import Mapping

import pytest

from disco_engine.local import chained
from disco_engine.local.chained import by_label, jobs_read
from disco_engine.result_errors import ResultTooFineError

Told = Mapping[int, Mapping[int, int]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str, int]]:
    """Give the calls to services, of which each has a map with labels and a reduce without."""
    calls: list[tuple[str, str, str, int]] = []

    def labels_of(address: str, token: str, uid: str, stage: int) -> Told:
        calls.append((address, token, uid, stage))
        return {0: {0: 5, 2: 7}, 1: {-1: 1}, 2: {}} if stage == 1 else {0: {0: 5}, 1: {0: 5}}

    monkeypatch.setattr(chained, "labels_of", labels_of)
    return calls


def test_a_part_with_labels_becomes_an_input_for_each(asked: list[object]) -> None:
    inputs = [(f"disco://h:1/u/1/{task}",) for task in range(3)]
    assert by_label(inputs, "token") == [
        ("disco://h:1/u/1/0?label=0",),
        ("disco://h:1/u/1/0?label=2",),
        ("disco://h:1/u/1/1?label=-1",),
        ("disco://h:1/u/1/2",),
    ]
    assert asked == [("h:1", "token", "u", 1)]


def test_all_else_stays_as_it_is_and_only_services_are_asked_that_must_be(
    asked: list[object],
) -> None:
    inputs = [
        ("a.txt", "b.txt"),
        ("disco://h:1/u/2/0",),
        ("disco://h:1/u/2/1",),
        ("disco://h:2/v/1/0?label=5",),
        ("disco://h:2/v/1?label=5",),
        ("disco://server/ns/name/uid/0",),
        ("disco://nowhere",),
    ]
    assert by_label(inputs, "token") == inputs
    assert asked == [("h:1", "token", "u", 2)]
    assert jobs_read(inputs) == {"u", "v"}


def test_more_inputs_than_a_job_can_have_are_refused(
    asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chained, "MOST_INPUTS", 3)
    with pytest.raises(ResultTooFineError, match="let a reduce follow the map that made them"):
        by_label([("disco://h:1/u/1/0",), ("disco://h:1/u/1/0",)], "token")
