"""How many worker pods there are, told as the tasks of a two-stage job move on."""

from typing import Any

import pytest

ELASTIC = {"workers": {"min": 1, "max": 8, "slots": 2}}


@pytest.mark.parametrize(
    ("name", "stages", "tasks", "pods"),
    [
        ("one plans the job", {}, None, {"j-workers": 1}),
        ("pods follow open tasks", {}, ((7, 0, 3), (0, 0, 0)), {"j-workers": 4}),
        ("never more than max", {}, ((90, 10, 0), (0, 0, 0)), {"j-workers": 8}),
        (
            "the next stage's own pods wait for most of the stage before",
            {"reduce": {"workers": {"replicas": 3}}},
            ((1, 4, 5), (0, 0, 0)),
            {"j-workers": 3},
        ),
        (
            "they start before it ends, to be warm",
            {"reduce": {"workers": {"replicas": 3}}},
            ((0, 2, 8), (0, 0, 0)),
            {"j-workers": 1, "j-stage-reduce": 3},
        ),
        (
            "a stage's pods leave at its end",
            {"reduce": {"workers": {"replicas": 3}}},
            ((0, 0, 10), (4, 2, 0)),
            {"j-stage-reduce": 3},
        ),
        (
            "and come back if an output is to be made again",
            {"reduce": {"workers": {"replicas": 3}}},
            ((1, 0, 9), (4, 2, 0)),
            {"j-workers": 1, "j-stage-reduce": 3},
        ),
        (
            "the first stage may have its own, too",
            {"map": {"workers": {"replicas": 5, "slots": 1}}},
            ((9, 1, 0), (0, 0, 0)),
            {"j-stage-map": 5},
        ),
    ],
)
def test_pods(build: Any, name: str, stages: Any, tasks: Any, pods: Any) -> None:
    story = build.Story({**ELASTIC, "stages": stages})
    story.look()
    told = build.progress(phase="PLANNING") if tasks is None else build.progress(*tasks)
    story.hears(told).look()
    found = {
        name: child["spec"]["replicas"]
        for name, child in story.workloads.items()
        if name not in ("j-ps", "j-coordinator")
    }
    assert found == pods, name


def test_pods_stay_between_stages_that_share_them(build: Any) -> None:
    story = build.Story({"workers": {"min": 1, "max": 8}}).running()
    assert story.replicas("j-workers") == 8
    story.hears(build.progress((0, 1, 9))).look()
    assert story.replicas("j-workers") == 8
    story.hears(build.progress((0, 0, 10), (1, 1, 2))).look()
    assert story.replicas("j-workers") == 2


def test_the_last_stages_pods_stay_until_the_output_is_committed(build: Any) -> None:
    story = build.Story({"workers": {"min": 1, "max": 8}}).running()
    story.hears(build.progress((0, 0, 10), (0, 0, 4), phase="COMMITTING")).look()
    assert story.replicas("j-workers") == 8


def test_a_retry_of_the_commit_has_a_worker(build: Any) -> None:
    """Everything is done but the commit, and the pods of the last stage went with the first run."""
    own = {"reduce": {"workers": {"replicas": 3}}}
    story = build.Story({"output": {"url": "/out"}, "stages": own}).running()
    done = ((0, 0, 10), (0, 0, 2))
    story.hears(build.progress(*done, phase="FAILED", message="permission denied")).look()
    story.hears(None).set(retry=1).look()
    story.hears(build.progress(*done, phase="COMMITTING", workers=0)).look()
    assert story.replicas("j-stage-reduce") == 1


def test_a_stages_number_replaces_the_range_of_all(build: Any) -> None:
    own = {"reduce": {"workers": {"min": 2, "max": 3}}}
    story = build.Story({"workers": {"replicas": 4}, "stages": own}).running()
    assert story.replicas("j-workers") == 4
    story.hears(build.progress((0, 0, 10), (9, 0, 0))).look()
    assert story.replicas("j-stage-reduce") == 3
