"""Turns a job and the arguments of its run into the message that a coordinator is started with."""

import os
import re
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from disco.ddfs_inputs import without_tokens
from disco.error import DiscoError
from disco.job_inputs import input_urls, refuse_passwords
from disco.jobpack import check_prefix
from disco.packing import pack_job, pack_reference
from disco.sources import ModuleFiles, is_below_installed
from disco.v1 import job_pb2
from disco.worker.saving import is_saved
from disco_engine.core.settings import JobSettings
from disco_engine.inputs.urls import is_utf8

if TYPE_CHECKING:
    from disco.job import Job
    from disco.worker.base import Worker

# Parameter of a job: field of the engine's settings.
_SETTINGS = {
    "memory": "memory_limit_bytes",
    "sort_memory": "sort_memory_bytes",
    "task_timeout": "task_timeout_s",
    "deadline": "deadline_s",
    "max_attempts": "max_attempts",
    "split_size": "split_size_bytes",
    "copies": "copies",
}
_PARAMETERS = {field: parameter for parameter, field in _SETTINGS.items()}
_LEAST = {"max_attempts": 1, "split_size_bytes": 1, "max_consecutive_losses": 1, "copies": 1}
_MOST = {"copies": 2}
_UID_CHARACTERS = 100  # file systems take names of 255
FORMATS = ("text", "jsonl", "csv", "parquet", "pickle")


class Reference(NamedTuple):
    """Where a job is imported from: ``file.py:attribute`` or ``module:attribute``, and where."""

    text: str
    directory: Path


def unique_name(prefix: str) -> str:
    """Return ``prefix@hex:hex:hex``, a name that no other job has.

    Raises:
        DiscoError: The prefix has a character that names cannot have.
    """
    check_prefix(prefix)
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{prefix}@{seconds // 1_000_000:x}:{seconds % 1_000_000:x}:{microseconds:x}"


def job_spec(
    job: "Job",
    jobargs: Mapping[str, Any],
    *,
    name: str,
    settings: Mapping[str, int | float] | None = None,
    modules: ModuleFiles | None = None,
    reference: Reference | None = None,
    plain_jobargs: Mapping[str, Any] | None = None,
) -> job_pb2.JobSpec:
    """Return the specification of one run of *job*.

    Args:
        job: The job.
        jobargs: Arguments of ``Job.run``.
        name: Of the run, for people.
        settings: Fields of ``JobSettings`` that nobody asks the job about.
        modules: Where the files are noted that travel, and those that do not; None: nobody asks.
        reference: Have the workers import the job from there; None: pickle it.
        plain_jobargs: With a reference, the arguments that travel, as JSON.

    Raises:
        DiscoError: The job, an argument or an input makes no sense, or something cannot travel.
    """
    worker = job.worker_for(jobargs)
    worker.check_names(jobargs)
    # For what is wrong with them: the workers plan themselves.
    worker.planned_stages(job, jobargs)
    is_saved(worker, job, jobargs)

    def value(key: str) -> Any:
        return worker.getitem(key, job, jobargs)

    for what, text in (("name", name), ("output", str(value("output")))):
        if not is_utf8(text):
            raise DiscoError(f"{what} {text!r} is not UTF-8: choose another")
    required = {name: value(name) for name in ("required_files", "required_modules")}
    for what, given in required.items():
        if isinstance(given, str | os.PathLike):
            raise DiscoError(f"{what} must be a list, got {given!r}: write [{given!r}]")
    if modules is None:
        modules = ModuleFiles(allow_secrets=value("allow_secrets"))
    inputs = without_tokens(input_urls(value("input")))
    refuse_passwords(inputs, value("output"))
    if reference is None:
        given = {**jobargs, "input": inputs} if "input" in jobargs else jobargs
        code = pack_job(job, given, modules=modules, **required)
    else:
        code = pack_reference(
            reference.text,
            plain_jobargs or {},
            directory=reference.directory,
            modules=modules,
            **required,
        )
    code.python_path.extend(_python_path())
    asked = {field: value(key) for key, field in _SETTINGS.items()}
    spec = job_pb2.JobSpec(
        uid=_uid_for(name),
        name=name,
        code=code,
        inputs=[job_pb2.Input(urls=urls) for urls in inputs],
        settings=_settings({**asked, **(settings or {})}),
    )
    if value("output"):
        spec.output.CopyFrom(_output(value("output"), value("format")))
    return spec


def most_workers(
    worker: "Worker", job: "Job", jobargs: Mapping[str, Any], slots: int
) -> int | None:
    """Return how many workers of so many slots each a job's ``scheduler`` allows; None: any.

    Raises:
        DiscoError: Its ``max_cores`` is no number from 1 on.
    """
    most = (worker.getitem("scheduler", job, jobargs) or {}).get("max_cores")
    if most is None:
        return None
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise DiscoError(f"max_cores must be a whole number from 1 on, got {most!r}")
    return max(1, most // slots)


def _uid_for(name: str) -> str:
    """Return a unique id that can be a file's name and an argument, whatever *name* has in it."""
    letters = re.sub("[^A-Za-z0-9]+", "-", name)[:_UID_CHARACTERS].strip("-")
    return f"{letters or 'job'}-{uuid.uuid4().hex[:8]}"


def _output(url: Any, form: Any) -> job_pb2.Output:
    if form not in FORMATS:
        raise DiscoError(f"unknown format {form!r}; there are {', '.join(FORMATS)}")
    text = str(url)
    if "://" not in text:
        text = os.path.abspath(os.path.expanduser(text))  # as those of inputs are
    return job_pb2.Output(url=text, format=form)


def _settings(asked: Mapping[str, Any]) -> job_pb2.Settings:
    given: dict[str, int | float] = {}
    for name, value in asked.items():
        if value is None:
            continue
        least = _LEAST.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
            parameter = _PARAMETERS.get(name, name)
            raise DiscoError(f"{parameter} must be a number from {least} on, got {value!r}")
        if value > _MOST.get(name, value):
            raise DiscoError(f"{name} must be at most {_MOST[name]}, got {value!r}")
        given[name] = value
    defaults = asdict(JobSettings())
    chosen = {name: type(default)(given.get(name, default)) for name, default in defaults.items()}
    return job_pb2.Settings(**chosen)


def _python_path() -> list[str]:
    """Return where this process finds modules that are not installed.

    Workers on the same machine look there for what the author's process imports by names that are
    made at run time, and so could not travel.
    """
    places = [Path(place).resolve() for place in sys.path]
    return [str(place) for place in places if place.is_dir() and not is_below_installed(place)]
