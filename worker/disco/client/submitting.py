"""From a job that exists here to what is sent: the spec, the code, the list of what goes along."""

import io
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from math import ceil
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from disco.client.errors import CannotTravelError
from disco.client.fitting import fitted
from disco.client.requirements import requirements_from
from disco.client.submission import Submission, Travelling
from disco.payload import PYTHON
from disco.sources import ModuleFiles
from disco.submission import Reference, job_spec, most_workers
from disco.v1 import job_pb2
from disco.worker.params import merged_params
from disco_engine.core.settings import JobSettings

if TYPE_CHECKING:
    from disco.job import Job

__all__ = [
    "Reference",
    "Submission",
    "Travelling",
    "fitted",
    "prefix_of",
    "requirements_from",
    "submission_of",
]

MAX_PREFIX = 36
"""Characters that the server's names leave for what they begin with."""

_THE_JOB = "(the job itself)"

# Arguments of a run that the spec says, or that are done with once the job is packed.
_SAID_ELSEWHERE = frozenset(
    {
        *("input", "output", "format", "workers", "slots", "name", "owner", "params", "memory"),
        *("sort_memory", "split_size", "task_timeout", "deadline", "max_attempts"),
        "copies",
        *("required_files", "requirements", "allow_secrets", "remote_paths"),
    }
)


def submission_of(
    job: "Job",
    jobargs: Mapping[str, Any],
    *,
    reference: Reference | None = None,
    name: str = "",
    name_prefix: str = "",
    labels: Mapping[str, str] | None = None,
    settings: Mapping[str, int | float] | None = None,
    workers: int | None = None,
    slots: int | None = None,
    partition_services: int | None = None,
    over: Mapping[str, Any] | None = None,
) -> Submission:
    """Return what to send for one run of a job; nothing is sent yet.

    The job travels by reference, as source files that the workers import, if *reference* says where
    it was imported from and its arguments are JSON; then the workers' Python may be another.
    Otherwise it is pickled. Modules beside it travel either way, unless ``.discoignore`` in their
    directory excludes them.

    Args:
        job: The job.
        jobargs: Arguments of ``Job.run``. ``requirements`` (a list), ``required_files``,
            ``required_modules`` and ``allow_secrets`` are among them.
        reference: Where a fresh process finds the same job by importing it. Not for a job that was
            changed after it was imported, or is part of the running script.
        name: Of the job; empty: the server makes one.
        name_prefix: Of the name that the server makes; empty: that of the job's class.
        labels: Of the job.
        settings: Fields of disco.v1.Settings, over those of the job.
        workers: Over the job's own; None: as it says. The next two are alike.
        slots: Tasks that each worker runs at a time.
        partition_services: Processes or pods that keep outputs.
        over: Fields of the spec over those that come of the job, mappings field by field.
            ``params`` are over the job's own, by name, and reach it, as ``partitions`` does.

    Raises:
        DiscoError: The job or an argument makes no sense, or something cannot be pickled or read.
        CannotTravelError: A file looks like a secret.
    """
    over = dict(over or {})
    jobargs = {**jobargs, **{key: over[key] for key in ("partitions",) if key in over}}
    packed = _packed(job, jobargs, over.get("params") or {}, reference, settings)
    worker = job.worker_for(jobargs)

    def asked(value: Any, parameter: str) -> Any:
        return worker.getitem(parameter, job, jobargs) if value is None else value

    replicas, at_once = asked(workers, "workers"), asked(slots, "slots")
    most = most_workers(worker, job, jobargs, at_once or 1)
    copies = _unless(1, packed.message.settings.copies)
    spec = {
        "job": _path_of(job, reference),
        **_spec_of(packed.message),
        "workers": _set(
            replicas=replicas and min(replicas, most or replicas),
            max=None if replicas else most,
            slots=_unless(1, at_once),
        ),
        "partitionService": _set(copies=copies, replicas=partition_services or copies),
        "requirements": [str(text) for text in worker.getitem("requirements", job, jobargs) or ()],
    }
    return Submission(
        spec=_merged({key: value for key, value in spec.items() if value}, over),
        code=packed.message.code.SerializeToString(deterministic=True),
        travels=_travels(packed.message.code, pickled=packed.pickled),
        left_out=tuple(map(str, packed.modules.ignored)),
        pickled_by=PYTHON if packed.pickled else "",
        name=name,
        name_prefix=prefix_of(name_prefix or job.name or type(job).__name__),
        labels=dict(labels or {}),
    )


def prefix_of(name: str) -> str:
    """Return what a job's name may begin with on a server, made of its name here."""
    kept = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    kept = kept if kept[:1].isalpha() else f"job-{kept}"
    return kept[:MAX_PREFIX].rstrip("-")


class _Packed(NamedTuple):
    message: job_pb2.JobSpec
    modules: ModuleFiles
    pickled: bool


def _packed(
    job: "Job",
    jobargs: Mapping[str, Any],
    params: Mapping[str, Any],
    reference: Reference | None,
    settings: Mapping[str, int | float] | None,
) -> _Packed:
    """Pack the job.

    Args:
        job: The job.
        jobargs: Arguments of ``Job.run``.
        params: Over the job's own, by name.
        reference: Where it was imported from.
        settings: Over the job's own.
    """
    worker = job.worker_for(jobargs)
    modules = ModuleFiles(allow_secrets=worker.getitem("allow_secrets", job, jobargs) or ())
    plain = None if reference is None else _plain(jobargs, params)
    merged = {**jobargs}
    if params:
        merged["params"] = merged_params(worker.getitem("params", job, jobargs), params)
    message = job_spec(
        job,
        merged,
        name=job.name or type(job).__name__,
        settings=settings,
        modules=modules,
        reference=None if plain is None else reference,
        plain_jobargs=plain,
    )
    if modules.secrets:
        names = ", ".join(map(str, modules.secrets))
        raise CannotTravelError(
            f"{names}: the job imports it, and by its name it is a secret, which must not leave"
            " this machine; keep passwords out of modules, or, if there are none in it, allow it:"
            f" allow_secrets={[path.name for path in modules.secrets]!r}"
        )
    if worker.getitem("output", job, jobargs):  # as it was given: whose paths it has is not known
        message.output.url = str(worker.getitem("output", job, jobargs))
    return _Packed(message, modules, pickled=plain is None)


def _plain(jobargs: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments that a job given by reference needs; None: they are not JSON."""
    if "params" in jobargs:  # a job's own params would be kept beside them
        return None
    plain = {name: value for name, value in jobargs.items() if name not in _SAID_ELSEWHERE}
    if params:
        plain["params"] = dict(params)
    try:
        return plain if json.loads(json.dumps(plain)) == plain else None
    except (TypeError, ValueError):
        return None


def _spec_of(message: job_pb2.JobSpec) -> dict[str, Any]:
    """Return the fields of a spec that a packed job says."""
    settings = message.settings
    usual = asdict(JobSettings())

    def unusual(name: str) -> Any:
        return _unless(usual[name], getattr(settings, name))

    exclusion = _set(afterFailures=unusual("exclude_after_failures"))
    speculation = None
    if settings.speculation_multiplier:
        speculation = _set(
            enabled=True,
            multiplier=settings.speculation_multiplier,
            quantile=unusual("speculation_quantile"),
        )
    timeout_s, deadline_s = unusual("task_timeout_s"), unusual("deadline_s")
    return _set(
        inputs=[list(item.urls) if len(item.urls) > 1 else item.urls[0] for item in message.inputs],
        output=_set(url=message.output.url, format=message.output.format),
        retries=_set(
            maxAttempts=unusual("max_attempts"),
            maxConsecutiveLosses=unusual("max_consecutive_losses"),
            exclusion=exclusion,
        ),
        speculation=speculation,
        taskTimeout=timeout_s and f"{round(timeout_s * 1000)}ms",
        memoryLimit=unusual("memory_limit_bytes"),
        sortMemory=unusual("sort_memory_bytes"),
        splitSize=unusual("split_size_bytes"),
        activeDeadlineSeconds=deadline_s and ceil(deadline_s),
    )


def _set(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "", {}, [])}


def _unless(usual: Any, value: Any) -> Any:
    return None if value == usual else value


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(below, value)
        else:
            merged[name] = value
    return merged


def _path_of(job: "Job", reference: Reference | None) -> str:
    """Return what to call the job in the spec: module and attribute, as people know them."""
    module, attribute = type(job).__module__, type(job).__qualname__
    if reference is not None:
        module, _, named = reference.text.partition(":")
        module, attribute = Path(module).name.removesuffix(".py"), named or attribute
    elif module == "__main__":
        module = Path(getattr(sys.modules[module], "__file__", None) or "notebook").stem
    return f"{_python_name(module)}:{_python_name(attribute.rpartition('<locals>.')[2])}"


def _python_name(text: str) -> str:
    parts = (re.sub(r"\W", "_", part) or "_" for part in text.split("."))
    return ".".join(f"_{part}" if part[0].isdigit() else part for part in parts)


def _travels(code: job_pb2.JobCode, *, pickled: bool) -> tuple[Travelling, ...]:
    found = [Travelling(_THE_JOB, len(code.payload))] if pickled else []
    if code.modules_zip:
        with zipfile.ZipFile(io.BytesIO(code.modules_zip)) as archive:
            found += [Travelling(entry.filename, entry.file_size) for entry in archive.infolist()]
    return tuple(sorted(found, key=attrgetter("size_bytes", "name")))
