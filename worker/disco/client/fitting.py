"""Fits a submission to the server that is to carry it out: paths, Python, size."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from disco.client.errors import CannotTravelError
from disco.client.submission import Submission
from disco.v1 import job_pb2, jobs_pb2
from disco_engine.core.parts import StoredPart, part_of
from disco_engine.inputs.urls import DISCO, local_path, scheme_of

_LOCAL = "local"
_LISTED = 3


def fitted(
    submission: Submission, about: jobs_pb2.AboutReply, *, paths_are_remote: bool = False
) -> Submission:
    """Return the submission as this server can carry it out.

    On this machine ("local") relative paths become absolute. On a cluster an input that is a file
    here is refused, since no worker would find it.

    Args:
        submission: From ``disco.client.submitting.submission_of``, or of a manifest.
        about: What the server told.
        paths_are_remote: Paths name files on the workers, whatever is here.

    Raises:
        CannotTravelError: An input is a file on this machine, or the result of a job that no
            worker there can read; the code is larger than the server takes; or it was pickled by
            another Python than the server's.
    """
    _check_python(submission, about)
    spec = dict(submission.spec)
    if "inputs" in spec:
        _check_results(spec["inputs"], about)
    if not paths_are_remote:
        if about.kind == _LOCAL:
            spec = _absolute(spec)
        else:
            _check_paths(spec)
    code = submission.code if about.kind == _LOCAL else _without_paths(submission.code)
    if about.max_code_bytes and len(code) > about.max_code_bytes:
        raise CannotTravelError(_too_large(submission, len(code), about.max_code_bytes))
    return replace(submission, spec=spec, code=code)


def _check_python(submission: Submission, about: jobs_pb2.AboutReply) -> None:
    there = about.python
    if submission.pickled_by in ("", there) or not there or submission.spec.get("image"):
        return
    raise CannotTravelError(
        f"the job's functions were pickled by Python {submission.pickled_by}, and the server's"
        f" workers run Python {there}: submit with Python {there}, name an image with"
        f" {submission.pickled_by} (spec.image), or let the job travel as a file: disco submit"
        " FILE.py, with arguments that are JSON"
    )


def _check_results(inputs: Any, about: jobs_pb2.AboutReply) -> None:
    """Refuse results of jobs that the job's workers could not reach.

    ``disco serve`` lets its jobs read each other's, and says itself which it does not have.
    """
    for url in filter(lambda url: scheme_of(url) == DISCO, _urls(inputs)):
        try:
            here = isinstance(part_of(url), StoredPart)
        except ValueError as error:
            raise CannotTravelError(f"input {error}") from error
        if about.kind == _LOCAL and not here:
            continue
        if here:
            why = "the result of a job that this process has run itself, which no server can read"
        else:
            why = "the result of another job, which on a cluster only that job's workers can read"
        raise CannotTravelError(
            f"input {url} is {why}: run that job with output=URL of storage that the workers reach,"
            " and format='pickle', which keeps all types, and give this one the URLs that its"
            " wait() returns"
        )


def _check_paths(spec: Mapping[str, Any]) -> None:
    here = [url for url in _urls(spec.get("inputs", ())) if _is_here(url)]
    if here:
        more = f" and {len(here) - _LISTED} more" if len(here) > _LISTED else ""
        raise CannotTravelError(
            f"input {', '.join(here[:_LISTED])}{more}: a path on this machine, which the workers"
            " cannot read; put the files where they can (s3://, gs://, http://, …), or, if it is a"
            " path on the workers, say so (paths_are_remote=True, --remote-paths)"
        )
    url = str(spec.get("output", {}).get("url", ""))
    if url and local_path(url) is not None and not os.path.isabs(url.removeprefix("file://")):
        raise CannotTravelError(
            f"output {url}: a relative path says nothing on a cluster; give a URL that the workers"
            " can write to, or the absolute path of a volume that all of them have"
        )


def _is_here(url: str) -> bool:
    """Return whether a URL is a path that means something on this machine only."""
    path = local_path(url)
    if path is None:
        return False
    if not os.path.isabs(url.removeprefix("file://")):
        return True
    return os.path.exists(path) or bool(glob.glob(path))


def _absolute(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec whose paths do not depend on a working directory."""
    whole = dict(spec)
    if "inputs" in spec:
        whole["inputs"] = [
            _absolute_url(item) if isinstance(item, str) else list(map(_absolute_url, item))
            for item in spec["inputs"]
        ]
    if "output" in spec:
        whole["output"] = {**spec["output"], "url": _absolute_url(spec["output"]["url"])}
    return whole


def _absolute_url(url: str) -> str:
    path = local_path(url)
    return url if path is None else path


def _urls(inputs: Sequence[str | Sequence[str]]) -> Iterator[str]:
    for item in inputs:
        yield from [item] if isinstance(item, str) else item


def _without_paths(code: bytes) -> bytes:
    """Return code that does not look for modules in directories of this machine."""
    if not code:
        return code
    message = job_pb2.JobCode.FromString(code)
    message.ClearField("python_path")
    return message.SerializeToString(deterministic=True)


def _too_large(submission: Submission, size: int, limit: int) -> str:
    largest = ", ".join(
        f"{item.name} ({item.size_bytes:,} bytes)" for item in reversed(submission.travels[-3:])
    )
    return (
        f"what travels with the job has {size:,} bytes packed, and the server takes {limit:,}; the"
        f" largest: {largest}; let data be an input, and exclude what is not needed in"
        " .discoignore"
    )
