"""Where a task's records go: frames per label, made from what user code yields."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import index
from typing import Any, Protocol

from disco_engine.core.model import Label
from disco_engine.core.settings import MIB
from disco_engine.records.blocks import StoredBlock, encode_parts, store
from disco_engine.records.buffers import SIZED_TYPES, Buffer, Buffers, Groups, LabelOf, Memo
from disco_engine.records.frozen import (
    FLAT_TYPES,
    FOLDABLE_TYPES,
    Frozen,
    Pickled,
    RecordError,
    freeze,
    is_flat,
    shown,
    thaw,
    type_name,
)
from disco_engine.records.sorting import folded, sort_columns

Sink = Callable[[Label, int, bytes], None]
"""Takes a label, a number of records and their frame; may wait until there is room."""

_NOTHING: Any = object()


class RecordWriter(Protocol):
    """Where a task's records go: to a partition service, or into a file of the job's output.

    Attributes:
        producer: Who writes, for error messages: a stage's name, or better its function's.
    """

    producer: str

    def add(self, label: Label, key: Any, value: Any) -> None:
        """Write one record."""
        ...

    def extend(self, label: Label, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Write many records with one label."""
        ...

    def partition(self, pairs: Iterable[tuple[Any, Any]], label_of: LabelOf) -> None:
        """Write many records, each with the label of its key.

        *label_of* must answer the same for equal keys: answers are remembered.
        """
        ...

    def close(self) -> None:
        """Write what is still buffered. Nothing may be written afterwards."""
        ...


# Records between two looks at how much is buffered, at most. Text and bytes values are counted as
# they come; keys and numbers are not, and can surprise us by no more than this many of them.
_MAX_CHUNK = 1024
# Labels are 64-bit integers on the wire.
_LABELS = range(-(1 << 63), 1 << 63)


class ShuffleWriter:
    """Gathers records per label and hands them to a sink as frames.

    Implements RecordWriter. What a generator yields is frozen before it goes on, so it may reuse
    its objects. Not for several threads.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        sort: bool,
        target_bytes: int = MIB,
        memory_bytes: int = 64 * MIB,
        producer: str = "the task",
    ) -> None:
        """Make a writer with empty buffers.

        Args:
            sink: What it raises leaves the writer's methods.
            sort: Every frame is in key order, with repeated keys folded. Otherwise the records of
                a label keep the order in which they were written.
            target_bytes: Payload of a frame before compression, at most 4 MiB; a frame can be
                twice as long, and longer if it is a single record.
            memory_bytes: What the buffers may take, estimated; the fullest are written first.
            producer: As in RecordWriter.
        """
        self._sink = sink
        self._sort = sort
        self._target_bytes = min(target_bytes, 4 * MIB)
        self.producer = producer
        self._closed = False
        self._partitioning = False
        self._memo = Memo(_no_labels)
        # When sorting, half of the memory is for each of the two ways to wait.
        room = memory_bytes // 2 if sort else memory_bytes
        self._buffers = Buffers(
            self._write_columns, target_bytes=self._target_bytes, memory_bytes=room
        )
        self._groups = Groups(self._write_groups, memory_bytes=room)
        self._groups.pays = sort

    def add(self, label: Label, key: Any, value: Any) -> None:
        """Write one record.

        Raises:
            RecordError: The label is not an integer, or the record cannot be kept or sorted.
        """
        self._check_open()
        if type(label) is not int or label not in self._buffers.by_label:
            label = self._label(label, key)
        if type(key) not in FLAT_TYPES or type(value) not in FLAT_TYPES:
            key, value = self._freeze(key, key, value), self._freeze(value, key, value)
        self._buffers.put(self._buffers.of(label), key, value)

    def extend(self, label: Label, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Write many records with one label.

        Raises:
            RecordError: As for ``add``, and for what is not a pair.
        """
        self._check_open()
        checked = self._label(label, None)
        memo = Memo(lambda _key: checked)
        memo.pays = False
        iterator = self._iterator(pairs)
        while not self._spread(iterator, memo):
            pass

    def partition(self, pairs: Iterable[tuple[Any, Any]], label_of: LabelOf) -> None:
        """Write many records, each with the label of its key.

        *label_of* must answer the same for equal keys: answers are remembered, from one call to
        the next if it is the same function.

        Raises:
            RecordError: As for ``add``, and for what is not a pair.
            RuntimeError: Called by the generator that another call is reading.
        """
        self._check_open()
        if self._partitioning:
            raise RuntimeError("partition() cannot be called by what partition() is reading")
        if label_of != self._memo.label_of:
            self._groups.drain()
            self._memo = Memo(label_of)
        iterator = self._iterator(pairs)
        self._partitioning = True
        try:
            over = False
            while not over:
                over = (self._fold if self._groups.pays else self._spread)(iterator, self._memo)
        finally:
            self._partitioning = False

    def close(self) -> None:
        """Write what is still buffered. Nothing may be written afterwards."""
        if not self._closed:
            self._groups.drain()
            self._buffers.drain()
            self._closed = True

    def _spread(self, pairs: Iterator[Any], memo: Memo) -> bool:
        """Append pairs to the buffers of their labels; return whether all were taken.

        It stops where it finds that folding pays.
        """
        buffers = self._buffers
        by_key, by_label, label_of = memo.buffers, buffers.by_label, memo.label_of
        key_kind: type[Any] = Pickled
        value_kind: type[Any] = Pickled
        sized = False
        while True:
            remembering, limit, size = memo.pays, buffers.limit, 0
            chunk = max(1, min(limit // buffers.mean, _MAX_CHUNK))
            pair = _NOTHING
            for pair in islice(pairs, chunk):
                try:
                    key, value = pair
                except (TypeError, ValueError):
                    raise _not_a_pair(pair, self.producer) from None
                if type(pair) is not tuple:
                    _check_pair(pair, self.producer)
                if type(value) is not value_kind:
                    value, value_kind, sized = self._keep(key, value)
                if type(key) is key_kind:
                    try:
                        if remembering:
                            key, buffer = by_key[key]
                        else:
                            buffer = by_label[label_of(key)]
                    except KeyError:
                        buffer = self._buffer_of(key, memo)
                else:
                    buffer = self._buffer_of(key, memo)
                    expected = FOLDABLE_TYPES if remembering else FLAT_TYPES
                    key, key_kind = self._keep_key(key, value, expected)
                buffer.keys.append(key)
                buffer.values.append(value)
                if sized:
                    size += len(value)
                    if size > limit:
                        break
            if pair is _NOTHING:
                return True
            memo.settle(chunk)
            buffers.pending += max(size, chunk * buffers.mean)
            if buffers.pending > buffers.limit:
                buffers.settle()
                if self._groups.pays:
                    return False

    def _fold(self, pairs: Iterator[Any], memo: Memo) -> bool:
        """Append values to the groups of their keys; return whether all were taken.

        It stops where it finds that folding does not pay.
        """
        groups = self._groups
        values = groups.values
        key_kind: type[Any] = Pickled
        value_kind: type[Any] = Pickled
        sized = False
        while True:
            size = 0
            pair = _NOTHING
            for pair in islice(pairs, _MAX_CHUNK):
                try:
                    key, value = pair
                except (TypeError, ValueError):
                    raise _not_a_pair(pair, self.producer) from None
                if type(pair) is not tuple:
                    _check_pair(pair, self.producer)
                if type(value) is not value_kind:
                    value, value_kind, sized = self._keep(key, value)
                if type(key) is key_kind:
                    try:
                        values[key].append(value)
                    except KeyError:
                        self._begin(key, value, memo)
                else:
                    key_kind = self._begin(key, value, memo)
                if sized:
                    size += len(value)
                    if size > MIB:
                        break
            if pair is _NOTHING:
                return True
            groups.settle(_MAX_CHUNK, size)
            if key_kind is Pickled:  # keys of other types come
                groups.pays = False
            if not groups.pays:
                groups.drain()
                return False

    def _begin(self, key: Any, value: Frozen, memo: Memo) -> type[Any]:
        """Append to the group of a key, which may be new, or to a buffer if it cannot have one.

        Return the type of keys that may be looked up in groups, Pickled for none.
        """
        if not self._groups.takes(key):
            buffer = self._buffer_of(key, memo)
            key, _ = self._keep_key(key, value, FOLDABLE_TYPES)
            self._buffers.put(buffer, key, value)
            return Pickled
        self._groups.append(key, value, lambda key: self._label(memo.label_of(key), key))
        return type(key)

    def _buffer_of(self, key: Any, memo: Memo) -> Buffer:
        """Return the buffer for a key's label, remembered if the key is plain data."""
        kind = type(key)
        plain = kind in FOLDABLE_TYPES or (kind is tuple and is_flat(key))
        if plain and key in memo.buffers:
            return memo.buffers[key][1]
        buffer = self._buffers.of(self._label(memo.label_of(key), key))
        if plain:
            memo.remember(key, buffer)
        return buffer

    def _keep(self, key: Any, value: Any) -> tuple[Frozen, type[Any], bool]:
        """Return what to keep of a value, what to expect next, and whether ``len`` tells its size.

        The type to expect is one that needs no freezing, or Pickled, which users do not write.
        """
        kind = type(value)
        if kind in FLAT_TYPES:
            return value, kind, kind in SIZED_TYPES
        frozen = self._freeze(value, key, value)
        return frozen, Pickled, type(frozen) is Pickled

    def _keep_key(
        self, key: Any, value: Frozen, expected: frozenset[type[Any]]
    ) -> tuple[Frozen, type[Any]]:
        """Return what to keep of a key, and what to expect next: one of some types, or Pickled.

        Where remembered keys are looked up, only foldable types may be expected: 1.0 would find 1.
        """
        kind = type(key)
        kept = key if kind in FLAT_TYPES else self._freeze(key, key, value)
        return kept, kind if kind in expected else Pickled

    def _freeze(self, item: Any, key: Any, value: Any) -> Frozen:
        """Return the key or value of a record in a form that nobody can change.

        Raises:
            RecordError: It cannot be pickled; the message shows the record.
        """
        try:
            return freeze(item)
        except RecordError as error:
            raise RecordError(
                f"{self.producer} wrote the record {shown((key, thaw(value)))}: {error}"
            ) from error.__cause__

    def _label(self, label: Any, key: Any) -> Label:
        """Return a label as the integer it is.

        Raises:
            RecordError: It is something else. Booleans are too: they are tests of a key, not
                numbers of partitions.
        """
        try:
            number = index(label)
        except TypeError:
            number = None
        if number is None or isinstance(label, bool) or number not in _LABELS:
            raise RecordError(
                f"{self.producer} gave the key {shown(key)} the label {shown(label)} of type"
                f" {type_name(label)}; labels are integers of 64 bits: make the partition function"
                " return int(...)"
            )
        return number

    def _iterator(self, pairs: Any) -> Iterator[Any]:
        if not isinstance(pairs, Iterable) and not hasattr(type(pairs), "__getitem__"):
            raise RecordError(
                f"{self.producer} returned {shown(pairs)} of type {type_name(pairs)}, expected"
                " an iterable of (key, value) pairs"
            )
        return iter(pairs)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the writer is closed: nothing can be written any more")

    def _write_columns(self, label: Label, keys: list[Frozen], values: list[Frozen]) -> None:
        if self._sort:
            block = sort_columns(keys, values)
            self._groups.pays = self._groups.pays or block.counts is not None
        else:
            block = StoredBlock(keys, values)
        self._write(label, block)

    def _write_groups(self, label: Label, values: dict[Any, list[Frozen]], keys: list[Any]) -> None:
        self._write(label, folded(values, keys))

    def _write(self, label: Label, block: StoredBlock) -> None:
        stored = store(block.keys, block.values, block.counts)
        for records, frame in encode_parts(stored, self._target_bytes):
            self._sink(label, records, frame)


def as_pair(item: Any, producer: str) -> tuple[Any, Any]:
    """Return what user code yielded as the pair that it is.

    Raises:
        RecordError: It is something else, for instance a string of two letters.
    """
    try:
        key, value = item
    except (TypeError, ValueError):
        raise _not_a_pair(item, producer) from None
    if type(item) is not tuple:
        _check_pair(item, producer)
    return key, value


def _check_pair(item: Any, producer: str) -> None:
    """Accept a list or other sequence of two, which has been unpacked already."""
    if not isinstance(item, Sequence) or isinstance(item, (str, bytes, bytearray, memoryview)):
        raise _not_a_pair(item, producer)


def _not_a_pair(item: Any, producer: str) -> RecordError:
    return RecordError(f"{producer} yielded {shown(item)}, which is not a (key, value) pair")


def _no_labels(key: Any) -> Label:
    raise LookupError(f"no label for {key!r}")
