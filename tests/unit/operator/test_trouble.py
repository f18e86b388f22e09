"""What pods say about why they do not run, in the words that users read."""

from typing import Any

import pytest

OLD = "2026-01-02T03:00:00Z"


def _waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {
        "name": "worker",
        "image": "nowhere/app:1",
        "state": {"waiting": {"reason": reason, "message": message}},
    }


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (
            {"containerStatuses": [_waiting("ImagePullBackOff", "not found")]},
            "ImagePullFailed",
            ("nowhere/app:1", "not found", "spec.image"),
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient memory",
                        "lastTransitionTime": OLD,
                    }
                ]
            },
            "Unschedulable",
            ("Insufficient memory", "spec.workers.resources.requests"),
        ),
        (
            {"containerStatuses": [_waiting("CreateContainerConfigError", 'secret "x" not found')]},
            "ContainerConfigFailed",
            ('secret "x" not found',),
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "worker",
                        "restartCount": 1,
                        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                    }
                ]
            },
            "OOMKilled",
            ("256Mi", "spec.workers.resources.limits.memory"),
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "worker",
                        "restartCount": 4,
                        "lastState": {
                            "terminated": {"exitCode": 2, "message": "no module named disco_engine"}
                        },
                    }
                ]
            },
            "PodCrashes",
            ("4 times", "status 2", "no module named disco_engine"),
        ),
        (
            {
                "phase": "Pending",
                "startTime": OLD,
                "containerStatuses": [_waiting("ContainerCreating")],
            },
            "PodStuck",
            ("kubectl describe pod",),
        ),
        (
            {
                "phase": "Failed",
                "reason": "Evicted",
                "message": 'Usage of EmptyDir volume "scratch" exceeds the limit "16Mi". ',
            },
            "Evicted",
            ('"scratch" exceeds the limit "16Mi"; let the job', "spec.workers more"),
        ),
    ],
)
def test_a_pod_that_does_not_run_says_why(
    build: Any, status: Any, reason: str, words: tuple[str, ...]
) -> None:
    story = build.Story()
    story.look()
    story.pods = [build.pod("j-workers-a", **status)]
    story.look()
    assert story.condition("Running") == ("False", reason)
    for word in ("j-workers-a", *words):
        assert word in story.message("Running")
    story.look()
    assert story.said.count(reason) == 1


@pytest.mark.parametrize(
    ("said", "reason", "remedy"),
    [
        ("is forbidden: exceeded quota: small", "QuotaExceeded", "raise the quota"),
        ('is forbidden: violates PodSecurity "restricted"', "PodsRefused", "an admission rule"),
        (
            "is forbidden: failed quota: q: must specify limits.memory for: worker",
            "PodsRefused",
            "set spec.workers.resources",
        ),
        (
            'is invalid: spec.containers[0].resources.requests: Invalid value: "256Mi": must be'
            " less than or equal to memory limit of 64Mi",
            "PodsRefused",
            "set spec.workers.resources",
        ),
        (
            "is forbidden: maximum memory usage per Container is 128Mi, but limit is 256Mi",
            "PodsRefused",
            "set spec.workers.resources",
        ),
    ],
)
def test_pods_that_are_not_admitted_are_told_with_what_to_do(
    build: Any, said: str, reason: str, remedy: str
) -> None:
    story = build.Story()
    story.look()
    failure = {"type": "ReplicaFailure", "status": "True", "message": said}
    story.workloads["j-workers"]["status"] = {"conditions": [failure]}
    story.look()
    assert story.condition("Running") == ("False", reason)
    assert said in story.message("Running")
    assert remedy in story.message("Running")


@pytest.mark.parametrize(
    ("status", "reason"),
    [({}, "Starting"), ({"observedGeneration": 1, "replicas": 0}, "PodsRefused")],
)
def test_partition_services_are_not_refused_before_kubernetes_has_tried(
    build: Any, status: Any, reason: str
) -> None:
    """It takes a minute for that, when thousands of jobs come at once."""
    story = build.Story()
    story.look()
    story.workloads["j-ps"]["metadata"]["creationTimestamp"] = OLD
    story.workloads["j-ps"]["status"] = status
    story.look()
    assert story.condition("Running") == ("False", reason)


def test_pods_that_only_just_started_waiting_are_no_trouble(build: Any) -> None:
    story = build.Story()
    story.look()
    scheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "lastTransitionTime": "2026-01-02T03:04:00Z",
    }
    story.pods = [build.pod("j-workers-a", conditions=[scheduled])]
    story.look()
    assert story.condition("Running") == ("False", "Starting")


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        (OLD, "Evicted"),
        ("2026-01-02T02:59:00Z", "WorkersConnected"),
    ],  # less than five minutes ago, and more
)
def test_a_pod_that_was_evicted_long_ago_is_no_trouble_any_more(
    build: Any, when: str, reason: str
) -> None:
    """It stays for as long as Kubernetes likes, while another does its work."""
    story = build.Story().running()
    target = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": when}
    evicted = {"phase": "Failed", "reason": "Evicted", "message": "full", "conditions": [target]}
    story.pods = [build.pod("j-workers-a", **evicted)]
    story.look()
    assert story.condition("Running") == ("True", reason)


def test_workers_at_work_are_not_hidden_by_one_pod_in_trouble(build: Any) -> None:
    story = build.Story().running()
    story.pods = [build.pod("j-workers-b", containerStatuses=[_waiting("ErrImagePull", "gone")])]
    story.look()
    assert story.condition("Running") == ("True", "ImagePullFailed")
    assert "gone" in story.message("Running")
