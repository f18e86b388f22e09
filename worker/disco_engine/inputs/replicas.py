"""Read one of several URLs with the same content, and another one when that fails."""

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from disco_engine.core.model import FailureKind, TaskInput
from disco_engine.inputs.urls import local_path
from disco_engine.program import DamagedInputError, ProgramError, bad_data

T = TypeVar("T")

log = logging.getLogger(__name__)


def by_preference(item: TaskInput, attempt: int) -> TaskInput:
    """Return the input with its replicas in the order in which an attempt should try them.

    Local ones come first; the others in random order, so that tasks spread over them. Every further
    attempt at the task begins with another one.

    Args:
        item: What the task reads.
        attempt: Which at the task, from 1.
    """
    if len(item.urls) == 1:
        return item
    here = [url for url in item.urls if local_path(url) is not None]
    elsewhere = [url for url in item.urls if local_path(url) is None]
    random.Random(f"{item.urls} {item.offset}").shuffle(elsewhere)
    urls = [*here, *elsewhere]
    first = (attempt - 1) % len(urls)
    return replace(item, urls=(*urls[first:], *urls[:first]))


def read_replicas(urls: tuple[str, ...], read: Callable[[str], Iterator[T]]) -> Iterator[T]:
    """Yield what ``read(url)`` yields for one of *urls*, going on with another when it fails.

    Args:
        urls: The replicas, in the order in which to try them.
        read: Opens one and yields its content. It must remember how far it came: the next call
            goes on from there.

    Raises:
        ProgramError: DATA: every replica failed; the message has all their errors. Or one was found
            damaged after some of it had been yielded: nobody knows whether that was right.
    """
    failures = []
    for url in urls:
        begun = False
        try:
            for part in read(url):
                begun = True
                yield part
            return
        except ProgramError as error:
            if error.failure.kind is not FailureKind.DATA:
                raise
            if len(urls) == 1:
                raise
            if begun and isinstance(error, DamagedInputError):
                raise begin_anew(error) from error
            failures.append(error)
            log.warning("replica failed", extra={"url": url, "error": error.failure.message})
    raise bad_data(
        f"none of the {len(failures)} replicas could be read to the end: "
        + "; ".join(error.failure.message for error in failures),
        input=" ".join(urls),
    ) from failures[-1]


def begin_anew(error: DamagedInputError) -> ProgramError:
    """Return the error of an attempt that may have read wrong content from a replica."""
    failure = error.failure
    message = f"{failure.message}; what was read before may be wrong, so the task begins anew"
    return ProgramError(replace(failure, message=f"{message} with another replica"))
