"""How the totals per label of one attempt are kept while nobody looks at them.

A job has (tasks x labels) of them, and they are wanted again only when an output is lost or when
the next stage reads single tasks. A dictionary takes some 200 bytes per label; a table takes about
ten: four columns, each of the narrowest integers that hold it, labels ascending. So they also
travel; ``common.proto`` has the format.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import TypeAlias

from disco_engine.core.model import NOTHING, Label, Totals

EMPTY = b""
"""The table of an attempt that wrote nothing."""

_SIGNED = "bhiq"
_UNSIGNED = "BHIQ"
_COLUMNS = 4
Columns: TypeAlias = "list[array[int]]"
"""Labels, as 64-bit integers; blocks; records; bytes."""

_SWAPPED = sys.byteorder == "big"


class Labels(Mapping[Label, Totals]):
    """A table, to be read like the dictionary that it was made of.

    Raises:
        ValueError: It is no table.
    """

    __slots__ = ("table",)

    def __init__(self, table: bytes) -> None:
        if table:
            _check(table)
        self.table = table

    def __getitem__(self, label: Label) -> Totals:
        totals = find(self.table, label)
        if not totals.blocks:
            raise KeyError(label)
        return totals

    def __iter__(self) -> Iterator[Label]:
        return iter(labels_in(self.table))

    def __len__(self) -> int:
        return len(_columns(self.table)[0]) if self.table else 0

    def items(self) -> ItemsView[Label, Totals]:
        """Return all labels, each with its totals."""
        return unpack(self.table).items()

    def values(self) -> ValuesView[Totals]:
        """Return the totals of all labels."""
        return unpack(self.table).values()

    def __repr__(self) -> str:
        return f"Labels({unpack(self.table)})"


def pack(labels: Mapping[Label, Totals]) -> bytes:
    """Return the table of *labels*; those without blocks are left out.

    Raises:
        OverflowError: A number needs more than 64 bits.
    """
    if isinstance(labels, Labels):
        return labels.table
    if not labels:
        return EMPTY
    rows = sorted((label, *totals) for label, totals in labels.items() if totals.blocks)
    if not rows:
        return EMPTY
    names, *counts = zip(*rows, strict=True)
    narrow = [_narrow(names, _SIGNED), *(_narrow(column, _UNSIGNED) for column in counts)]
    header = "".join(column.typecode for column in narrow).encode()
    for column in narrow if _SWAPPED else ():
        column.byteswap()
    return header + b"".join(column.tobytes() for column in narrow)


def unpack(table: bytes) -> dict[Label, Totals]:
    """Return what *table* holds, labels ascending."""
    return {label: Totals(blocks, records, size) for label, blocks, records, size in rows(table)}


def rows(table: bytes) -> Iterable[tuple[Label, int, int, int]]:
    """Return (label, blocks, records, bytes) of each label of *table*, labels ascending."""
    return zip(*_columns(table), strict=True) if table else ()


def total(table: bytes) -> Totals:
    """Return the sum over all labels of *table*."""
    if not table:
        return NOTHING
    _, *counts = _columns(table)
    return Totals(*(sum(column) for column in counts))


def find(table: bytes, label: Label) -> Totals:
    """Return the totals of one label of *table*; nothing if it is not there."""
    if not table:
        return NOTHING
    names, *counts = _columns(table)
    row = bisect_left(names, label)
    if row == len(names) or names[row] != label:
        return NOTHING
    return Totals(*(column[row] for column in counts))


def labels_in(table: bytes) -> Iterable[Label]:
    """Return the labels of *table*, ascending."""
    return _columns(table)[0] if table else ()


def columns(table: bytes) -> Columns:
    """Return what is in a table that is not empty."""
    labels, *counts = _columns(table)
    return [array("q", labels), *counts]


def _columns(table: bytes) -> list["array[int]"]:
    """Return the same as narrow as it is in the table."""
    found = [array(chr(code)) for code in table[:_COLUMNS]]
    rows = (len(table) - _COLUMNS) // sum(column.itemsize for column in found)
    start = _COLUMNS
    for column in found:
        end = start + rows * column.itemsize
        column.frombytes(table[start:end])
        if _SWAPPED:
            column.byteswap()
        start = end
    return found


def _check(table: bytes) -> None:
    codes = table[:_COLUMNS].decode("latin-1")
    known = len(codes) == _COLUMNS and codes[0] in _SIGNED
    known = known and all(code in _UNSIGNED for code in codes[1:])
    if not known or (len(table) - _COLUMNS) % sum(array(code).itemsize for code in codes):
        raise ValueError(f"{len(table)} bytes that begin with {table[:8]!r} are no label table")


def _narrow(values: tuple[int, ...], typecodes: str) -> "array[int]":
    for typecode in typecodes[:-1]:
        try:
            return array(typecode, values)
        except OverflowError:
            continue
    return array(typecodes[-1], values)
