"""What is sealed of one stage, where, and what it sums to."""

from disco_engine.core import label_table
from disco_engine.core.label_sums import LabelSums
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
        self.held: dict[ServiceId, LabelSums] = {}
        self.homes: dict[ServiceId, NodeName] = {}
        self.total = NOTHING
        self._labels = LabelSums()
        self._largest: tuple[tuple[Label, Totals], ...] | None = ()  # None: not known now

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
        columns = label_table.columns(table)
        self.held.setdefault(service, LabelSums()).add(columns)
        self._labels.add(columns)
        self.total = self.total.plus(Totals(*map(sum, columns[1:])))
        self._largest = None

    def remove(self, service: ServiceId, table: bytes) -> None:
        """Count an output out again, exactly as it was added."""
        if not table:
            return
        held, columns = self.held[service], label_table.columns(table)
        held.remove(columns)
        self._labels.remove(columns)
        self.total = self.total.minus(Totals(*map(sum, columns[1:])))
        if not held:
            del self.held[service]
        self._largest = None

    def largest(self) -> tuple[tuple[Label, Totals], ...]:
        """Return the labels with the most bytes, at most 5, largest first."""
        if self._largest is None:
            self._largest = tuple(self._labels.largest(LARGEST_LABELS))
        return self._largest

    def main_node(self, label: Label) -> NodeName | None:
        """Return the node whose services hold the most bytes of *label*; None: none does."""
        sizes: dict[NodeName, int] = {}
        for service, labels in self.held.items():
            if label in labels:
                node = self.homes[service]
                sizes[node] = sizes.get(node, 0) + labels[label].bytes
        return max(sorted(sizes), key=lambda node: sizes[node], default=None)
