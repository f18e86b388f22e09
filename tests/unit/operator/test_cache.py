import json
from typing import Any

import pytest

from disco_operator.cache import Cache, Ref
from disco_operator.cluster import Kind, Listing
from disco_operator.model import JobKey, Json

JOB = JobKey("ns", "job")
OTHER = JobKey("ns", "other")


def job(version: int, *, key: JobKey = JOB, uid: str = "u1", **status: Any) -> Json:
    return {
        "metadata": {
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
            "resourceVersion": str(version),
        },
        "status": status,
    }


def pod(version: int, name: str = "pod", *, of: JobKey = JOB, node: str = "n1") -> Json:
    return {
        "metadata": {
            "namespace": of.namespace,
            "name": name,
            "resourceVersion": str(version),
            "labels": {"discoproject.org/job": of.name},
        },
        "spec": {"nodeName": node},
    }


def node(version: int, ready: str, name: str = "n1") -> Json:
    return {
        "metadata": {"name": name, "resourceVersion": str(version)},
        "status": {
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": ready},
            ],
            "images": ["…"] * 50,
        },
    }


def listing(moment: int, *items: Json) -> Listing:
    return Listing(list(items), str(moment))


def test_what_the_watch_tells_is_known_and_worth_a_look() -> None:
    cache = Cache()
    assert cache.heard(Kind.DISCOJOB, "ADDED", job(5)) == {JOB}
    assert cache.heard(Kind.POD, "ADDED", pod(6)) == {JOB}
    assert cache.job(JOB) == job(5)
    assert cache.children(JOB) == (pod(6),)
    assert cache.jobs() == (JOB,)


def test_an_older_state_changes_nothing() -> None:
    cache = Cache()
    cache.heard(Kind.DISCOJOB, "ADDED", job(5, phase="Running"))
    assert cache.heard(Kind.DISCOJOB, "MODIFIED", job(4)) == set()
    assert cache.listed(Kind.DISCOJOB, listing(5, job(4)), namespace=None, now=0.0) == set()
    assert cache.job(JOB) == job(5, phase="Running")


def test_what_is_deleted_is_gone_and_worth_a_look() -> None:
    cache = Cache()
    cache.heard(Kind.DISCOJOB, "ADDED", job(5))
    cache.heard(Kind.POD, "ADDED", pod(6))
    assert cache.heard(Kind.POD, "DELETED", pod(7)) == {JOB}
    assert cache.children(JOB) == ()
    assert cache.heard(Kind.DISCOJOB, "DELETED", job(8)) == {JOB}
    assert cache.job(JOB) is None
    assert cache.jobs() == ()
    assert len(cache) == 0


def test_a_list_that_began_before_a_deletion_does_not_bring_the_object_back() -> None:
    cache = Cache()
    cache.heard(Kind.DISCOJOB, "ADDED", job(5))
    cache.heard(Kind.DISCOJOB, "DELETED", job(9))
    assert cache.listed(Kind.DISCOJOB, listing(7, job(5)), namespace=None, now=0.0) == set()
    assert cache.job(JOB) is None


def test_a_job_of_the_same_name_is_another_job() -> None:
    cache = Cache()
    cache.heard(Kind.DISCOJOB, "ADDED", job(5))
    cache.heard(Kind.DISCOJOB, "DELETED", job(9))
    cache.heard(Kind.DISCOJOB, "ADDED", job(11, uid="u2"))
    assert cache.job(JOB) == job(11, uid="u2")


def test_a_deletion_that_is_told_late_does_not_remove_the_successor() -> None:
    cache = Cache()
    cache.listed(Kind.DISCOJOB, listing(12, job(11, uid="u2")), namespace=None, now=0.0)
    assert cache.heard(Kind.DISCOJOB, "DELETED", job(9)) == set()
    assert cache.job(JOB) == job(11, uid="u2")


def test_a_list_tells_what_is_gone() -> None:
    cache = Cache()
    cache.heard(Kind.POD, "ADDED", pod(6, "a"))
    cache.heard(Kind.POD, "ADDED", pod(7, "b", of=OTHER))
    assert cache.listed(Kind.POD, listing(9, pod(6, "a")), namespace=None, now=0.0) == {OTHER}
    assert cache.children(OTHER) == ()


def test_a_list_does_not_remove_what_was_made_after_it() -> None:
    cache = Cache()
    cache.heard(Kind.POD, "ADDED", pod(20))
    assert cache.listed(Kind.POD, listing(9), namespace=None, now=0.0) == set()
    assert cache.children(JOB) == (pod(20),)


def test_a_list_of_one_namespace_or_kind_says_nothing_of_others() -> None:
    cache = Cache()
    cache.heard(Kind.POD, "ADDED", pod(6))
    cache.listed(Kind.POD, listing(9), namespace="elsewhere", now=0.0)
    cache.listed(Kind.DEPLOYMENT, listing(9), namespace=None, now=0.0)
    assert cache.children(JOB) == (pod(6),)


def test_a_pod_that_changes_its_job_is_worth_a_look_at_both() -> None:
    cache = Cache()
    cache.heard(Kind.POD, "ADDED", pod(6))
    assert cache.heard(Kind.POD, "MODIFIED", pod(7, of=OTHER)) == {JOB, OTHER}
    assert cache.children(JOB) == ()
    assert cache.children(OTHER) == (pod(7, of=OTHER),)


def test_objects_without_a_job_are_nobodys() -> None:
    cache = Cache()
    stranger = pod(6)
    del stranger["metadata"]["labels"]
    assert cache.heard(Kind.POD, "ADDED", stranger) == set()
    assert cache.heard(Kind.POD, "DELETED", stranger | {}) == set()


def test_a_node_is_ready_or_not_or_unknown() -> None:
    cache = Cache()
    assert cache.node_ready("n1") is None
    cache.heard(Kind.NODE, "ADDED", node(1, "True"))
    assert cache.node_ready("n1") is True
    cache.heard(Kind.NODE, "MODIFIED", node(2, "Unknown"))
    assert cache.node_ready("n1") is False
    cache.heard(Kind.NODE, "DELETED", node(3, "Unknown"))
    assert cache.node_ready("n1") is None


def test_a_node_that_fails_is_worth_a_look_at_the_jobs_on_it() -> None:
    cache = Cache()
    cache.heard(Kind.POD, "ADDED", pod(1, "a", node="n1"))
    cache.heard(Kind.POD, "ADDED", pod(2, "b", of=OTHER, node="n2"))
    cache.heard(Kind.NODE, "ADDED", node(3, "True"))
    assert cache.heard(Kind.NODE, "MODIFIED", node(4, "True")) == set()
    assert cache.heard(Kind.NODE, "MODIFIED", node(5, "Unknown")) == {JOB}
    assert cache.heard(Kind.NODE, "DELETED", node(6, "Unknown")) == {JOB}


def test_what_nobody_reads_is_not_kept() -> None:
    cache = Cache()
    body = job(5)
    body["metadata"]["managedFields"] = ["…"]
    body["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": "…",
        "mine": "kept",
    }
    cache.heard(Kind.DISCOJOB, "ADDED", body)
    kept = cache.job(JOB)
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"mine": "kept"}


@pytest.mark.parametrize("child_first", [True, False])
def test_a_finished_job_and_its_children_are_kept_small_and_stay_readable(
    child_first: bool,
) -> None:
    cache = Cache()
    finished = job(9, completionTime="2026-01-01T00:00:00Z", text="…" * 1000)
    if child_first:
        cache.heard(Kind.POD, "ADDED", pod(6))
        cache.heard(Kind.DISCOJOB, "ADDED", finished)
    else:
        cache.heard(Kind.DISCOJOB, "ADDED", finished)
        cache.heard(Kind.POD, "ADDED", pod(6))
    assert cache.bytes_at_rest() < len(json.dumps(finished)) / 5
    assert cache.job(JOB) == finished
    assert cache.children(JOB) == (pod(6),)
    assert cache.heard(Kind.POD, "DELETED", pod(7)) == {JOB}
    cache.heard(Kind.DISCOJOB, "MODIFIED", job(12))
    assert cache.bytes_at_rest() == 0


def test_the_first_list_is_not_held_against_the_watch() -> None:
    cache = Cache()
    cache.listed(Kind.DISCOJOB, listing(9, job(5)), namespace=None, now=None)
    assert cache.overdue(1000.0, 50.0) == ()


def test_what_a_list_tells_and_the_watch_does_not_is_overdue_once() -> None:
    cache = Cache()
    cache.listed(Kind.DISCOJOB, listing(9, job(5)), namespace=None, now=0.0)
    assert cache.overdue(49.0, 50.0) == ()
    assert cache.overdue(60.0, 50.0) == (Ref(Kind.DISCOJOB, "ns", "job"),)
    assert cache.overdue(120.0, 50.0) == ()


def test_what_the_watch_tells_after_all_is_not_overdue() -> None:
    cache = Cache()
    cache.listed(Kind.DISCOJOB, listing(9, job(5)), namespace=None, now=0.0)
    assert cache.heard(Kind.DISCOJOB, "ADDED", job(5)) == set()
    assert cache.overdue(60.0, 50.0) == ()


def test_an_older_event_does_not_make_up_for_a_newer_one() -> None:
    cache = Cache()
    cache.heard(Kind.DISCOJOB, "ADDED", job(3))
    cache.listed(Kind.DISCOJOB, listing(9, job(5)), namespace=None, now=0.0)
    cache.heard(Kind.DISCOJOB, "MODIFIED", job(4))
    assert len(cache.overdue(60.0, 50.0)) == 1


def test_a_deletion_that_the_watch_does_not_tell_is_overdue() -> None:
    cache = Cache()
    cache.heard(Kind.POD, "ADDED", pod(6))
    cache.listed(Kind.POD, listing(9), namespace=None, now=0.0)
    assert len(cache.overdue(60.0, 50.0)) == 1
    cache.heard(Kind.POD, "ADDED", pod(16))
    cache.listed(Kind.POD, listing(19), namespace=None, now=100.0)
    cache.heard(Kind.POD, "DELETED", pod(17))
    assert cache.overdue(160.0, 50.0) == ()


def test_a_deletion_of_what_the_watch_never_told_is_not_overdue() -> None:
    """Objects that went between the first list and the watch's own made a new leader look deaf."""
    cache = Cache()
    cache.listed(Kind.POD, listing(9, pod(6)), namespace=None, now=None)
    assert cache.listed(Kind.POD, listing(12), namespace=None, now=60.0) == {JOB}
    assert cache.overdue(120.0, 50.0) == ()
