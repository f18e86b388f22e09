"""Changes to jobs that have started, and to jobs that have not."""

from typing import Any

from harness import programs
from harness.jobs import discojob
from harness.namespaces import Namespace
from harness.waiting import wait_for

GOOD: dict[str, Any] = discojob(
    "good",
    job="wordcount:WordCount",
    code=programs.WORDCOUNT,
    inputs=["raw://the end"],
    shared=False,
)


def _with(**spec: Any) -> dict[str, Any]:
    return {**GOOD, "spec": {**GOOD["spec"], **spec}}


def test_what_a_started_job_computes_cannot_be_changed(namespace: Namespace) -> None:
    job = namespace.submit(GOOD)
    wait_for("the job to be started", lambda: "startTime" in job.status())

    for change in (
        {"job": "wordcount:Other"},
        {"partitions": 7},
        {"image": "other"},
        {"code": {"inline": "pass"}},
        {"output": {"url": "/elsewhere"}},
    ):
        refused = namespace.apply(_with(**change), "--dry-run=server", check=False)

        (field,) = change
        assert refused.returncode != 0
        assert f"spec.{field} cannot change after the job has started" in refused.stderr


def test_what_a_started_job_may_use_can_be_changed(namespace: Namespace) -> None:
    job = namespace.submit(GOOD)
    wait_for("the job to be started", lambda: "startTime" in job.status())

    namespace.apply(
        _with(
            workers={"replicas": 5, "slots": 1},
            activeDeadlineSeconds=60,
            ttlSecondsAfterFinished=60,
        )
    )


def test_everything_can_be_changed_before_a_job_has_started(namespace: Namespace) -> None:
    namespace.apply(_with(suspend=True))

    namespace.apply(_with(suspend=True, partitions=7, inputs=["raw://another end"]))
