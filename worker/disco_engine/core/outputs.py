"""What is sealed of one stage, where, and what it sums to."""

from disco_engine.core import label_table
from disco_engine.core.model import NOTHING, Label, NodeName, ServiceId, Totals

LARGEST_LABELS = 5


class StageOutputs:
    """The sums over a stage's sealed outputs: O(labels x services), whatever the tasks.

    Attributes:
        held: Per service and label; labels and services that hold nothing are absent.
        homes: The node of each service when it first held something of this stage. It stays, so
            that tasks that were grouped by node keep their meaning if the service moves.
        total: Over everything.
    """

    def __init__(self) -> None:
        self.held: dict[ServiceId, dict[Label, Totals]] = {}
        self.homes: dict[ServiceId, NodeName] = {}
        self.total = NOTHING
        self._labels: dict[Label, Totals] = {}
        # Bytes of the largest labels; None: a removal has made them unknown.
        self._largest: dict[Label, int] | None = {}
        # What a label must exceed to be among them.
        self._threshold = -1

    def add(self, service: ServiceId, node: NodeName, table: bytes) -> None:
        """Count a sealed output in.

        Args:
            service: Who holds it.
            node: Where that is now.
            table: What it wrote per label.
        """
        if not table:
            return
        self.homes.setdefault(service, node)
        held = self.held.setdefault(service, {})
        labels = self._labels
        # The innermost loop of a shuffle with many labels: written out, without Totals.plus.
        for label, blocks, records, size in label_table.rows(table):
            old = held.get(label, NOTHING)
            held[label] = Totals(old[0] + blocks, old[1] + records, old[2] + size)
            old = labels.get(label, NOTHING)
            labels[label] = Totals(old[0] + blocks, old[1] + records, old[2] + size)
            if old[2] + size > self._threshold:
                self._note_size(label, old[2] + size)
        self.total = self.total.plus(label_table.total(table))

    def remove(self, service: ServiceId, table: bytes) -> None:
        """Count an output out again, exactly as it was added."""
        if not table:
            return
        held = self.held[service]
        for label, totals in label_table.unpack(table).items():
            _subtract(held, label, totals)
            _subtract(self._labels, label, totals)
        self.total = self.total.minus(label_table.total(table))
        if not held:
            del self.held[service]
        self._largest = None

    def largest(self) -> tuple[tuple[Label, Totals], ...]:
        """Return the labels with the most bytes, at most 5, largest first."""
        if self._largest is None:
            self._largest = {}
            self._threshold = -1
            for label, totals in self._labels.items():
                self._note_size(label, totals.bytes)
        sizes = self._largest
        ordered = sorted(sizes, key=lambda label: (-sizes[label], label))
        return tuple((label, self._labels[label]) for label in ordered)

    def main_node(self, label: Label) -> NodeName | None:
        """Return the node whose services hold the most bytes of *label*; None: none does."""
        sizes: dict[NodeName, int] = {}
        for service, labels in self.held.items():
            if label in labels:
                node = self.homes[service]
                sizes[node] = sizes.get(node, 0) + labels[label].bytes
        return max(sorted(sizes), key=lambda node: sizes[node], default=None)

    def _note_size(self, label: Label, size: int) -> None:
        # Sizes only grow between two removals, so comparing with the smallest kept is enough.
        largest = self._largest
        if largest is None:
            return
        largest[label] = size
        if len(largest) > LARGEST_LABELS:
            del largest[min(largest, key=lambda other: largest[other])]
        if len(largest) == LARGEST_LABELS:
            self._threshold = min(largest.values())


def _subtract(sums: dict[Label, Totals], label: Label, totals: Totals) -> None:
    left = sums[label].minus(totals)
    if left == NOTHING:
        del sums[label]
    else:
        sums[label] = left
