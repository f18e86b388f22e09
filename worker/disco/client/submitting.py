"""From a job that exists here to what is sent: the spec, the code, the list of what goes along."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from disco.v1 import jobs_pb2

if TYPE_CHECKING:
    from disco.job import Job


class Travelling(NamedTuple):
    """One thing that is sent: its name there, and its size before compression."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a server is given.

    Attributes:
        spec: Of the DiscoJob, as in a manifest.
        code: A serialised ``disco.v1.JobCode``; empty: the spec says where the code is.
        travels: What is in the code, largest last: files by their names, and "(the job itself)".
        left_out: Paths of modules that an ignore file keeps here, although the job imports them.
        pickled_by: ``major.minor`` of the Python that the workers must have because the job's
            functions were pickled by it; empty: the job travels as source files, any will do.
        name: Of the job; empty: the server makes one of *name_prefix*.
        name_prefix: At most 39 characters, lower-case letters, digits and "-".
        labels: Of the job.
    """

    spec: Mapping[str, Any]
    code: bytes = field(default=b"", repr=False)
    travels: Sequence[Travelling] = ()
    left_out: Sequence[str] = ()
    pickled_by: str = ""
    name: str = ""
    name_prefix: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class Reference(NamedTuple):
    """Where the job was imported from: ``file.py:attribute`` or ``module:attribute``."""

    text: str
    directory: Path


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
        over: Fields of the spec that the job says nothing about, such as ``image``; they take
            precedence, mappings field by field.

    Raises:
        DiscoError: The job or an argument makes no sense, or something cannot be pickled or read.
        CannotTravelError: A file looks like a secret.
    """
    raise NotImplementedError


def fitted(
    submission: Submission, about: jobs_pb2.AboutReply, *, paths_are_remote: bool = False
) -> Submission:
    """Return the submission as this server can carry it out.

    On this machine ("local") relative paths become absolute. On a cluster an input that is a file
    here is refused, since no worker would find it.

    Args:
        submission: From ``submission_of``, or of a manifest.
        about: What the server told.
        paths_are_remote: Paths name files on the workers, whatever is here.

    Raises:
        CannotTravelError: An input is a file on this machine; the code is larger than the server
            takes; or it was pickled by another Python than the server's.
    """
    raise NotImplementedError


def requirements_from(path: Path) -> list[str]:
    """Return the requirements of a ``requirements.txt``, for ``spec.requirements``.

    Comments and empty lines are left out, ``-r`` is followed.

    Raises:
        CannotTravelError: A line is an option, a path, or has a password in it; every such line is
            named with its number.
    """
    raise NotImplementedError
