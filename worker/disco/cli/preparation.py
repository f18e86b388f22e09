"""Makes of a request what the engine is started with: the job's specification and its processes."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from disco.cli.jobfile import JobNotFoundError, JobReference, load_job
from disco.cli.request import JobRequest, WrongUseError
from disco.error import DiscoError
from disco.job import Job
from disco.submission import job_spec, unique_name
from disco.v1 import job_pb2
from disco.worker.base import Worker
from disco.worker.jobhome import LIBRARY
from disco.worker.params import merged_params
from disco.worker.saving import is_saved
from disco_engine.local.machine import cores

NO_INPUT = "no input: give INPUT arguments, or the job an input of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What to start the local engine with."""

    spec: job_pb2.JobSpec
    workers: int
    slots: int
    partition_services: int


def prepare(request: JobRequest) -> Prepared:
    """Import the job and pack it.

    Raises:
        WrongUseError: There is no such job, or it or what it was given makes no sense.
    """
    try:
        with _code_of(request) as reference:
            job = load_job(reference)
            worker: Worker = job.worker_for({})
            jobargs = jobargs_of(request, job, worker)
            if request.params:
                own = worker.getitem("params", job, {})
                jobargs["params"] = merged_params(own, request.params)
            name = request.name or job.name or type(job).__name__
            spec = job_spec(
                job,
                jobargs,
                # A tag with results must not be that of another run.
                name=unique_name(name) if is_saved(worker, job, jobargs) else name,
                settings=request.settings,
            )
            if not spec.inputs:  # from Python that may be meant, here something was forgotten
                raise WrongUseError(NO_INPUT)
            return Prepared(
                spec=spec,
                workers=request.workers or worker.getitem("workers", job, {}) or cores(),
                slots=request.slots or worker.getitem("slots", job, {}) or 1,
                partition_services=request.partition_services or 1,
            )
    except (JobNotFoundError, DiscoError) as error:
        raise WrongUseError(str(error)) from error


def jobargs_of(request: JobRequest, job: Job, worker: Worker) -> dict[str, Any]:
    """Return the arguments of the run but its params: what was asked for, or added to the job's."""
    jobargs = dict(request.jobargs)
    if request.inputs is not None:
        jobargs["input"] = list(request.inputs)
    if request.required_files:
        own = worker.getitem("required_files", job, {}) or ()
        jobargs["required_files"] = (
            {**own, **_contents(request.required_files)}
            if isinstance(own, Mapping) and own
            else [*own, *request.required_files]
        )
    if request.required_modules:
        own = worker.getitem("required_modules", job, {}) or ()
        jobargs["required_modules"] = [*own, *request.required_modules]
    return jobargs


def _contents(paths: Sequence[str]) -> dict[str, bytes]:
    try:
        return {f"{LIBRARY}/{Path(path).name}": Path(path).read_bytes() for path in paths}
    except OSError as error:
        raise WrongUseError(f"--file {error.filename}: {error.strerror}") from error


@contextmanager
def _code_of(request: JobRequest) -> Iterator[JobReference]:
    """Give where the job's module is; text that the manifest has inline becomes a file for now."""
    if request.inline_code is None:
        yield request.job
        return
    with tempfile.TemporaryDirectory(prefix="disco-code-") as directory:
        Path(directory, f"{request.job.module}.py").write_text(request.inline_code)
        yield replace(request.job, directory=Path(directory))
