"""What the phases of a job mean to those who are told of them."""

from disco.v1 import coordinator_pb2

ENDED = frozenset(
    {
        coordinator_pb2.JOB_PHASE_SUCCEEDED,
        coordinator_pb2.JOB_PHASE_FAILED,
        coordinator_pb2.JOB_PHASE_CANCELLED,
    }
)
"""The phases that are an end, good or bad: nothing more happens to the job."""
