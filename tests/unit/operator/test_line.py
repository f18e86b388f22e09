"""Which of the jobs that a quota keeps from starting may try."""

from typing import Any

import pytest

from disco_operator.cache import Cache
from disco_operator.cluster import Kind
from disco_operator.model import JobKey

Build = Any
Story = Any


def _crowd_out(story: Story, name: str = "j-workers") -> None:
    """Have a quota keep pods of a workload out."""
    message = "pods is forbidden: exceeded quota: three, requested: pods=1, used: pods=3"
    failed = {"type": "ReplicaFailure", "status": "True", "message": message}
    story.workloads[name]["status"] = {"conditions": [failed]}


@pytest.fixture
def crowded(story: Story) -> Story:
    """Give a job that has started, and some of whose pods a quota keeps out."""
    story.look()
    _crowd_out(story)
    story.after(15).look()
    return story


def test_a_job_without_room_gives_its_pods_back_until_it_is_the_first(crowded: Story) -> None:
    assert crowded.condition("Running") == ("False", "QuotaExceeded")
    assert crowded.workloads.keys() == {"j-ps", "j-coordinator", "j-workers"}

    crowded.first_in_line = False
    crowded.after(5).look()
    assert crowded.workloads.keys() == {"j-ps"}
    assert crowded.replicas("j-ps") == 0
    assert crowded.status["phase"] == "Pending"
    assert crowded.condition("Running") == ("False", "QuotaExceeded")
    assert "another job has waited longer" in crowded.message("Running")

    crowded.first_in_line = True
    crowded.after(5).look()
    assert crowded.workloads.keys() == {"j-ps", "j-coordinator", "j-workers"}
    assert crowded.replicas("j-ps") == 1


def test_a_job_that_has_got_its_pods_leaves_the_line(crowded: Story, build: Build) -> None:
    del crowded.workloads["j-workers"]["status"]
    crowded.hears(build.progress((8, 2, 0))).after(1).look()
    assert "inLineSince" not in crowded.status


def test_a_job_whose_pods_are_admitted_and_do_not_start_keeps_nobody_waiting(
    crowded: Story,
) -> None:
    del crowded.workloads["j-workers"]["status"]
    crowded.after(10).look()
    assert "inLineSince" in crowded.status, "the quota may not have been asked yet"
    crowded.after(20).look()
    assert "inLineSince" not in crowded.status


def test_the_first_goes_to_the_end_if_there_is_no_room_in_its_turn(crowded: Story) -> None:
    since = crowded.status["inLineSince"]
    crowded.after(60).look()
    assert crowded.status["inLineSince"] == since
    crowded.after(60).look()
    end = crowded.status["inLineSince"]
    assert end > since
    crowded.after(60).look()
    assert crowded.status["inLineSince"] == end, "nothing is new, so nothing is to be written"


def test_a_job_that_has_begun_gives_nothing_back(story: Story, build: Build) -> None:
    story.running()
    story.hears(build.progress((8, 0, 2), workers=0))
    _crowd_out(story)
    story.first_in_line = False
    story.after(15).look()
    story.after(15).look()
    assert "inLineSince" not in story.status
    assert story.workloads.keys() == {"j-ps", "j-coordinator", "j-workers"}


@pytest.mark.parametrize("change", ["suspend", "cancel"])
def test_a_job_that_is_not_to_run_leaves_the_line(crowded: Story, change: str) -> None:
    crowded.set(**{change: True}).after(20).look()
    crowded.after(20).look()
    assert "inLineSince" not in crowded.status


def test_the_first_of_a_namespace_has_waited_longest() -> None:
    cache = Cache()

    def is_there(namespace: str, name: str, version: int, **status: str) -> None:
        metadata = {"namespace": namespace, "name": name, "resourceVersion": f"{version}"}
        cache.heard(Kind.DISCOJOB, "MODIFIED", {"metadata": metadata, "status": status})

    a, b, other = JobKey("ns", "a"), JobKey("ns", "b"), JobKey("other", "c")
    is_there(*a, 1, inLineSince="2026-01-01T00:00:02Z")
    is_there(*b, 2, inLineSince="2026-01-01T00:00:01Z")
    is_there(*other, 3, inLineSince="2026-01-01T00:00:03Z")
    assert [key for key in (a, b, other) if cache.is_first_in_line(key)] == [b, other]

    is_there(*b, 4)
    assert cache.is_first_in_line(a)
