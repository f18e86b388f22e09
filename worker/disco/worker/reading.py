"""How a task reads its inputs: URLs in the first stage, labels in the others, counted as read."""

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from disco import schemes
from disco.entries import Entries, SortedEntries
from disco.error import DataError, DiscoError
from disco.readers import Reader
from disco.worker.record_streams import RecordStream, chain_reader
from disco.worker.streams import OpenStream, StreamFunction, fold
from disco.worker.task_io import task_input_stream
from disco_engine.core.model import FailureKind, Label, TaskInput
from disco_engine.inputs.lines import line_blocks, line_chunks
from disco_engine.inputs.replicas import begin_anew
from disco_engine.inputs.urls import DISCO, FRAMES_SUFFIX, RAW, URL, scheme_of, suffix_of
from disco_engine.program import DamagedInputError, ProgramError, ShuffleSource, TaskContext
from disco_engine.records.blocks import Frame, encode, records_of
from disco_engine.records.readers import pairs_of, sort_frames

_COUNTED_RECORDS = 1000  # often enough for a progress display, too seldom to cost anything
_SORTED_RECORDS = 1000  # in a frame that is made only to be sorted


class Meter:
    """Counts what a task reads, and tells the user how far it is.

    Args:
        context: Of the task; None: nobody counts.
        interval: Entries between two messages; 0: none.
        verb: What happens to the entries, for the message.
    """

    def __init__(self, context: TaskContext | None, interval: int = 0, verb: str = "read") -> None:
        self._context = context
        self._interval = interval
        self._verb = verb
        self._records = 0
        self._due = interval

    def add(self, records: int, size_bytes: int) -> None:
        """Count what was read since the last call."""
        if self._context is None:
            return
        self._context.read(records, size_bytes)
        self._records += records
        if self._interval and self._records >= self._due:
            self._context.status(f"{self._records:,} entries {self._verb}")
            self._due = self._records - self._records % self._interval + self._interval


class InputChain:
    """The input streams of a stage: what turns a URL into entries.

    Args:
        functions: As the user gave them; empty: lines (bytes), or the (key, value) records of a
            job's result, or of a file of its output that keeps types (``.disco``).
    """

    def __init__(self, functions: Sequence[StreamFunction] = ()) -> None:
        given = tuple(functions) or (task_input_stream,)
        self._functions = given
        self._rest = given[1:] if given[0] is task_input_stream else None
        self.splittable = self._rest is not None and all(
            getattr(function, "splittable", False) for function in self._rest
        )

    def chunks(self, item: TaskInput, params: Any, meter: Meter) -> Iterator[Iterable[Any]]:
        """Yield the entries of one input in lists or iterators, to be read in order.

        Raises:
            ProgramError: DATA: no replica could be read to the end.
            DataError: A stream function found the same.
        """
        scheme = scheme_of(item.urls[0])
        if self._rest in ((), (chain_reader,)) and scheme == DISCO:
            yield schemes.open(item.urls[0])
        elif self._rest == () and scheme == RAW:
            for lines in line_chunks(item):
                meter.add(len(lines), sum(map(len, lines)))
                yield lines
        elif self._rest == () and suffix_of(item.urls[0]) == FRAMES_SUFFIX:
            yield from InputChain((task_input_stream, chain_reader)).chunks(item, params, meter)
        elif self._rest == () and scheme != URL:
            for block in line_blocks(item):
                lines = io.BytesIO(block.data).readlines()
                meter.add(len(lines), len(block.data))
                yield lines
        else:
            yield _counted(self._entries(item, params), meter)

    def apply(self, records: Iterable[Any], name: str, params: Any) -> Iterable[Any]:
        """Return what the chain makes of records that came from an earlier stage."""
        functions = self.beyond_records
        if not functions:
            return records
        start = OpenStream(RecordStream(records, name), None, name)
        entries: Iterable[Any] = fold(functions, start, params).stream
        return entries

    @property
    def beyond_records(self) -> list[StreamFunction]:
        """What is left to do with (key, value) records."""
        known = (task_input_stream, chain_reader)
        return [function for function in self._functions if function not in known]

    def _entries(self, item: TaskInput, params: Any) -> Iterator[Any]:
        """Yield the entries of one input; a replica that fails is replaced by the next."""
        if self._rest is not None and len(self._rest) == 1 and isinstance(self._rest[0], Reader):
            yield from self._rest[0].read(item)
            return
        done = 0
        failures: list[BaseException] = []
        for url in item.urls:
            try:
                for entry in islice(self._replica(item, url, params), done, None):
                    yield entry
                    done += 1
                return
            except (DataError, ProgramError) as error:
                if isinstance(error, ProgramError) and error.failure.kind is not FailureKind.DATA:
                    raise
                if done and isinstance(error, DamagedInputError) and len(item.urls) > 1:
                    raise begin_anew(error) from error
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        raise DataError(
            f"none of the {len(failures)} replicas could be read to the end: "
            + "; ".join(map(str, failures)),
            " ".join(item.urls),
        ) from failures[-1]

    def _replica(self, item: TaskInput, url: str, params: Any) -> Iterator[Any]:
        current = OpenStream(None, item.length, url)
        functions = self._functions
        opened: list[Any] = []
        if item.length is not None and self._rest is not None:
            current = OpenStream(io.BufferedReader(_LinesFile(item)), item.length, url)
            opened.append(current.stream)
            functions = self._rest
        try:
            for function in functions:
                current = fold((function,), current, params)
                opened.append(current.stream)
            yield from current.stream
        finally:
            for stream in reversed(opened):
                if hasattr(stream, "close"):
                    stream.close()


class StageInputs:
    """What one task reads, by label.

    Args:
        context: Of the task.
        input_chain: Of its stage.
        params: The task's copy.
        sort: Entries come in the order of their keys.
        meter: Counts entries of the first stage; None: one without messages.
    """

    def __init__(
        self,
        context: TaskContext,
        input_chain: InputChain,
        params: Any,
        *,
        sort: bool = False,
        meter: Meter | None = None,
    ) -> None:
        self._context = context
        self._chain = input_chain
        self._params = params
        self._sort = sort
        self._meter = meter or Meter(context)
        self._inputs: dict[Label, list[TaskInput | ShuffleSource]] = {}
        given: list[TaskInput | ShuffleSource] = [*context.inputs, *context.sources]
        for one in given:
            self._inputs.setdefault(one.label, []).append(one)

    @property
    def labels(self) -> list[Label]:
        """The labels there are, ascending."""
        return sorted(self._inputs)

    def all(self) -> Entries:
        """Return the entries of all inputs."""
        return self._entries([one for label in self.labels for one in self._inputs[label]])

    def combined(self, label: Label) -> Entries:
        """Return the entries of all inputs with *label*."""
        return self._entries(self._inputs[label])

    def each(self, label: Label) -> Iterator[Entries]:
        """Yield the entries of each input with *label*; read one before asking for the next."""
        for one in self._inputs[label]:
            yield self._entries([one])

    def _entries(self, inputs: list[TaskInput | ShuffleSource]) -> Entries:
        if not self._sort:
            return Entries(self._all_chunks(inputs))
        records = sort_frames(
            self._all_frames(inputs),
            memory_bytes=self._context.settings.sort_memory_bytes,
            scratch=self._context.scratch,
        )
        if not self._chain.beyond_records or self._context.inputs:
            return SortedEntries(records)
        name = f"input of stage {self._context.stage_name!r}"
        return Entries((self._chain.apply(records, name, self._params),))

    # Generators, not map(): a StopIteration out of the user's reader must not pass for the end of
    # the input (PEP 479 makes it an error in a generator).

    def _all_chunks(self, inputs: list[TaskInput | ShuffleSource]) -> Iterator[Iterable[Any]]:
        for one in inputs:
            yield from self._chunks(one)

    def _all_frames(self, inputs: list[TaskInput | ShuffleSource]) -> Iterator[Frame]:
        for one in inputs:
            yield from self._frames(one)

    def _chunks(self, one: TaskInput | ShuffleSource) -> Iterator[Iterable[Any]]:
        if isinstance(one, TaskInput):
            return self._chain.chunks(one, self._params, self._meter)
        pairs = pairs_of(counted_frames(one, self._context))
        return iter((self._chain.apply(pairs, one.name, self._params),))

    def _frames(self, one: TaskInput | ShuffleSource) -> Iterator[Frame]:
        if not isinstance(one, TaskInput):
            return counted_frames(one, self._context)
        pairs = chain.from_iterable(self._chain.chunks(one, self._params, self._meter))
        return _frames_of(pairs, one.urls[0])


def counted_frames(source: ShuffleSource, context: TaskContext) -> Iterator[Frame]:
    """Yield the frames of *source*, telling the engine how much was read."""
    for frame in source.frames():
        context.read(records_of(frame), len(frame.data))
        yield frame


def result_pairs(url: str, context: TaskContext) -> Iterator[tuple[Any, Any]]:
    """Return the records of a part of another job's result, read through the task's worker."""
    return pairs_of(counted_frames(context.open_result(url), context))


def _frames_of(pairs: Iterator[Any], url: str) -> Iterator[Frame]:
    """Yield frames of what a first stage reads, in order to sort it."""
    while some := list(islice(pairs, _SORTED_RECORDS)):
        try:
            columns = [[key for key, _ in some], [value for _, value in some]]
        except (TypeError, ValueError):
            raise DiscoError(
                f"sort=True, but {url} has {some[0]!r:.200}, not (key, value) pairs: sort in a"
                " later stage, or give a reader that yields pairs"
            ) from None
        yield Frame(encode(*columns))


def _counted(entries: Iterable[Any], meter: Meter) -> Iterator[Any]:
    number = 0
    for number, entry in enumerate(entries, start=1):
        yield entry
        if not number % _COUNTED_RECORDS:
            meter.add(_COUNTED_RECORDS, 0)
    meter.add(number % _COUNTED_RECORDS, 0)


class _LinesFile(io.RawIOBase):
    """The lines that begin in a part of a file, as a file of their own."""

    def __init__(self, item: TaskInput) -> None:
        self._blocks = line_blocks(item)
        self._data = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._data:
            block = next(self._blocks, None)
            self._data = memoryview(b"" if block is None else block.data)
        size = min(len(buffer), len(self._data))
        buffer[:size] = self._data[:size]
        self._data = self._data[size:]
        return size

    def close(self) -> None:
        if not self.closed and hasattr(self._blocks, "close"):
            self._blocks.close()
        super().close()
