"""Reading results where the author is: from partition services, through a server, from files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from disco import session
from disco.ddfs_urls import Urls
from disco.error import DataError, DiscoError
from disco.worker.classic import func
from disco.worker.reading import InputChain, Meter
from disco.worker.streams import StreamFunction
from disco_engine.core.model import TaskInput
from disco_engine.core.parts import Part, ServedPart, StoredPart, part_of
from disco_engine.inputs.expand import expand
from disco_engine.inputs.urls import DISCO, scheme_of, suffix_of
from disco_engine.local.session import session_token
from disco_engine.outputs.formats import FORMATS
from disco_engine.outputs.reading import read_part
from disco_engine.program import ProgramError
from disco_engine.records.blocks import Frame, FrameCorruptError
from disco_engine.records.readers import pairs_of
from disco_engine.results import ResultError, read_label, read_parts

_WHOLE = 1 << 62  # larger than any file: nothing is split here


def records(
    inputs: Sequence[Urls],
    *,
    reader: StreamFunction | None = func.chain_reader,
    input_stream: Sequence[StreamFunction] = (func.map_input_stream,),
    notifier: Callable[[str], None] = func.notifier,
    params: Any = None,
    trust: bool = False,
    expanded: Callable[[Sequence[Urls]], Iterable[Urls]] = iter,
) -> Iterator[Any]:
    """Yield the records of results and files, in order.

    Args:
        inputs: URLs with the same content each; parts of one result that follow each other are
            read in one go.
        reader: The last input stream for files. With the default, those that look like parts of an
            output are read as what they look like; None: there is none.
        input_stream: The input streams before it.
        notifier: Called with each URL before it is read.
        params: For stream functions that take them.
        trust: Read pickles of jobs on servers that somebody else has submitted.
        expanded: Returns what is read in place of *inputs*: tags stand for blobs.

    Raises:
        DataError: Something cannot be read, or is not there any more.
    """
    chain = (*input_stream, *([reader] if reader is not None else []))
    by_name = reader is func.chain_reader and tuple(input_stream) == (func.map_input_stream,)
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


def _results(
    urls: list[str],
    chain: Sequence[StreamFunction],
    params: Any,
    notifier: Callable[[str], None],
    *,
    trust: bool,
) -> Iterator[Any]:
    for _, some in groupby(urls, lambda url: _one_read(_part(url))):
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


def _part(url: str) -> Part:
    try:
        return part_of(url)
    except ValueError as error:
        raise DataError(str(error), url) from error


def _one_read(part: Part) -> tuple[object, ...]:
    """Return what parts have in common that follow each other and are read in one go."""
    if isinstance(part, ServedPart):
        return part.server, part.namespace, part.name, part.uid
    if part.task is None:
        return (part,)
    return part.address, part.uid, part.stage, part.label


def _pairs(parts: Sequence[Part], *, trust: bool) -> Iterator[tuple[Any, Any]]:
    """Return the records of parts of one result that follow each other."""
    first = parts[0]
    if isinstance(first, ServedPart):
        numbers = [part.number for part in parts if isinstance(part, ServedPart)]
        return _remote_pairs(first, numbers, trust=trust)
    if session.find(first.uid) is None:
        raise DataError(
            "this process does not have the result: it has been purged, or another process ran the"
            " job; give a job an output URL to keep what it made",
            str(first),
        )
    tasks = [part.task for part in parts if isinstance(part, StoredPart) and part.task is not None]
    return pairs_of(_frames(first, tasks))


def _remote_pairs(
    part: ServedPart, numbers: list[int], *, trust: bool
) -> Iterator[tuple[Any, Any]]:
    """Yield the records of parts that a server has, read in as few streams as it takes."""
    from disco.servers import server_at  # most programs have none

    try:
        server = server_at(part.server)
    except DiscoError as error:
        raise DataError(str(error), f"disco://{part.server}") from error
    start = 0
    for stop in range(1, len(numbers) + 1):
        if stop == len(numbers) or numbers[stop] != numbers[stop - 1] + 1:
            yield from server.records(
                part.namespace, part.name, part.uid, numbers[start], stop - start, trust=trust
            )
            start = stop


def _frames(part: StoredPart, tasks: list[int]) -> Iterator[Frame]:
    where = (part.address, session_token(), part.uid, part.stage)
    try:
        if part.task is None and part.label is not None:
            yield from read_label(*where, part.label, records=part.records)
        else:
            yield from read_parts(*where, tasks, label=part.label)
    except (ResultError, FrameCorruptError) as error:
        raise DataError(str(error), str(part)) from error
