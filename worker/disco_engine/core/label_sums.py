"""Totals per label, summed over many tasks' label tables."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from heapq import nsmallest
from operator import add

from disco_engine.core.label_table import Columns
from disco_engine.core.model import Label, Totals


class LabelSums(Mapping[Label, Totals]):
    """What some outputs have per label; labels that have nothing are absent.

    Most tasks of a stage write the same labels, so sums are kept as columns: adding a table of the
    same labels is three additions of columns, not a step for each label.
    """

    __slots__ = ("_blocks", "_bytes", "_labels", "_records", "_rows")

    def __init__(self) -> None:
        self._labels: array[int] = array("q")
        self._blocks: list[int] = []
        self._records: list[int] = []
        self._bytes: list[int] = []
        # Where each label is; None: they ascend, so they can be searched.
        self._rows: dict[Label, int] | None = None

    def add(self, columns: Columns) -> None:
        """Count in the columns of a label table."""
        labels, blocks, records, sizes = columns
        if not self._labels:
            self._labels = labels[:]
            self._blocks, self._records, self._bytes = list(blocks), list(records), list(sizes)
        elif labels == self._labels:
            self._blocks = list(map(add, self._blocks, blocks))
            self._records = list(map(add, self._records, records))
            self._bytes = list(map(add, self._bytes, sizes))
        else:
            for label, *counts in zip(labels, blocks, records, sizes, strict=True):
                self._count(label, *counts)

    def remove(self, columns: Columns) -> None:
        """Count out what ``add`` counted in."""
        for label, blocks, records, size in zip(*columns, strict=True):
            self._count(label, -blocks, -records, -size)

    def largest(self, most: int) -> list[tuple[Label, Totals]]:
        """Return the labels with the most bytes, largest first, the smaller label of equal ones."""
        sizes, labels = self._bytes, self._labels
        rows = (row for row, blocks in enumerate(self._blocks) if blocks)
        first = nsmallest(most, rows, key=lambda row: (-sizes[row], labels[row]))
        return [(labels[row], self._at(row)) for row in first]

    def __getitem__(self, label: Label) -> Totals:
        row = self._row(label)
        if row is None or not self._blocks[row]:
            raise KeyError(label)
        return self._at(row)

    def __iter__(self) -> Iterator[Label]:
        return (label for label, blocks in zip(self._labels, self._blocks, strict=True) if blocks)

    def __len__(self) -> int:
        return len(self._blocks) - self._blocks.count(0)

    def __bool__(self) -> bool:
        return any(self._blocks)

    def _at(self, row: int) -> Totals:
        return Totals(self._blocks[row], self._records[row], self._bytes[row])

    def _row(self, label: Label) -> int | None:
        if self._rows is not None:
            return self._rows.get(label)
        row = bisect_left(self._labels, label)
        return row if row < len(self._labels) and self._labels[row] == label else None

    def _count(self, label: Label, blocks: int, records: int, size: int) -> None:
        row = self._row(label)
        if row is None:
            self._append(label, blocks, records, size)
            return
        self._blocks[row] += blocks
        self._records[row] += records
        self._bytes[row] += size

    def _append(self, label: Label, blocks: int, records: int, size: int) -> None:
        if self._rows is None and self._labels and label < self._labels[-1]:
            self._rows = {known: row for row, known in enumerate(self._labels)}
        if self._rows is not None:
            self._rows[label] = len(self._labels)
        self._labels.append(label)
        self._blocks.append(blocks)
        self._records.append(records)
        self._bytes.append(size)
