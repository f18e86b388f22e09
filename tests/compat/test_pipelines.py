"""Pipelines behave as in Disco, on every engine."""

from typing import Any

import pytest

from . import jobs, pipelines
from .conftest import Backend


def told(backend: Backend) -> list[Any]:
    return backend.results(pipelines.Told, input=jobs.RAW)


def of_label(backend: Backend, label: int) -> list[Any]:
    """Return the records with *label* that the last stage of ``Told`` reads."""
    parts = [records for _, (mark, records) in backend.observed(told) if mark == label]
    return sorted(record for part in parts for record in part)


def test_functions_of_a_class_s_body_are_plain_functions(backend: Backend) -> None:
    assert {key for key, _ in backend.observed(told)} == {"all"}


def test_group_label_has_a_task_per_label(backend: Backend) -> None:
    words = {label: sorted(word for word, _ in pairs) for label, pairs in of_label(backend, 0)}
    assert words == {0: ["c"], 1: ["a", "a"], 2: ["b"]}


def test_combined_inputs_of_a_label_are_processed_at_once(backend: Backend) -> None:
    assert [labels for _, labels in of_label(backend, 5)] == [[0], [1], [2]]


def test_inputs_of_a_first_stage_have_the_label_0(backend: Backend) -> None:
    assert {label for _, pairs in of_label(backend, 0) for _, (label, _) in pairs} == {0}


def test_input_hook_orders_labels_after_init(backend: Backend) -> None:
    records = backend.results(pipelines.Backwards, input=jobs.RAW)
    assert [key for key, _ in records if key != "labels"] == [2, 1, 0]
    assert dict(records)["labels"] == [2, 1, 0]


def test_a_plain_text_is_an_input_and_a_single_stage_may_be_group_all(backend: Backend) -> None:
    together = backend.results(pipelines.Alone, input=["raw://x", ["raw://y"]])
    assert sorted(together) == [(0, ["x"]), (0, ["y"])]


def groups(backend: Backend) -> list[Any]:
    return backend.results(pipelines.Groups, input=jobs.RAW)


@pytest.mark.parametrize(
    ("stage", "expected", "labels"),
    [
        ("split", [(0, 1), (1, 1), (1, 1), (2, 1)], {0, 1, 2}),
        ("node", [(0, 1), (1, 2), (2, 1)], {0}),
        ("node_label", [(0, 1), (1, 2), (2, 1)], {0, 1, 2}),
        ("all", [(0, 1), (1, 2), (2, 1)], {0}),
        ("label", [(0, 1), (1, 2), (2, 1)], {0, 1, 2}),
    ],
)
def test_a_grouping_says_which_inputs_meet_in_a_task(
    backend: Backend, stage: str, expected: list[Any], labels: set[int]
) -> None:
    """All inputs of one node meet; a cluster may have several."""
    values = [value for key, value in backend.observed(groups) if key == "told"]
    seen = [(group, label, count) for name, group, label, count in values if name == stage]
    totals: dict[int, int] = {}
    for _, label, count in seen:
        totals[label] = totals.get(label, 0) + count
    assert totals == {0: 1, 1: 2, 2: 1}
    assert {group[0] for group, _, _ in seen} == labels
    assert {bool(group[1]) for group, _, _ in seen} == {stage.startswith("node")}
    if backend.sees_files:
        assert sorted((label, count) for _, label, count in seen) == expected


def test_results_are_in_the_order_of_labels(backend: Backend) -> None:
    values = [value for key, value in backend.observed(groups) if key == "told"]
    assert [label for name, _, label, _ in values if name == "label"] == [0, 1, 2]


def test_sorted_input_of_a_stage_is_grouped_by_key(backend: Backend) -> None:
    records = backend.results(pipelines.SortedPipe, input=["raw://bab", "raw://b"])
    assert records == [(b"a", 1), (b"b", 3)]
