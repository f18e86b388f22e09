"""Reading results where the author is: from partition services, through a server, from files."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from disco import session
from disco.ddfs_inputs import expanded
from disco.error import DataError, DiscoError
from disco.util import schemesplit
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


class _RemotePart(NamedTuple):
    """A part of a result that a server has."""

    server: str
    namespace: str
    name: str
    uid: str
    number: int


def records(
    inputs: Sequence[tuple[str, ...]],
    chain: Sequence[StreamFunction],
    params: Any,
    *,
    by_name: bool,
    notifier: Callable[[str], None],
    trust: bool = False,
) -> Iterator[Any]:
    """Yield the records of results and files, in order.

    Args:
        inputs: URLs with the same content each; parts of one result that follow each other are
            read in one go.
        chain: The input streams for files.
        params: For stream functions that take them.
        by_name: Read files that look like parts of an output as what they look like.
        notifier: Called with each URL before it is read.
        trust: Read pickles of jobs on servers that somebody else has submitted.

    Raises:
        DataError: Something cannot be read, or is not there any more.
    """
    for is_result, some in groupby(expanded(inputs), lambda urls: scheme_of(urls[0]) == DISCO):
        if is_result:
            yield from _results([urls[0] for urls in some], chain, params, notifier, trust=trust)
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
    return _pairs([_part(url)], trust=False)


def is_remote(url: str) -> bool:
    """Return whether *url* is a part of a result that a server has."""
    return scheme_of(url) == DISCO and len(_steps(url)) == 5


def _results(
    urls: list[str],
    chain: Sequence[StreamFunction],
    params: Any,
    notifier: Callable[[str], None],
    *,
    trust: bool,
) -> Iterator[Any]:
    for _, some in groupby(urls, lambda url: _part(url)[:-1]):
        together = list(some)
        for url in together:
            notifier(url)
        several = list(map(_part, together))
        pairs = _pairs(several, trust=trust)
        yield from InputChain(chain).apply(pairs, several[0].uid, params)


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


def _part(url: str) -> _Part | _RemotePart:
    try:
        match _steps(url):
            case [address, uid, stage, task]:
                return _Part(address, uid, int(stage), int(task))
            case [server, namespace, name, uid, number]:
                return _RemotePart(server, namespace, name, uid, int(number))
            case _:
                pass
    except ValueError:
        pass
    raise DataError(
        "a part of a result is disco://host:port/uid/stage/task, or"
        " disco://server/namespace/name/uid/part",
        url,
    )


def _steps(url: str) -> list[str]:
    return schemesplit(url)[1].split("/")


def _pairs(parts: Sequence[_Part | _RemotePart], *, trust: bool) -> Iterator[tuple[Any, Any]]:
    """Return the records of parts of one result that follow each other."""
    first = parts[0]
    if isinstance(first, _RemotePart):
        numbers = [part.number for part in parts if isinstance(part, _RemotePart)]
        return _remote_pairs(first, numbers, trust=trust)
    tasks = [part.task for part in parts if isinstance(part, _Part)]
    url = f"disco://{first.address}/{first.uid}"
    if session.find(first.uid) is None:
        raise DataError(
            "this process does not have the result: it has been purged, or another process ran the"
            " job; give a job an output URL to keep what it made",
            url,
        )
    return pairs_of(_frames(first, tasks, url))


def _remote_pairs(
    part: _RemotePart, numbers: list[int], *, trust: bool
) -> Iterator[tuple[Any, Any]]:
    """Yield the records of parts that a server has, read in as few streams as it takes."""
    from disco.remote_master import master_at  # most programs have no server

    try:
        master = master_at(part.server)
    except DiscoError as error:
        raise DataError(str(error), f"disco://{part.server}") from error
    start = 0
    for stop in range(1, len(numbers) + 1):
        if stop == len(numbers) or numbers[stop] != numbers[stop - 1] + 1:
            yield from master.records(
                part.namespace, part.name, part.uid, numbers[start], stop - start, trust=trust
            )
            start = stop


def _frames(part: _Part, tasks: list[int], url: str) -> Iterator[Frame]:
    address, uid, stage, _ = part
    try:
        yield from read_parts(address, session_token(), uid, stage, tasks)
    except (ResultDeniedError, ResultLostError, ResultUnreachableError, FrameCorruptError) as error:
        raise DataError(str(error), url) from error
