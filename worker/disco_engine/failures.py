"""What the failures in a job's progress mean to those who read of them."""

from disco.v1 import common_pb2, coordinator_pb2

_REASONS = {
    common_pb2.FAILURE_KIND_USER: "TaskFailed",
    common_pb2.FAILURE_KIND_DATA: "InputUnreadable",
    common_pb2.FAILURE_KIND_INFRASTRUCTURE: "LostTooOften",
    common_pb2.FAILURE_KIND_FATAL: "JobInvalid",
}


def worth_telling(
    progress: coordinator_pb2.JobProgress,
) -> list[coordinator_pb2.FailureReport]:
    """Return the failures that somebody must act on.

    Those of attempts that lost their worker are none, unless they have ended the job.
    """
    return [
        report
        for report in progress.failures
        if report.failure.kind != common_pb2.FAILURE_KIND_INFRASTRUCTURE
        or progress.phase == coordinator_pb2.JOB_PHASE_FAILED
    ]


def reason_of(progress: coordinator_pb2.JobProgress) -> str:
    """Return why a job has failed, in a word for programs."""
    for report in reversed(progress.failures):
        if report.failure.message and report.failure.message in progress.message:
            return _REASONS.get(report.failure.kind, "JobFailed")
    return "JobFailed"
