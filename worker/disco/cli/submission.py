"""Makes of JOB, INPUTs and flags what is sent to a server, or rendered: a spec, and code.

A job from Python is imported here, as for ``disco run``. A manifest that says where its code is is
sent as it is; the code of one that does not goes along if it is beside the manifest, and is
expected in the image if it is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from disco.cli.job_options import TRAVEL_FLAGS
from disco.cli.jobfile import JobNotFoundError, JobReference, find_job
from disco.cli.manifest_spec import located, with_flags
from disco.cli.preparation import NO_INPUT, jobargs_of
from disco.cli.request import JobRequest, WrongUseError, check, is_manifest, read, request_from
from disco.client.submitting import (
    Reference,
    Submission,
    fitted,
    requirements_from,
    submission_of,
)
from disco.error import DiscoError
from disco.manifest import Manifest
from disco.sources import ModuleFiles
from disco.v1 import jobs_pb2
from disco.worker.base import Worker
from disco.worker.params import merged_params


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What only a job that goes elsewhere can be given.

    Attributes:
        labels: Of the job.
        requirements: Packages that pip installs for it.
        allow_secrets: Names of files that travel although they look like secrets.
    """

    labels: Mapping[str, str]
    requirements: tuple[str, ...] = ()
    allow_secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> "Extras":
        """Return what flags of ``disco.cli.job_options.travel_options`` say."""
        file = flags.get("requirements_file")
        return cls(
            labels=dict(flags.get("labels", ())),
            requirements=(
                *(requirements_from(Path(file)) if file else ()),
                *flags.get("requirements", ()),
            ),
            allow_secrets=flags.get("allow_secrets", ()),
        )

    def jobargs(self) -> dict[str, Any]:
        """Return those that are arguments of ``Job.run``."""
        given = {"requirements": self.requirements, "allow_secrets": self.allow_secrets}
        return {name: list(value) for name, value in given.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """What is sent, and what of the manifest is not in it.

    Attributes:
        submission: The spec and the code.
        namespace: That the manifest names; empty: none.
        directory: Where the manifest is; None: there is none.
        paths: Fields of the spec whose relative paths start there.
        notes: For whoever submits it.
    """

    submission: Submission
    namespace: str = ""
    directory: Path | None = None
    paths: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def outgoing(job: str, inputs: Sequence[str], flags: Mapping[str, Any]) -> Outgoing:
    """Return what is sent for a job.

    Args:
        job: The JOB argument.
        inputs: The INPUT arguments.
        flags: Those of ``disco.cli.job_options`` that were given, by name.

    Raises:
        WrongUseError: There is no such job, or it or what it was given makes no sense.
    """
    try:
        extras = Extras.of(flags)
        flags = {name: value for name, value in flags.items() if name not in TRAVEL_FLAGS}
        if is_manifest(job):
            return _of_manifest(read(Path(job)), inputs, flags, extras)
        request = request_from(job, inputs, flags)
        return Outgoing(submission=_of_job(request, extras, _over(request)))
    except (JobNotFoundError, DiscoError) as error:
        raise WrongUseError(str(error)) from error


def ready(out: Outgoing, about: jobs_pb2.AboutReply, *, paths_are_remote: bool) -> Submission:
    """Return the submission as this server can carry it out.

    Args:
        out: What is sent.
        about: What the server told.
        paths_are_remote: Paths name files on the workers, whatever is here.

    Raises:
        CannotTravelError: The server's workers could not read an input, or run the code.
    """
    submission = out.submission
    if out.directory is not None and about.kind == "local" and not paths_are_remote:
        spec = located(submission.spec, out.directory, out.paths)
        submission = replace(submission, spec=spec)
    return fitted(submission, about, paths_are_remote=paths_are_remote)


def _over(request: JobRequest) -> dict[str, Any]:
    """Return what the spec says, so that whoever reads it sees it, and the job is given it."""
    over: dict[str, Any] = {"params": dict(request.params)} if request.params else {}
    if "partitions" in request.jobargs:
        over["partitions"] = request.jobargs["partitions"]
    return over


def _of_job(request: JobRequest, extras: Extras, over: Mapping[str, Any]) -> Submission:
    attribute, job = find_job(request.job)
    worker: Worker = job.worker_for({})
    jobargs = {**jobargs_of(request, job, worker), **extras.jobargs()}
    if request.params:  # they travel as JSON; here they are only tried
        merged_params(worker.getitem("params", job, {}), request.params)
    if not worker.getitem("input", job, jobargs) and not over.get("inputs"):
        raise WrongUseError(NO_INPUT)
    of_file = request.job.file is not None
    module = f"{request.job.module}.py" if of_file else request.job.module
    return submission_of(
        job,
        jobargs,
        reference=Reference(f"{module}:{attribute}", request.job.directory),
        name=request.name or "",
        labels=extras.labels,
        settings=request.settings,
        workers=request.workers,
        slots=request.slots,
        partition_services=request.partition_services,
        over=over,
    )


def _of_manifest(
    manifest: Manifest, inputs: Sequence[str], flags: Mapping[str, Any], extras: Extras
) -> Outgoing:
    check(inputs, flags)
    metadata = manifest.job.metadata
    directory = manifest.path.resolve().parent
    spec = with_flags(manifest.spec, inputs, {**flags, "requirements": extras.requirements})
    extras = replace(extras, labels={**metadata.labels, **extras.labels}, requirements=())
    name = flags.get("name") or metadata.name
    module, _, attribute = manifest.job.spec.job.partition(":")
    beside = manifest.job.spec.code is None and ModuleFiles().add_from(directory, module)
    if beside:
        request = JobRequest(
            job=JobReference(module=module, attribute=attribute, directory=directory),
            name=name,
            jobargs={"profile": True} if flags.get("profile") else {},
            required_files=flags.get("required_files", ()),
            required_modules=flags.get("required_modules", ()),
        )
        submission = _of_job(request, extras, spec)
    else:
        _refuse_files(manifest, flags)
        submission = Submission(spec=spec, name=name, labels=extras.labels)
    return Outgoing(
        submission=submission,
        namespace=metadata.namespace or "",
        directory=directory,
        paths=_own_paths(manifest, inputs, flags),
        notes=tuple(_notes(manifest, beside=beside)),
    )


def _own_paths(
    manifest: Manifest, inputs: Sequence[str], flags: Mapping[str, Any]
) -> frozenset[str]:
    """Return the fields with paths that are the manifest's, and no flag's."""
    asked = {name for name, given in (("inputs", inputs), ("output", "output" in flags)) if given}
    return frozenset({"inputs", "output"} & manifest.spec.keys() - asked)


def _refuse_files(manifest: Manifest, flags: Mapping[str, Any]) -> None:
    if flags.get("profile"):
        raise WrongUseError(
            f"--profile: {manifest.path} has no field that says so: write profile = True in the job"
        )
    for name, flag in (("required_files", "--file"), ("required_modules", "--module")):
        if flags.get(name):
            where = "spec.code says where" if manifest.job.spec.code else "the image has it"
            raise WrongUseError(f"{flag}: nothing travels with {manifest.path}: {where} its code")


def _notes(manifest: Manifest, *, beside: bool) -> list[str]:
    notes = []
    if manifest.job.spec.code is None and not beside:
        module = manifest.job.spec.job.partition(":")[0]
        notes.append(
            f"No code goes along: there is no module {module} beside {manifest.path}, so the job's"
            " image must have it."
        )
    if manifest.job.metadata.annotations:
        notes.append(f"Not sent: metadata.annotations of {manifest.path}.")
    return notes
