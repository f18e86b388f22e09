"""Turns what a user asked for, by flags and manifest, into one value; flags take precedence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disco.cli.jobfile import JobNotFoundError, JobReference, parse_reference

if TYPE_CHECKING:
    from disco.manifest import Manifest

_MANIFEST_SUFFIXES = frozenset({".yaml", ".yml"})


class WrongUseError(Exception):
    """The user must change the command, the manifest or the job file; exit status 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """One job to run, here or elsewhere.

    Attributes:
        job: Where the job is.
        name: What to call it; None: as the job says.
        inputs: URLs, or lists of URLs with the same content; None: the job's own.
        params: Over the job's own.
        jobargs: Other arguments of ``Job.run``.
        settings: Fields of disco.v1.Settings that were asked for.
        workers: Worker processes, or pods; None: as the job says.
        slots: Tasks per worker; None: as the job says.
        partition_services: Processes, or pods, that keep outputs; None: 1.
        required_files: Paths of files that travel, beyond the job's own.
        required_modules: Names of modules that travel, beyond the job's own.
        inline_code: Text of the job's module, if the manifest has it.
        manifest: What the user named, if it is one.
    """

    job: JobReference
    name: str | None = None
    inputs: tuple[str | list[str], ...] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    jobargs: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, int | float] = field(default_factory=dict)
    workers: int | None = None
    slots: int | None = None
    partition_services: int | None = None
    required_files: tuple[str, ...] = ()
    required_modules: tuple[str, ...] = ()
    inline_code: str | None = None
    manifest: "Manifest | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """What to show of a job.

    Attributes:
        head: Results to print if there is no output; None: all.
        top: Print this many results with the largest values instead.
        quiet: Results and errors only.
        as_json: One JSON object per line, for programs.
        profile: Print where its functions spent their time.
    """

    head: int | None = 20
    top: int | None = None
    quiet: bool = False
    as_json: bool = False
    profile: bool = False


# Flag to field of disco.v1.Settings.
_SETTINGS = {
    "memory": "memory_limit_bytes",
    "sort_memory": "sort_memory_bytes",
    "split_size": "split_size_bytes",
    "task_timeout": "task_timeout_s",
    "deadline": "deadline_s",
    "max_attempts": "max_attempts",
}
_JOBARGS = frozenset(
    {"partitions", "output", "format", "profile", "map", "reduce", "save_results", "scheduler"}
)


def request_from(job: str, inputs: Sequence[str], flags: Mapping[str, Any]) -> JobRequest:
    """Return what the command line asks for.

    Args:
        job: The JOB argument.
        inputs: The INPUT arguments.
        flags: Those of ``disco.cli.job_options`` that were given, by name.

    Raises:
        WrongUseError: The manifest is wrong, or there is no such file.
    """
    if is_manifest(job):
        fields = _manifest_fields(Path(job))
    else:
        try:
            fields = {"job": parse_reference(job, Path.cwd())}
        except JobNotFoundError as error:
            raise WrongUseError(str(error)) from error
        except FileNotFoundError as error:
            raise WrongUseError(
                "the working directory does not exist any more: go to one that does (cd)"
            ) from error
    check(inputs, flags)
    if inputs:
        fields["inputs"] = tuple(inputs)
    for name, value in flags.items():
        if name == "params":
            fields["params"] = {**fields.get("params", {}), **dict(value)}
        elif name in _SETTINGS:
            fields["settings"] = {**fields.get("settings", {}), _SETTINGS[name]: value}
        elif name in _JOBARGS:
            fields["jobargs"] = {**fields.get("jobargs", {}), name: value}
        else:
            fields[name] = value
    if "format" in fields.get("jobargs", {}) and "output" not in fields["jobargs"]:
        raise WrongUseError("--format says how to write files: it needs --output, too")
    return JobRequest(**fields)


def is_manifest(job: str) -> bool:
    """Return whether the JOB argument names a manifest."""
    return Path(job).suffix in _MANIFEST_SUFFIXES


def check(inputs: Sequence[str], flags: Mapping[str, Any]) -> None:
    """Do nothing, if no argument is empty.

    Raises:
        WrongUseError: One is.
    """
    for number, text in enumerate(inputs, start=1):
        if not text:
            raise WrongUseError(f"INPUT {number} is empty: expected a path or URL")
    if flags.get("output") == "":
        raise WrongUseError("--output is empty: expected a directory or URL")


def read(path: Path) -> "Manifest":
    """Return the manifest at *path*.

    Raises:
        WrongUseError: It is wrong, or not there.
    """
    from disco.manifest import ManifestError, read_manifest  # pydantic is slow to import

    try:
        return read_manifest(path)
    except ManifestError as error:
        raise WrongUseError(f"{path} is not a usable manifest:\n{error}") from error


def _manifest_fields(path: Path) -> dict[str, Any]:
    """Return the fields of a request that the manifest at *path* sets."""
    return fields_of(read(path))


def fields_of(manifest: "Manifest") -> dict[str, Any]:
    """Return the fields of a request that *manifest* sets."""
    spec, directory = manifest.job.spec, manifest.path.resolve().parent
    module, _, attribute = spec.job.partition(":")
    fields: dict[str, Any] = {
        "job": JobReference(module=module, attribute=attribute, directory=directory),
        "name": manifest.job.metadata.name,
        "params": spec.params,
        "manifest": manifest,
    }
    if spec.inputs:
        fields["inputs"] = tuple(_located(urls, directory) for urls in spec.inputs)
    if spec.code is not None:
        fields["inline_code"] = spec.code.inline
    jobargs = {
        "partitions": spec.partitions,
        "output": spec.output and _absolute(spec.output.url, directory),
        "format": spec.output and spec.output.format,
    }
    fields["jobargs"] = {name: value for name, value in jobargs.items() if value is not None}
    fields["settings"] = spec.engine_settings()
    if spec.active_deadline_seconds is not None:
        fields["settings"]["deadline_s"] = spec.active_deadline_seconds
    engine = {
        "workers": spec.workers.replicas or spec.workers.max,
        "slots": spec.workers.slots,
        "partition_services": spec.partition_service.replicas,
    }
    fields.update((name, value) for name, value in engine.items() if value is not None)
    return fields


def _located(urls: Sequence[str], directory: Path) -> list[str]:
    return [_absolute(url, directory) for url in urls]


def _absolute(url: str, directory: Path) -> str:
    """Return a relative path as one from *directory*, where the manifest is; URLs as they are."""
    return url if "://" in url else str(directory / url)
