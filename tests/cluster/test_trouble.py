"""What keeps pods from working ends in a condition that says what is wrong and what to do."""

from textwrap import dedent

from harness import programs
from harness.gated import GatedJob
from harness.jobs import discojob
from harness.namespaces import Namespace
from harness.volumes import Volume
from harness.waiting import wait_for


def test_an_image_that_cannot_be_pulled_is_named(
    namespace: Namespace, shared_volume: Volume
) -> None:
    job = namespace.submit(
        discojob(
            "lost-image",
            job="wordcount:WordCount",
            code=programs.WORDCOUNT,
            inputs=["raw://the end"],
            image="registry.invalid/nobody/nothing:1",
        )
    )

    condition = job.wait_for_reason("ImagePullFailed")

    assert "registry.invalid/nobody/nothing:1" in condition["message"]
    assert "spec.image" in condition["message"]


def test_pods_that_fit_on_no_node_are_explained_and_leave_when_the_job_is_cancelled(
    namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume, workers={"resources": {"requests": {"cpu": "1000"}}})

    condition = gated.job.wait_for_reason("Unschedulable")
    gated.job.patch(cancel=True)

    assert "Insufficient cpu" in condition["message"]
    assert "spec.workers.resources.requests" in condition["message"]
    gated.job.wait_until_no_pods()


def test_a_quota_that_is_exhausted_is_named_and_the_job_runs_once_there_is_room(
    namespace: Namespace, shared_volume: Volume
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-pods"},
        "spec": {"hard": {"pods": "0"}},
    }
    namespace.apply(quota)
    gated = GatedJob(namespace, shared_volume)
    gated.open_gate()

    condition = gated.job.wait_for_reason("QuotaExceeded")
    namespace.kubectl("delete", "resourcequota", "no-pods")
    gated.job.wait_until_succeeded(timeout=240)

    assert "no-pods" in condition["message"]
    gated.check_result()


def test_jobs_in_a_quota_for_one_run_one_after_the_other(
    namespace: Namespace, shared_volume: Volume
) -> None:
    """Each took some of the pods that the quota admits, and all waited for each other."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few-pods"},
        "spec": {"hard": {"pods": "4"}},
    }
    namespace.apply(quota)
    shared_volume.write("input/a.txt", "the end\n")
    jobs = [
        namespace.submit(
            discojob(
                f"narrow-{number}",
                job="wordcount:WordCount",
                code=programs.WORDCOUNT,
                inputs=["/shared/input/*.txt"],
                output={"url": f"/shared/narrow-{number}"},
            )
        )
        for number in range(4)
    ]

    for job in jobs:
        job.wait_until_succeeded(timeout=300)


def test_a_task_that_needs_more_memory_than_its_pod_has_fails_with_the_reason(
    namespace: Namespace, shared_volume: Volume
) -> None:
    shared_volume.write("input/a.txt", "x\n")
    code = dedent(
        """\
        from disco import Job

        class Greedy(Job):
            @staticmethod
            def map(line, params):
                yield len(bytearray(1 << 30)), 1
        """
    )

    job = namespace.submit(
        discojob(
            "greedy",
            job="greedy:Greedy",
            code=code,
            inputs=["/shared/input/a.txt"],
            retries={"maxAttempts": 2},
            workers={"replicas": 1, "resources": {"limits": {"memory": "256Mi"}}},
        )
    )
    failed = job.wait_until_failed(timeout=240)

    assert "memory limit" in failed["message"]
    assert "raise spec.workers.resources.limits.memory" in failed["message"]
    wait_for(
        "the event that told of the first time",
        lambda: any("1.5 times as much, once" in event["note"] for event in job.events()),
    )


def test_code_that_does_not_exist_is_named(namespace: Namespace, shared_volume: Volume) -> None:
    shared_volume.write("input/a.txt", "the end\n")
    job = namespace.submit(
        discojob(
            "codeless",
            job="wordcount:WordCount",
            code={"configMap": {"name": "nowhere"}},
            inputs=["/shared/input/a.txt"],
        )
    )

    condition = job.wait_for_reason("CodeNotFound")
    namespace.config_map("nowhere", {"wordcount.py": programs.WORDCOUNT})

    assert "nowhere" in condition["message"]
    job.wait_until_succeeded()


def test_a_volume_that_does_not_exist_is_named(namespace: Namespace) -> None:
    job = namespace.submit(
        discojob(
            "no-volume",
            job="wordcount:WordCount",
            code=programs.WORDCOUNT,
            inputs=["raw://the end"],
        )
    )

    condition = job.wait_for_reason("Unschedulable")

    assert 'persistentvolumeclaim "shared" not found' in condition["message"]


def test_a_package_that_cannot_be_installed_fails_the_job(namespace: Namespace) -> None:
    job = namespace.submit(
        discojob(
            "unpackaged",
            job="wordcount:WordCount",
            code=programs.WORDCOUNT,
            inputs=["raw://the end"],
            requirements=["no-such-package==1.0"],
            shared=False,
            workers={"replicas": 1, "env": [{"name": "PIP_NO_INDEX", "value": "1"}]},
        )
    )

    failed = job.wait_until_failed(timeout=240)

    assert failed["reason"] == "SetupFailed"
    assert "no-such-package==1.0" in failed["message"]
