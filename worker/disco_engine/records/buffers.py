"""What a writer has not written yet: records per label, within a memory budget."""

from collections.abc import Callable
from typing import Any, TypeAlias

from disco_engine.core.model import Label
from disco_engine.core.settings import KIB, MIB
from disco_engine.records.frozen import FOLDABLE_TYPES, Frozen, Pickled

Write: TypeAlias = Callable[[Label, list[Frozen], list[Frozen]], None]
"""Takes the keys and values of a label's records, as many of both."""

WriteGroups: TypeAlias = Callable[[Label, dict[Any, list[Frozen]], list[Any]], None]
"""Takes the values of all keys, and the keys of one label."""

LabelOf: TypeAlias = Callable[[Any], Label]
"""Tells the label of a key."""

SIZED_TYPES: frozenset[type[Any]] = frozenset({str, bytes, Pickled})
"""Frozen types whose ``len`` says how large they are."""

# What a record costs in memory beyond its payload: two objects and two pointers.
_RECORD_BYTES = 120
# What a folded key costs beyond its text: the object, a list, and their places in two dictionaries.
_GROUP_BYTES = 320
_VALUE_BYTES = 40
# The smallest payload of which a record with two objects can consist, None and None.
_LEAST_PAYLOAD = 10


def payload_of(item: Frozen) -> int:
    """Return about how many bytes a key or value takes in a frame."""
    kind = type(item)
    if kind in SIZED_TYPES:
        return 5 + len(item)
    if kind is tuple:
        return 5 + sum(map(payload_of, item))
    if kind is int:
        return 5 + (int(item).bit_length() >> 3)
    return 9


class Buffer:
    """The records of one label, in columns.

    Attributes:
        label: Of all of them.
        keys: Appended to by whoever has the buffer.
        values: As many.
        payload: Estimated length in a frame of the first ``measured`` records, in bytes.
        measured: How many records ``payload`` covers.
    """

    __slots__ = ("keys", "label", "measured", "payload", "values")

    def __init__(self, label: Label) -> None:
        self.label = label
        self.keys: list[Frozen] = []
        self.values: list[Frozen] = []
        self.payload = 0
        self.measured = 0

    def measure(self) -> None:
        """Bring ``payload`` up to date, from a sample of what is new."""
        new = len(self.keys) - self.measured
        if new:
            for column in (self.keys, self.values):
                sample = column[self.measured :: new // 16 + 1]
                self.payload += sum(map(payload_of, sample)) * new // len(sample)
            self.measured += new

    @property
    def memory_bytes(self) -> int:
        """What the measured records take in memory."""
        return self.payload + self.measured * _RECORD_BYTES


class Buffers:
    """The buffers of all labels.

    Attributes:
        by_label: All of them; they stay when they are emptied, so others may keep them.
        pending: Payload that was added since the last ``settle``, estimated by whoever added it.
        limit: How large ``pending`` may grow before ``settle`` must be called.
        mean: Mean payload of a record; large at first, so that callers look early.
    """

    def __init__(self, write: Write, *, target_bytes: int, memory_bytes: int) -> None:
        self._write = write
        self._target_bytes = target_bytes
        self._memory_bytes = memory_bytes
        self.by_label: dict[Label, Buffer] = {}
        self.pending = 0
        self.limit = min(target_bytes, 64 * KIB)
        self.mean = 64 * KIB

    def of(self, label: Label) -> Buffer:
        """Return the label's buffer."""
        buffer = self.by_label.get(label)
        if buffer is None:
            buffer = self.by_label[label] = Buffer(label)
        return buffer

    def put(self, buffer: Buffer, key: Frozen, value: Frozen) -> None:
        """Append one record, and settle if it is time."""
        buffer.keys.append(key)
        buffer.values.append(value)
        self.pending += payload_of(key) + payload_of(value)
        if self.pending > self.limit:
            self.settle()

    def settle(self) -> None:
        """Write every buffer that fills a frame, and the fullest until there is room."""
        memory_bytes = payload = records = 0
        for buffer in self.by_label.values():
            payload -= buffer.payload
            records -= buffer.measured
            buffer.measure()
            payload += buffer.payload
            records += buffer.measured
            if buffer.payload >= self._target_bytes:
                self._flush(buffer)
            else:
                memory_bytes += buffer.memory_bytes
        if records:
            self.mean = max(_LEAST_PAYLOAD, payload // records)
        if memory_bytes > self._memory_bytes:
            for buffer in sorted(self.by_label.values(), key=lambda each: -each.memory_bytes):
                memory_bytes -= buffer.memory_bytes
                self._flush(buffer)
                if memory_bytes <= self._memory_bytes // 2:
                    break
        self.pending = 0
        # Even if all that comes next are the smallest records, memory holds until then.
        room = (self._memory_bytes - memory_bytes) * _LEAST_PAYLOAD // _RECORD_BYTES
        self.limit = max(_LEAST_PAYLOAD, min(self._target_bytes, room))

    def drain(self) -> None:
        """Write everything, in the order of labels."""
        for label in sorted(self.by_label):
            self._flush(self.by_label[label])

    def _flush(self, buffer: Buffer) -> None:
        keys, values = buffer.keys, buffer.values
        buffer.keys, buffer.values, buffer.payload, buffer.measured = [], [], 0, 0
        if keys:
            self._write(buffer.label, keys, values)


class Memo:
    """Buffers by key, so that each distinct key's label is asked for and checked once.

    Attributes:
        buffers: By key; only keys that are plain immutable data.
        pays: Keys repeat. Once they are found not to, nothing is remembered any more.
    """

    # About 15 MB.
    _MAX_KEYS = 100_000
    # With fewer keys it is too early to say.
    _MIN_KEYS = 4096

    def __init__(self, label_of: LabelOf) -> None:
        self.label_of = label_of
        self.buffers: dict[Any, tuple[Any, Buffer]] = {}
        self.pays = True
        self._records = 0

    def remember(self, key: Any, buffer: Buffer) -> None:
        """Keep the answer, unless there are too many."""
        if self.pays and len(self.buffers) < self._MAX_KEYS:
            self.buffers[key] = key, buffer

    def settle(self, records: int) -> None:
        """Count records that asked, and stop if most keys come once."""
        self._records += records
        if len(self.buffers) > self._MIN_KEYS and self._records < 1.25 * len(self.buffers):
            self.pays = False
            self.buffers.clear()


class Groups:
    """Values that share their key while they wait, for tasks that write the same keys often.

    Attributes:
        values: By key, of a foldable type; may be appended to by others, who then say so to
            ``settle``.
        pays: There were clearly fewer keys than values when last looked.
    """

    # A fold that leaves more keys than this share of the values is not worth its dictionary.
    _WORTHWHILE = 0.6
    # Before this much is buffered, the share says little.
    _FIRST_LOOK = 4 * MIB
    # Longer keys would need watching between two calls of ``settle``.
    _MAX_KEY = KIB

    def __init__(self, write: WriteGroups, *, memory_bytes: int) -> None:
        self._write = write
        self._memory_bytes = memory_bytes
        self.values: dict[Any, list[Frozen]] = {}
        self.pays = True
        self._keys: dict[Label, list[Any]] = {}
        self._bytes = 0
        self._look_at = min(self._FIRST_LOOK, memory_bytes)

    def takes(self, key: Any) -> bool:
        """Return whether the values of *key* may wait here."""
        kind = type(key)
        return kind in FOLDABLE_TYPES and (kind is int or len(key) <= self._MAX_KEY)

    def append(self, key: Any, value: Frozen, label_of: LabelOf) -> None:
        """Add one value to its key's group, or begin that with it."""
        group = self.values.get(key)
        if group is None:
            self._keys.setdefault(label_of(key), []).append(key)
            self.values[key] = [value]
            self._bytes += _GROUP_BYTES + payload_of(key)
        else:
            group.append(value)
        self.settle(1, payload_of(value))

    def settle(self, values: int, payload: int) -> None:
        """Count what was added since the last call, and write all groups if memory is full.

        Args:
            values: How many were added.
            payload: Length of those that are text or bytes.
        """
        self._bytes += values * _VALUE_BYTES + payload
        if self._bytes >= self._look_at:
            records = sum(map(len, self.values.values()))
            self.pays = len(self.values) <= self._WORTHWHILE * records
            self._look_at = self._memory_bytes
            if self._bytes >= self._memory_bytes:
                self.drain()

    def drain(self) -> None:
        """Write everything, in the order of labels."""
        values, keys = self.values.copy(), self._keys
        # Emptied before writing, and in place: a loop is waiting that knows the dictionary.
        self.values.clear()
        self._keys, self._bytes = {}, 0
        for label in sorted(keys):
            self._write(label, values, keys[label])
