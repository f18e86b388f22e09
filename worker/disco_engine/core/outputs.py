"""What is sealed of one stage, where, and what it sums to."""

from collections.abc import Mapping

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

    def add(self, service: ServiceId, node: NodeName, labels: Mapping[Label, Totals]) -> None:
        """Count a sealed output in."""
        if not labels:
            return
        self.homes.setdefault(service, node)
        held = self.held.setdefault(service, {})
        for label, totals in labels.items():
            held[label] = held.get(label, NOTHING).plus(totals)
            self.total = self.total.plus(totals)
            of_label = self._labels.get(label, NOTHING).plus(totals)
            self._labels[label] = of_label
            self._note_size(label, of_label.bytes)

    def remove(self, service: ServiceId, labels: Mapping[Label, Totals]) -> None:
        """Count an output out again, exactly as it was added."""
        if not labels:
            return
        held = self.held[service]
        for label, totals in labels.items():
            _subtract(held, label, totals)
            _subtract(self._labels, label, totals)
            self.total = self.total.minus(totals)
        if not held:
            del self.held[service]
        self._largest = None

    def largest(self) -> tuple[tuple[Label, Totals], ...]:
        """Return the labels with the most bytes, at most 5, largest first."""
        if self._largest is None:
            self._largest = {}
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
        if label in largest or len(largest) < LARGEST_LABELS:
            largest[label] = size
            return
        smallest = min(largest, key=lambda other: largest[other])
        if size > largest[smallest]:
            del largest[smallest]
            largest[label] = size


def _subtract(sums: dict[Label, Totals], label: Label, totals: Totals) -> None:
    left = sums[label].minus(totals)
    if left == NOTHING:
        del sums[label]
    else:
        sums[label] = left
