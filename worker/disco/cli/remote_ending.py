"""Tells how a job of a server ended, as ``disco run`` does of its own."""

import time
from collections.abc import Iterable
from typing import Any

from disco.cli.ending import Advice, Ending
from disco.cli.remote_progress import elapsed_s, progress_of
from disco.cli.request import Showing
from disco.v1 import coordinator_pb2, job_pb2, jobs_pb2


def tell_end(
    job: jobs_pb2.Job, showing: Showing, records: Iterable[tuple[Any, Any]], *, name: str
) -> int:
    """Tell how the job ended; return the exit status.

    Args:
        job: Which has ended.
        showing: What the user asked for.
        records: Its results; read only if it has succeeded, without an output.
        name: The job, with the flags that find it again.
    """
    now_s = time.time()
    results = job.results
    output = None
    if results.output_url:
        output = job_pb2.Output(url=results.output_url, format=results.output_format)
    ending = Ending(job.name, showing, advice_on(job, name))
    return ending.tell(
        progress_of(job, now_s), records, output=output, took_s=elapsed_s(job, now_s)
    )


def advice_on(job: jobs_pb2.Job, name: str) -> Advice:
    """Return what to type next about a job that has ended."""
    failed: tuple[str, ...] = ()
    if job.phase == coordinator_pb2.JOB_PHASE_FAILED:
        failed = (
            f"What its tasks printed: disco logs {name}."
            f" To run what is missing: disco retry {name}.",
        )
    return Advice(
        look=f"disco results {name}",
        see=f"disco results {name} --head all",
        keep=f"disco results {name} --output DIRECTORY",
        failed=failed,
    )
