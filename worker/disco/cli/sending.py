"""What a person reads about a submission: what goes along, what came of it, what to type next."""

from collections.abc import Iterator

from disco.cli.submission import Outgoing
from disco.client.submitting import Submission
from disco.manifest.quantities import size_text
from disco.v1 import jobs_pb2

_LISTED = 8


def sent_lines(out: Outgoing) -> Iterator[str]:
    """Yield what goes along with a job, the largest first, and what does not."""
    submission = out.submission
    yield from _travels(submission)
    for path in submission.left_out:
        yield f"Left out, as .discoignore says: {path}"
    yield from out.notes


def _travels(submission: Submission) -> Iterator[str]:
    if not submission.travels:
        return
    total = size_text(sum(item.size_bytes for item in submission.travels))
    largest = list(reversed(submission.travels))
    if len(largest) == 1:
        yield f"Sending {largest[0].name}, {total}."
        return
    yield f"Sending {total}:"
    listed, rest = largest[:_LISTED], largest[_LISTED:]
    width = max(len(item.name) for item in listed)
    for item in listed:
        yield f"  {item.name:<{width}}  {size_text(item.size_bytes):>8}"
    if rest:
        size = size_text(sum(item.size_bytes for item in rest))
        yield f"  and {len(rest)} more, {size}"


def next_lines(job: jobs_pb2.Job, name: str) -> Iterator[str]:
    """Yield what the server says to a submission, and what can be done with the job.

    Args:
        job: As the server answered.
        name: The job, with the flags that find it again.
    """
    yield f"Submitted {job.name} to namespace {job.namespace}."
    yield from warning_lines(job)
    yield f"  watch it:     disco watch {name}"
    yield f"  its results:  disco results {name}"
    yield f"  stop it:      disco cancel {name}"


def warning_lines(job: jobs_pb2.Job) -> Iterator[str]:
    """Yield what the spec asks for and the server does not do."""
    for warning in job.warnings:
        yield f"Warning: {warning}"
