"""Lets jobs read the results of others that this server has, without anybody in between.

All services of a server's jobs take the same token, which their workers have from their
environment, so all that a job needs to be told is addresses. They stand in the message that its
coordinator is started with, and nowhere that callers see.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from disco.v1 import coordinator_pb2, job_pb2
from disco_engine.core.parts import PREFIX, ServedPart, StoredPart, part_of
from disco_engine.local.chained import Urls, by_label
from disco_engine.local.session import session_token
from disco_engine.result_errors import ResultError, ResultUnreachableError
from disco_gateway.errors import InvalidRequestError, UnavailableError, Violation
from disco_gateway.local.job import SUCCEEDED, LocalJob

Find = Callable[[str, str], LocalJob | None]
"""Returns the job of a namespace and name, if there is one."""


def served_parts(message: job_pb2.JobSpec) -> list[tuple[int, ServedPart]]:
    """Return the inputs that are results of jobs, each with its place among the inputs.

    Raises:
        InvalidRequestError: Some are no such results, or say where a partition service is: with
            that a job could send its token anywhere.
    """
    found: list[tuple[int, ServedPart]] = []
    violations: list[Violation] = []
    for number, item in enumerate(message.inputs):
        for url in item.urls:
            if not url.startswith(PREFIX):
                continue
            try:
                part = part_of(url)
            except ValueError as error:
                violations.append(_violation(number, str(error)))
                continue
            if isinstance(part, ServedPart) and len(item.urls) == 1:
                found.append((number, part))
            else:
                violations.append(
                    _violation(
                        number,
                        f"expected a part of the result of a job of this server, alone, as"
                        f" disco://server/namespace/name/uid/part, found {url[:80]!r}",
                    )
                )
    if violations:
        raise InvalidRequestError(violations)
    return found


def let_read(message: job_pb2.JobSpec, parts: Sequence[tuple[int, ServedPart]], find: Find) -> None:
    """Have a job read parts where they are now; asks their services, so it blocks for a moment.

    Args:
        message: What the job's coordinator will be started with; its inputs are changed.
        parts: From ``served_parts``.
        find: Finds the jobs that made them.

    Raises:
        InvalidRequestError: Some are not there, or not any more, or they are too many.
        UnavailableError: Their services do not answer.
    """
    violations = list(_missing(parts, find))
    if violations:
        raise InvalidRequestError(violations)
    inputs: list[Urls] = [tuple(item.urls) for item in message.inputs]
    for number, part in parts:
        job = find(part.namespace, part.name)
        assert job is not None
        inputs[number] = (str(_stored(part, _results(job)[part.number])),)
    try:
        inputs = by_label(inputs, session_token())
    except ResultUnreachableError as error:
        raise UnavailableError(f"the results that the job is to read: {error}") from error
    except ResultError as error:
        raise InvalidRequestError([Violation("spec.inputs", str(error))]) from error
    del message.inputs[:]
    message.inputs.extend(job_pb2.Input(urls=urls) for urls in inputs)


def _missing(parts: Iterable[tuple[int, ServedPart]], find: Find) -> Iterator[Violation]:
    for number, part in parts:
        name = f"{part.namespace}/{part.name}"
        job = find(part.namespace, part.name)
        if job is None or job.uid != part.uid:
            yield _violation(
                number,
                f"the job {name} that made this result is not, or no more, on this server: run it"
                " again here, or read the files of an output",
            )
        elif job.phase != SUCCEEDED:
            yield _violation(number, f"the job {name} has not succeeded: it has no results")
        elif job.new.spec.output is not None:
            yield _violation(
                number,
                f"the results of {name} are in {job.new.spec.output.url}: give the files there",
            )
        elif job.lost:
            yield _violation(number, f"the results of {name} are gone: {job.lost}")
        elif part.number >= len(_results(job)):
            yield _violation(number, f"the result of {name} has {len(_results(job))} parts")


def _results(job: LocalJob) -> Sequence[coordinator_pb2.ResultPart]:
    return () if job.progress is None else job.progress.results


def _stored(part: ServedPart, result: coordinator_pb2.ResultPart) -> StoredPart:
    return StoredPart(
        address=result.service.address, uid=part.uid, stage=result.stage, task=result.task
    )


def _violation(number: int, text: str) -> Violation:
    return Violation(f"spec.inputs[{number}]", text)
