"""Read one of several URLs with the same content, and another one when that fails."""

import logging
import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from disco_engine.core.model import FailureKind
from disco_engine.inputs.urls import local_path
from disco_engine.program import ProgramError, bad_data

T = TypeVar("T")

log = logging.getLogger(__name__)


def read_replicas(urls: tuple[str, ...], read: Callable[[str], Iterator[T]]) -> Iterator[T]:
    """Yield what ``read(url)`` yields for one of *urls*, going on with another when it fails.

    Local ones come first; the others in random order, so that tasks spread over them.

    Args:
        urls: The replicas.
        read: Opens one and yields its content. It must remember how far it came: the next call
            goes on from there.

    Raises:
        ProgramError: DATA: every replica failed; the message has all their errors.
    """
    failures = []
    for url in _by_preference(urls):
        try:
            yield from read(url)
            return
        except ProgramError as error:
            if error.failure.kind is not FailureKind.DATA:
                raise
            if len(urls) == 1:
                raise
            failures.append(error)
            log.warning("replica failed", extra={"url": url, "error": error.failure.message})
    raise bad_data(
        f"none of the {len(failures)} replicas could be read to the end: "
        + "; ".join(error.failure.message for error in failures),
        input=" ".join(urls),
    ) from failures[-1]


def _by_preference(urls: tuple[str, ...]) -> list[str]:
    here = [url for url in urls if local_path(url) is not None]
    elsewhere = [url for url in urls if local_path(url) is None]
    random.shuffle(elsewhere)
    return here + elsewhere
