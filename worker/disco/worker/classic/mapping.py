"""The map side of a classic job: its loops are where most jobs spend most of their time.

Entries, and the pairs that the map makes of them, come out of iterators written in C wherever that
is possible; there is one loop per way to combine, so that a pair costs no decision.
"""

import builtins
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any, Protocol

from disco.functions import name_of
from disco.worker.classic import func
from disco.worker.outputs import OutputChain, as_label, iterator_of
from disco.worker.reading import InputChain, Meter, StageInputs
from disco_engine.core.partitioning import stable_hash
from disco_engine.program import TaskContext
from disco_engine.records.frozen import RecordError, shown, type_name
from disco_engine.records.writers import RecordWriter, as_pair

Pairs = Iterator[tuple[Any, Any]]
LabelOf = Callable[[Any], int]

_BYTES_PER_KEY = 256  # a short key and a small value: in a dict here, then in the writer's buffers
_MIN_KEYS = 10_000
_PAIRS_BETWEEN_LOOKS = 100_000
_MAX_KNOWN_KEYS = 100_000
_UNSET = object()


class External(Protocol):
    """A program in the place of a function; ``disco.worker.classic.external`` has them."""

    def pairs(self, entries: Iterable[Any], context: TaskContext) -> Pairs:
        """Yield what the program makes of the entries of a task."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFunctions:
    """What the user gave for the map side; the classic worker's table says what each is."""

    map: Callable[[Any, Any], Iterable[tuple[Any, Any]]] | External
    map_init: Callable[[Iterable[Any], Any], Any]
    input_chain: InputChain
    output_chain: OutputChain
    combiner: Callable[..., Iterable[tuple[Any, Any]] | None] | None
    partition: Callable[[Any, int, Any], int]
    partitions: int | None
    status_interval: int


class MapTasks:
    """The tasks of the map stage."""

    def __init__(self, functions: MapFunctions) -> None:
        self._given = functions
        given = functions.map
        self._map = _checked(given) if callable(given) else given
        self._producer = name_of(given)

    @property
    def splittable(self) -> bool:
        """Whether a part of a file will do: not if ``map_init`` may look at a file's beginning."""
        return self._given.input_chain.splittable and self._given.map_init is func.init

    def run(self, context: TaskContext, params: Any) -> None:
        """Run one task."""
        given = self._given
        meter = Meter(context, given.status_interval, "mapped")
        entries = StageInputs(context, given.input_chain, params, meter=meter).all()
        with (
            entries.watched(context),
            given.output_chain.writing(context, params, self._producer) as writer,
        ):
            if given.map_init is not func.init:
                given.map_init(entries, params)
            pairs = self._pairs(entries, context, params)
            self._write(pairs, writer, context.settings.sort_memory_bytes, params)

    def _pairs(self, entries: Iterable[Any], context: TaskContext, params: Any) -> Pairs:
        """Return what the map makes of the entries."""
        if not callable(self._map):
            return self._map.pairs(entries, context)
        return chain.from_iterable(builtins.map(self._map, entries, repeat(params)))

    def _write(self, pairs: Pairs, writer: RecordWriter, memory_bytes: int, params: Any) -> None:
        given = self._given
        label_of = self._label_of(params)
        if given.combiner is None:
            _emit(pairs, writer, label_of)
        elif given.combiner is func.sum_combiner:
            self._sum(pairs, writer, label_of, memory_bytes)
        else:
            self._combine(pairs, writer, label_of, params)

    def _label_of(self, params: Any) -> LabelOf | None:
        """Return what gives a key its label; None: all keys have the label 0."""
        partition, partitions = self._given.partition, self._given.partitions
        if partitions is None or (partitions == 1 and partition is func.default_partition):
            return None
        if partition is func.default_partition:
            return lambda key: stable_hash(key) % partitions

        def label_of(key: Any) -> int:
            label = partition(key, partitions, params)
            return label if type(label) is int else _whole(label, key, partition)

        return label_of

    def _sum(
        self, pairs: Pairs, writer: RecordWriter, label_of: LabelOf | None, memory_bytes: int
    ) -> None:
        """Add up the values of each key.

        One dictionary does for all partitions: a key has one label, so the sums are the same.
        """
        limit = max(_MIN_KEYS, memory_bytes // _BYTES_PER_KEY)
        sums: dict[Any, Any] = {}
        get = sums.get
        pair: Any = None
        while pair is not _UNSET:
            pair = _UNSET
            try:
                for pair in islice(pairs, _PAIRS_BETWEEN_LOOKS):
                    key, value = pair
                    sums[key] = get(key, 0) + value
            except (TypeError, ValueError) as error:
                self._explain(error, pair)
                raise
            if len(sums) > limit:
                _emit(iter(sums.items()), writer, label_of)
                sums.clear()
        _emit(iter(sums.items()), writer, label_of)

    def _combine(
        self, pairs: Pairs, writer: RecordWriter, label_of: LabelOf | None, params: Any
    ) -> None:
        """Call the user's combiner, with a buffer for each label."""
        combiner = self._given.combiner
        assert combiner is not None
        writer.producer = name_of(combiner)
        buffers = _LabelBuffers(label_of or _no_label)
        known = buffers.by_key
        pair: Any = None
        try:
            for pair in pairs:
                key, value = pair
                try:
                    label, buffer = known[key]
                except (KeyError, TypeError):  # TypeError: some keys have no hash
                    label, buffer = buffers.of(key)
                combined = combiner(key, value, buffer, False, params)
                if combined is not None:
                    writer.extend(label, combined)
        except (TypeError, ValueError) as error:
            self._explain(error, pair)
            raise
        for label, buffer in buffers.by_label.items():
            combined = combiner(None, None, buffer, True, params)
            if combined is not None:
                writer.extend(label, combined)

    def _explain(self, error: Exception, pair: Any) -> None:
        """Raise a better error if this module's own loops stumbled upon what the user gave them."""
        trace = error.__traceback__
        if trace is not None and trace.tb_next is not None:
            return  # it comes out of a function that was called, such as the user's map
        name = name_of(self._given.map)
        key, value = as_pair(pair, name)
        problem = f"the combiner cannot take it: {error}"
        try:
            hash(key)
        except TypeError:
            problem = f"keys of type {type_name(key)} cannot be combined, for they have no hash"
        raise RecordError(f"{name} yielded the pair {shown((key, value))}, but {problem}") from None


class _LabelBuffers:
    """The combiner's buffers, found by label, or more quickly by key.

    Attributes:
        by_label: Every buffer.
        by_key: Label and buffer of keys that were met before.
    """

    def __init__(self, label_of: LabelOf) -> None:
        self.by_label: dict[int, dict[Any, Any]] = {}
        self.by_key: dict[Any, tuple[int, dict[Any, Any]]] = {}
        self._label_of = label_of

    def of(self, key: Any) -> tuple[int, dict[Any, Any]]:
        """Return the label of *key* and its buffer."""
        label = self._label_of(key)
        found = label, self.by_label.setdefault(label, {})
        if len(self.by_key) < _MAX_KNOWN_KEYS:
            with suppress(TypeError):  # some keys have no hash
                self.by_key[key] = found
        return found


def _no_label(key: Any) -> int:
    return 0


def _emit(pairs: Pairs, writer: RecordWriter, label_of: LabelOf | None) -> None:
    if label_of is None:
        writer.extend(0, pairs)
    else:
        writer.partition(pairs, label_of)


def _whole(label: Any, key: Any, partition: Callable[..., Any]) -> int:
    """Return what ``int`` makes of a label that is none, as Disco does.

    Many partition functions were written for Python 2, where ``key / 10`` is a whole number.
    """
    with suppress(TypeError, ValueError, OverflowError):
        return int(label)
    return as_label(label, f"{name_of(partition)} for the key {shown(key)}")


def _checked(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return *function*, made to say what is wrong if it returns nothing to iterate over.

    A StopIteration that leaves it (from a ``next`` on something empty) must not pass for the end
    of the input: it would end the task early, and the job would succeed without the rest. Generator
    functions have that from Python itself (PEP 479).
    """
    if inspect.isgeneratorfunction(function):
        return function

    def checked(entry: Any, params: Any) -> Iterable[Any]:
        try:
            pairs = function(entry, params)
        except StopIteration as error:
            raise RuntimeError(f"{name_of(function)} raised StopIteration") from error
        return iterator_of(pairs, function)

    return checked
