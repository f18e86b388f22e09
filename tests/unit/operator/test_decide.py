"""A DiscoJob's life as decided: one story per test, in plain values."""

import json
from typing import Any

import pytest

from disco_operator.children.spec import job_message
from disco_operator.model import written_time

Build = Any
Story = Any


def test_a_new_job_gets_all_its_children_and_says_first_that_it_has_started(story: Story) -> None:
    decision = story.look()
    assert decision.status_first
    assert decision.follow
    assert story.status["phase"] == "Pending"
    assert story.condition("Accepted") == ("True", "Accepted")
    assert story.condition("Running") == ("False", "Starting")
    assert story.workloads.keys() == {"j-ps", "j-coordinator", "j-workers"}
    assert story.replicas("j-workers") == 2
    assert story.said == ["Started"]


def test_with_many_jobs_each_is_looked_at_less_often_but_in_time_for_its_deadline(
    story: Story,
) -> None:
    """Two thousand jobs that wait were looked at four hundred times a second, for nothing."""
    assert story.look().again_in_s == 10
    assert story.look().again_in_s == 5  # it does not run yet
    story.active_jobs = 2_000
    assert story.look().again_in_s == 100
    assert story.set(activeDeadlineSeconds=60).after(30).look().again_in_s == 30
    assert story.set(suspend=True).look().again_in_s == 100


def test_deciding_again_changes_nothing(story: Story) -> None:
    story.running()
    before, children, said = dict(story.status), dict(story.workloads), list(story.said)
    story.look()
    assert story.status == before
    assert story.workloads == children
    assert story.said == said


def test_a_spec_that_makes_no_sense_is_refused_with_all_its_mistakes(build: Build) -> None:
    story = build.Story({"job": "nonsense", "partitions": 0})
    story.look()
    assert story.condition("Accepted") == ("False", "InvalidSpec")
    assert "job" in story.message("Accepted")
    assert "partitions" in story.message("Accepted")
    assert story.workloads == {}
    assert "startTime" not in story.status
    story.set(job="wc:WC", partitions=1).look()
    assert story.condition("Accepted") == ("True", "Accepted")


def test_a_missing_config_map_is_waited_for(story: Story) -> None:
    story.code_problem = "there is no ConfigMap code"
    assert story.look().again_in_s is not None
    assert story.condition("Accepted") == ("False", "CodeNotFound")
    assert story.workloads == {}
    story.code_problem = ""
    story.look()
    assert story.condition("Accepted") == ("True", "Accepted")
    assert story.said == ["CodeNotFound", "Started"]


def test_progress_goes_into_the_status(story: Story, build: Build) -> None:
    story.running()
    story.hears(build.progress((3, 2, 5))).look()
    assert story.status["phase"] == "Running"
    assert story.status["progress"] == "5/10"
    assert story.status["stage"] == "map"
    assert story.condition("Planned") == ("True", "Planned")
    assert story.condition("Running") == ("True", "WorkersConnected")
    assert story.said == ["Started", "Planned"]


def test_success_without_output_keeps_only_the_partition_services(
    story: Story, build: Build
) -> None:
    story.running()
    story.pods = [build.pod("j-ps-0", "partition-service")]
    story.hears(build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")).look()
    assert story.status["phase"] == "Succeeded"
    assert story.condition("Succeeded") == ("True", "Succeeded")
    assert story.condition("ResultsAvailable") == ("True", "KeptInPartitionServices")
    assert story.workloads.keys() == {"j-ps"}
    assert not story.decision.follow
    assert story.said[-1] == "Succeeded"


def test_success_with_output_leaves_no_pods(build: Build) -> None:
    story = build.Story({"output": {"url": "s3://bucket/out"}}).running()
    story.hears(build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")).look()
    assert story.workloads == {}
    assert story.condition("ResultsAvailable") == ("True", "WrittenToOutput")
    assert story.status["results"]["url"] == "s3://bucket/out"
    assert story.look().wanted is not None
    assert story.workloads == {}


def test_results_lost_with_a_pod_are_not_called_available(story: Story, build: Build) -> None:
    story.running()
    story.pods = [build.pod("j-ps-0", "partition-service")]
    story.hears(build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")).look()
    replaced = build.pod("j-ps-0", "partition-service")
    replaced["metadata"]["uid"] = "another"
    story.pods = [replaced]
    story.look()
    assert story.condition("ResultsAvailable") == ("False", "ResultsLost")
    assert story.said[-1] == "ResultsLost"


def test_results_of_which_copies_are_left_are_available_until_those_are_lost_too(
    build: Build,
) -> None:
    story = build.Story({"partitionService": {"replicas": 3, "copies": 2}}).running()
    pods = [build.pod(f"j-ps-{number}", "partition-service") for number in range(3)]
    for pod in pods:
        pod["metadata"]["uid"] = f"first {pod['metadata']['name']}"
    story.pods = list(pods)
    story.hears(build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")).look()
    story.pods = pods[1:]
    story.look()
    story.look()
    assert story.condition("ResultsAvailable") == ("True", "ReadFromCopies")
    assert story.said.count("ReadFromCopies") == 1
    story.pods = pods[2:]
    story.look()
    assert story.condition("ResultsAvailable") == ("False", "ResultsLost")


def test_failure_tells_the_users_error_and_keeps_finished_work_for_a_retry(
    story: Story, build: Build
) -> None:
    story.running()
    why = "task 7 of stage map failed 4 times; the last time: ValueError: bad line"
    failures = [("USER", "ValueError: bad line")]
    told = build.progress((0, 0, 9), phase="FAILED", message=why, failures=failures)
    story.hears(told).look()
    assert story.status["phase"] == "Failed"
    assert story.condition("Failed") == ("True", "TaskFailed")
    assert "ValueError: bad line" in story.message("Failed")
    assert story.status["failures"][0]["message"] == "ValueError: bad line"
    assert story.workloads.keys() == {"j-ps"}
    story.hears(None).after(3601).look()
    assert story.workloads == {}


def test_retry_runs_a_failed_job_again_with_new_pods(story: Story, build: Build) -> None:
    story.running()
    before = story.workloads["j-coordinator"]["spec"]["template"]
    story.hears(build.progress((0, 0, 9), phase="FAILED", message="it broke")).look()
    story.hears(None).set(retry=1).look()
    assert story.status["phase"] == "Pending"
    assert "completionTime" not in story.status
    assert story.condition("Failed") == ("", "")
    assert story.workloads.keys() == {"j-ps", "j-coordinator", "j-workers"}
    assert story.workloads["j-coordinator"]["spec"]["template"] != before
    assert story.said[-1] == "Retrying"
    story.hears(build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")).look()
    assert story.condition("Succeeded") == ("True", "Succeeded")


def test_a_retry_has_the_image_of_the_first_run_as_long_as_something_of_it_is_kept(
    story: Story, build: Build
) -> None:
    story.running()
    story.hears(build.progress((0, 0, 9), phase="FAILED", message="it broke")).look()
    story.hears(None).look()
    story.status["image"] = "disco:before"
    story.set(retry=1).look()
    assert story.status["image"] == "disco:before"
    story.hears(build.progress((0, 0, 9), phase="FAILED", message="it broke")).look()
    story.hears(None).after(3601).look()
    story.set(retry=2).look()
    assert story.status["image"] == build.OPERATOR.job_image


def test_a_retry_whose_code_is_gone_waits_for_it_and_says_so(build: Build) -> None:
    """Its coordinator waited forever for a ConfigMap that nobody could make."""
    story = build.Story({"code": {"configMap": {"name": "wc-code"}}, "output": {"url": "/out"}})
    story.running()
    story.hears(build.progress((0, 0, 9), phase="FAILED", message="it broke")).look()
    story.hears(None).look()
    story.code_problem = "there is no ConfigMap wc-code: create it"
    story.set(retry=1).look()
    story.look()
    assert story.status["phase"] == "Failed"
    assert story.condition("Accepted") == ("False", "CodeNotFound")
    assert story.said.count("CodeNotFound") == 1
    assert story.workloads == {}

    story.code_problem = ""
    story.look()
    assert story.status["phase"] == "Pending"
    assert story.condition("Accepted") == ("True", "Accepted")
    assert "the code of ConfigMap wc-code as it is now" in story.messages[-1]


def test_a_retry_of_what_failed_needs_no_code_but_that_of_the_start(build: Build) -> None:
    story = build.Story({"code": {"configMap": {"name": "wc-code"}}})
    story.running()
    story.hears(build.progress((0, 0, 9), phase="FAILED", message="it broke")).look()
    story.hears(None).look()
    story.code_problem = "there is no ConfigMap wc-code: create it"
    story.set(retry=1).look()
    assert story.status["phase"] == "Pending"
    assert "ConfigMap wc-code as it was when the job started" in story.messages[-1]


def test_a_retry_waits_until_the_pods_of_the_run_before_are_gone(
    story: Story, build: Build
) -> None:
    """Its coordinator, on its way out, was taken for the new one: the retry failed at once."""
    story.running()
    story.hears(build.progress((0, 0, 9), phase="FAILED", message="it broke")).look()
    story.pods = [
        build.pod("j-coordinator-a", "coordinator"),
        build.pod("j-ps-0", "partition-service"),
    ]
    story.hears(None).set(retry=1)
    assert story.look().again_in_s == 1
    assert story.status["phase"] == "Failed"
    assert story.workloads.keys() == {"j-ps"}
    assert "RetryIgnored" not in story.said
    story.pods = story.pods[1:]
    story.look()
    assert story.status["phase"] == "Pending"
    assert story.workloads.keys() == {"j-ps", "j-coordinator", "j-workers"}


def test_retry_of_a_job_that_succeeded_is_ignored_once_with_a_word(
    story: Story, build: Build
) -> None:
    story.running()
    story.hears(build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")).look()
    story.set(retry=1).look()
    story.look()
    assert story.status["phase"] == "Succeeded"
    assert story.said.count("RetryIgnored") == 1


def test_suspending_before_the_start_makes_nothing(build: Build) -> None:
    story = build.Story({"suspend": True})
    story.look()
    assert story.status["phase"] == "Suspended"
    assert story.condition("Suspended") == ("True", "NotStarted")
    assert story.workloads == {}
    story.set(suspend=False).look()
    assert story.condition("Suspended") == ("False", "Resumed")
    assert story.workloads.keys() == {"j-ps", "j-coordinator", "j-workers"}


def test_a_job_that_is_cancelled_while_suspended_does_not_say_how_to_go_on(story: Story) -> None:
    story.running().set(suspend=True).look()
    story.set(cancel=True).look()
    assert story.status["phase"] == "Cancelled"
    assert story.condition("Suspended") == ("", "")


def test_suspending_keeps_the_partition_services_that_hold_finished_work(story: Story) -> None:
    story.running().set(suspend=True).look()
    assert story.condition("Suspended") == ("True", "Suspended")
    assert story.workloads.keys() == {"j-ps"}
    assert story.replicas("j-ps") == 1
    assert "volumeClaimTemplate" in story.message("Suspended")
    assert not story.decision.follow
    story.hears(None).set(suspend=False).look()
    assert story.workloads.keys() == {"j-ps", "j-coordinator", "j-workers"}
    assert story.condition("Suspended") == ("False", "Resumed")
    assert story.status["phase"] == "Pending"


def test_with_volumes_all_pods_leave_while_suspended(build: Build) -> None:
    claim = {"resources": {"requests": {"storage": "1Gi"}}}
    storage = {"storage": {"volumeClaimTemplate": claim}}
    story = build.Story({"partitionService": storage}).running()
    story.set(suspend=True).look()
    assert story.replicas("j-ps") == 0
    story.hears(None).set(suspend=False).look()
    assert story.replicas("j-ps") == 1


def test_time_in_suspension_does_not_count_for_the_deadline(build: Build) -> None:
    story = build.Story({"activeDeadlineSeconds": 100}).running()
    story.after(60).set(suspend=True).look()
    story.after(1000).set(suspend=False).look()
    story.after(30).hears(build.progress((8, 2, 0))).look()
    assert "stopping" not in story.status
    story.after(20).look()
    assert story.status["stopping"]["reason"] == "DeadlineExceeded"


def test_a_deadline_may_be_raised_while_the_job_runs(build: Build) -> None:
    story = build.Story({"activeDeadlineSeconds": 45}).running()
    assert job_message(story.job, {}).settings.deadline_s == 0
    story.after(40).set(activeDeadlineSeconds=600).look()
    story.after(40).look()
    assert "stopping" not in story.status


def test_a_deadline_ends_the_job_through_its_coordinator(build: Build) -> None:
    story = build.Story({"activeDeadlineSeconds": 100}).running()
    story.after(100).look()
    assert "activeDeadlineSeconds" in story.decision.cancel
    assert story.workloads.keys() == {"j-ps", "j-coordinator", "j-workers"}
    story.hears(build.progress((8, 0, 2), phase="CANCELLED", message="cancelled")).look()
    assert story.status["phase"] == "Failed"
    assert story.condition("Failed") == ("True", "DeadlineExceeded")


def test_cancel_asks_the_coordinator_and_does_not_wait_for_ever(story: Story) -> None:
    story.running().set(cancel=True).look()
    assert story.decision.cancel
    assert story.status["phase"] == "Running"
    story.after(31).look()
    assert story.status["phase"] == "Cancelled"
    assert story.condition("Failed") == ("True", "Cancelled")
    assert story.workloads == {}


def test_cancel_before_the_start_needs_no_coordinator(build: Build) -> None:
    story = build.Story({"cancel": True})
    story.look()
    assert story.status["phase"] == "Cancelled"
    assert story.workloads == {}


def test_cancel_of_a_suspended_job_ends_it_at_once(story: Story) -> None:
    story.running().set(suspend=True).look()
    story.hears(None).set(cancel=True).look()
    assert story.status["phase"] == "Cancelled"


def test_the_job_is_deleted_when_its_time_is_over(build: Build) -> None:
    story = build.Story({"ttlSecondsAfterFinished": 60}).running()
    story.hears(build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")).look()
    assert story.look().again_in_s == 60
    story.after(59).look()
    assert not story.deleted
    story.after(1).look()
    assert story.deleted


def test_stages_that_the_job_does_not_have_are_named(build: Build) -> None:
    """A typing error would mean that resources are not applied, without a word."""
    story = build.Story({"stages": {"redcue": {"workers": {"replicas": 9}}}}).running()
    assert story.said == ["Started", "Planned", "UnknownStage"]
    assert "'redcue'" in story.message("Planned")
    assert "'reduce'" in story.message("Planned")


def test_what_the_status_takes_over_is_bounded_in_bytes(story: Story, build: Build) -> None:
    story.look()
    failures = [("USER", "ü" * 10_000)] * 9
    told = build.progress((1, 0, 0), names=["x" * 300], failures=failures)
    story.hears(told).look()
    assert story.status["stage"] == story.status["stages"][0]["name"]
    assert len(story.status["stage"]) <= 200
    assert len(json.dumps(story.status, ensure_ascii=False).encode()) < 20_000


def test_objects_of_a_stranger_with_the_jobs_label_are_not_touched(story: Story) -> None:
    story.workloads["j-workers"] = {
        "kind": "Deployment",
        "metadata": {"name": "j-workers", "uid": "x", "labels": {}, "ownerReferences": []},
        "spec": {"replicas": 3},
    }
    story.look()
    assert story.condition("Accepted") == ("False", "NameTaken")
    assert story.replicas("j-workers") == 3


def test_what_an_earlier_job_of_the_name_left_is_waited_for(story: Story) -> None:
    owner = {"kind": "DiscoJob", "uid": "earlier"}
    story.workloads["j-ps"] = {
        "kind": "StatefulSet",
        "metadata": {"name": "j-ps", "uid": "x", "labels": {}, "ownerReferences": [owner]},
        "spec": {"replicas": 1},
    }
    story.look()
    assert story.condition("Accepted") == ("False", "CleaningUp")
    del story.workloads["j-ps"]
    story.look()
    assert story.condition("Accepted") == ("True", "Accepted")


def test_a_change_that_rules_cannot_refuse_is_told(story: Story) -> None:
    story.running().set(inputs=["/in/b"]).look()
    assert story.condition("Accepted") == ("True", "SpecChanged")
    assert story.said[-1] == "SpecChanged"


def test_replicas_may_change_while_the_job_runs(story: Story) -> None:
    story.running().set(workers={"replicas": 5}).look()
    assert story.replicas("j-workers") == 5
    assert story.condition("Accepted") == ("True", "Accepted")


def test_a_silent_coordinator_is_told_and_its_workers_stay(story: Story, build: Build) -> None:
    story.running()
    told = build.progress((8, 2, 0))
    story.hears(told, silent_s=31.0, problem="UNAVAILABLE: no route").look()
    assert story.condition("Running") == ("False", "CoordinatorUnreachable")
    assert "no route" in story.message("Running")
    assert story.replicas("j-workers") == 2


def test_a_coordinator_that_has_just_started_again_does_not_send_the_workers_home(
    build: Build,
) -> None:
    """Until the partition services have told it, it knows of no stages, like that of a new job."""
    own = {"reduce": {"workers": {"replicas": 3}}}
    story = build.Story({"workers": {"min": 1, "max": 8}, "stages": own}).running()
    story.hears(build.progress((0, 0, 10), (2, 2, 0))).look()
    assert story.replicas("j-stage-reduce") == 3
    told = build.progress(phase="PLANNING", workers=0, message="waiting for the services")
    told.epoch = 0
    story.hears(told).look()
    assert story.replicas("j-stage-reduce") == 3
    assert story.status["progress"] == "10/14"
    assert story.status["coordinator"]["epoch"] == 1
    assert story.condition("Running") == ("False", "WaitingForWorkers")


def test_an_operator_that_has_just_started_leaves_the_pods_as_they_are(build: Build) -> None:
    story = build.Story({"workers": {"min": 1, "max": 8}}).running()
    assert story.replicas("j-workers") == 8
    story.hears(None).look()
    assert story.replicas("j-workers") == 8
    assert story.status["phase"] == "Running"


@pytest.mark.parametrize("ready", [False, None])
def test_pods_that_cannot_end_on_lost_nodes_are_removed(
    story: Story, build: Build, ready: bool | None
) -> None:
    story.running()
    lost = build.pod("j-ps-0", "partition-service")
    lost["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    story.pods = [lost]
    if ready is not None:
        story.nodes["node-1"] = ready
    assert story.after(4).look().lost_pods == ()
    story.after(2).look()
    assert bool(story.decision.lost_pods) == (ready is False)
    story.after(60).look()
    assert story.decision.lost_pods == (("j-ps-0", "uid-of-j-ps-0"),)


def test_a_worker_killed_for_memory_gets_more_once(build: Build) -> None:
    limits = {"resources": {"limits": {"memory": "256Mi"}}}
    story = build.Story({"workers": {**limits, "oomRetryFactor": 2}}).running()
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    container = {"name": "worker", "restartCount": 1, "lastState": killed, "state": {}}
    story.pods = [build.pod("j-workers-a", containerStatuses=[container])]
    story.look()
    template = story.workloads["j-workers"]["spec"]["template"]["spec"]
    assert template["containers"][0]["resources"]["limits"]["memory"] == "512Mi"
    assert "MemoryRaised" in story.said
    story.look()
    assert story.said.count("MemoryRaised") == 1
    assert story.status["memoryFactor"] == {"shared": 2.0}


def test_requirements_that_cannot_be_installed_fail_the_job(build: Build) -> None:
    story = build.Story({"requirements": ["no-such-package"]})
    story.look()
    ended = {"terminated": {"exitCode": 1, "message": "No matching distribution: no-such-package"}}
    init = {"name": "prepare", "restartCount": 0, "state": ended}
    story.pods = [build.pod("j-workers-a", initContainerStatuses=[init])]
    story.look()
    assert story.condition("Running") == ("False", "SetupFailed")
    assert "no-such-package" in story.message("Running")
    again = {"name": "prepare", "restartCount": 2, "state": {"running": {}}, "lastState": ended}
    story.pods = [build.pod("j-workers-a", initContainerStatuses=[again])]
    story.look()
    assert story.condition("Failed") == ("", "")  # the third attempt may succeed
    init["restartCount"] = 2
    story.pods = [build.pod("j-workers-a", initContainerStatuses=[init])]
    story.look()
    assert story.condition("Failed") == ("True", "SetupFailed")
    assert "no-such-package" in story.message("Failed")


def test_pods_that_run_and_never_meet_are_said_to_be_kept_apart(story: Story, build: Build) -> None:
    story.running()
    started = written_time(story.now)
    story.pods = [
        build.pod(name, role, phase="Running", startTime=started)
        for name, role in (("j-coordinator-a", "coordinator"), ("j-ps-0", "partition-service"))
    ]
    story.hears(build.progress(workers=0, message="waiting for the partition services: j-ps-0"))
    story.after(30).look()
    assert "NetworkPolicy" not in story.message("Running")
    story.after(61).look()
    assert "NetworkPolicy of namespace ns" in story.message("Running")
