"""Reading results where the author is: from partition services, or from files."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from disco import session
from disco.error import DataError
from disco.util import urlsplit
from disco.worker.reading import InputChain, Meter
from disco.worker.streams import StreamFunction
from disco_engine.core.model import TaskInput
from disco_engine.inputs.expand import expand
from disco_engine.inputs.urls import DISCO, scheme_of, suffix_of
from disco_engine.local.session import session_token
from disco_engine.outputs.formats import FORMATS
from disco_engine.outputs.reading import read_part
from disco_engine.program import ProgramError
from disco_engine.records.blocks import Frame, FrameCorruptError
from disco_engine.records.readers import pairs_of
from disco_engine.results import (
    ResultDeniedError,
    ResultLostError,
    ResultUnreachableError,
    read_parts,
)

_WHOLE = 1 << 62  # larger than any file: nothing is split here


class _Part(NamedTuple):
    """A part of a result: where it is, and which task wrote it."""

    address: str
    uid: str
    stage: int
    task: int


def records(
    inputs: Sequence[tuple[str, ...]],
    chain: Sequence[StreamFunction],
    params: Any,
    *,
    by_name: bool,
    notifier: Callable[[str], None],
) -> Iterator[Any]:
    """Yield the records of results and files, in order.

    Args:
        inputs: URLs with the same content each; parts of one result that follow each other are
            read in one go.
        chain: The input streams for files.
        params: For stream functions that take them.
        by_name: Read files that look like parts of an output as what they look like.
        notifier: Called with each URL before it is read.

    Raises:
        DataError: Something cannot be read, or is not there any more.
    """
    for is_result, some in groupby(inputs, lambda urls: scheme_of(urls[0]) == DISCO):
        if is_result:
            yield from _results([urls[0] for urls in some], chain, params, notifier)
            continue
        for urls in some:
            notifier(urls[0])
            try:
                for item in expand([urls], split_size_bytes=_WHOLE, splittable=False):
                    yield from _file(item, chain, params, by_name=by_name)
            except ProgramError as error:
                failure = error.failure
                raise DataError(failure.message, failure.input or urls[0]) from error


def pairs_of_part(url: str) -> Iterator[tuple[Any, Any]]:
    """Return the (key, value) records of one part of a result.

    Raises:
        DataError: It cannot be read, or is not there any more.
    """
    return _pairs([_part(url)])


def _results(
    urls: list[str],
    chain: Sequence[StreamFunction],
    params: Any,
    notifier: Callable[[str], None],
) -> Iterator[Any]:
    for _, some in groupby(urls, lambda url: _part(url)[:3]):
        together = list(some)
        for url in together:
            notifier(url)
        several = list(map(_part, together))
        yield from InputChain(chain).apply(_pairs(several), several[0].uid, params)


def _file(
    item: TaskInput, chain: Sequence[StreamFunction], params: Any, *, by_name: bool
) -> Iterator[Any]:
    url = item.urls[0]
    known = {form.extension for form in FORMATS.values()}
    if by_name and suffix_of(url) in known:
        yield from read_part(url)
        return
    for chunk in InputChain(chain).chunks(item, params, Meter(None)):
        yield from chunk


def _part(url: str) -> _Part:
    _, (host, port), path = urlsplit(url)
    try:
        uid, stage, task = path.split("/")
        return _Part(f"{host}:{port}", uid, int(stage), int(task))
    except ValueError:
        raise DataError("a part of a result is disco://host:port/uid/stage/task", url) from None


def _pairs(parts: list[_Part]) -> Iterator[tuple[Any, Any]]:
    """Return the records of parts that one service has of one job's stage."""
    address, uid, _, _ = parts[0]
    url = f"disco://{address}/{uid}"
    if session.find(uid) is None:
        raise DataError(
            "this process does not have the result: it has been purged, or another process ran the"
            " job; give a job an output URL to keep what it made",
            url,
        )
    return pairs_of(_frames(parts, url))


def _frames(parts: list[_Part], url: str) -> Iterator[Frame]:
    address, uid, stage, _ = parts[0]
    tasks = [part.task for part in parts]
    try:
        yield from read_parts(address, session_token(), uid, stage, tasks)
    except (ResultDeniedError, ResultLostError, ResultUnreachableError, FrameCorruptError) as error:
        raise DataError(str(error), url) from error
