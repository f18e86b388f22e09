"""A job of a server, seen as the displays and endings of ``disco run`` see their own."""

from google.protobuf.timestamp_pb2 import Timestamp

from disco.v1 import common_pb2, coordinator_pb2, jobs_pb2


def progress_of(job: jobs_pb2.Job, now_s: float) -> coordinator_pb2.JobProgress:
    """Return how far the job is.

    Args:
        job: As the server told it.
        now_s: Seconds since 1970-01-01 UTC.
    """
    progress = coordinator_pb2.JobProgress(
        job_uid=job.uid,
        name=job.name,
        phase=job.phase,
        message=job.message,
        stages=job.stages,
        workers=job.workers,
        slots=job.slots,
        failures=job.failures,
        elapsed_s=elapsed_s(job, now_s),
    )
    if job.HasField("results"):
        totals = common_pb2.Totals(records=job.results.records, bytes=job.results.bytes)
        progress.results.add(totals=totals)
    return progress


def elapsed_s(job: jobs_pb2.Job, now_s: float) -> float:
    """Return how many seconds the job runs, or ran; 0: not yet.

    The two clocks may differ: what the stages tell of the server's is the least.
    """
    if not job.HasField("started"):
        return 0.0
    end_s = seconds(job.finished) if job.HasField("finished") else now_s
    known = [max(stage.started_s, stage.finished_s) for stage in job.stages]
    return max(end_s - seconds(job.started), 0.0, *known)


def age_s(job: jobs_pb2.Job, now_s: float) -> float:
    """Return how many seconds ago the job was made."""
    return max(now_s - seconds(job.created), 0.0)


def seconds(stamp: Timestamp) -> float:
    """Return *stamp* as seconds since 1970-01-01 UTC."""
    return float(stamp.seconds) + stamp.nanos / 1e9


def phase_name(phase: coordinator_pb2.JobPhase.ValueType) -> str:
    """Return "running" for JOB_PHASE_RUNNING; "unknown" for what this client does not know."""
    try:
        return coordinator_pb2.JobPhase.Name(phase).removeprefix("JOB_PHASE_").lower()
    except ValueError:
        return "unknown"
