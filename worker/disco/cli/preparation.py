"""Makes of a request what the engine is started with: the job's specification and its processes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from disco.cli.jobfile import JobNotFoundError, JobReference, load_job
from disco.cli.request import RunRequest, WrongUseError
from disco.error import DiscoError
from disco.submission import job_spec
from disco.v1 import job_pb2
from disco.worker.base import Worker
from disco.worker.params import merged_params


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What to start the local engine with."""

    spec: job_pb2.JobSpec
    workers: int
    slots: int
    partition_services: int


def prepare(request: RunRequest) -> Prepared:
    """Import the job and pack it.

    Raises:
        WrongUseError: There is no such job, or it or what it was given makes no sense.
    """
    try:
        with _code_of(request) as reference:
            job = load_job(reference)
            worker: Worker = job.worker_for({})
            jobargs = dict(request.jobargs)
            if request.inputs is not None:
                jobargs["input"] = list(request.inputs)
            if request.params:
                own = worker.getitem("params", job, {})
                jobargs["params"] = merged_params(own, request.params)
            spec = job_spec(
                job,
                jobargs,
                name=request.name or job.name or type(job).__name__,
                settings=request.settings,
            )
            if not spec.inputs:  # from Python that may be meant, here something was forgotten
                raise WrongUseError(
                    "no input: give INPUT arguments, or the job an input of its own"
                )
            return Prepared(
                spec=spec,
                workers=request.workers or worker.getitem("workers", job, {}) or _cores(),
                slots=request.slots or worker.getitem("slots", job, {}) or 1,
                partition_services=request.partition_services,
            )
    except (JobNotFoundError, DiscoError) as error:
        raise WrongUseError(str(error)) from error


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _code_of(request: RunRequest) -> Iterator[JobReference]:
    """Give where the job's module is; text that the manifest has inline becomes a file for now."""
    if request.inline_code is None:
        yield request.job
        return
    with tempfile.TemporaryDirectory(prefix="disco-code-") as directory:
        Path(directory, f"{request.job.module}.py").write_text(request.inline_code)
        yield replace(request.job, directory=Path(directory))
