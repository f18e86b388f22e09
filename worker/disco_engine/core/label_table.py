"""How the totals per label of one attempt are kept while nobody looks at them.

A job has (tasks x labels) of them, and they are wanted again only when an output is lost or when
the next stage reads single tasks. A dictionary takes some 200 bytes per label; a table takes about
ten: four columns, each of the narrowest integers that hold it, labels ascending.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping

from disco_engine.core.model import NOTHING, Label, Totals

EMPTY = b""
"""The table of an attempt that wrote nothing."""

_SIGNED = "bhiq"
_UNSIGNED = "BHIQ"
_COLUMNS = 4


def pack(labels: Mapping[Label, Totals]) -> bytes:
    """Return the table of *labels*; those without blocks are left out.

    Raises:
        OverflowError: A number needs more than 64 bits.
    """
    if not labels:
        return EMPTY
    rows = sorted((label, *totals) for label, totals in labels.items() if totals.blocks)
    if not rows:
        return EMPTY
    names, *counts = zip(*rows, strict=True)
    columns = [_narrow(names, _SIGNED), *(_narrow(column, _UNSIGNED) for column in counts)]
    header = "".join(column.typecode for column in columns).encode()
    return header + b"".join(column.tobytes() for column in columns)


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


def _narrow(values: tuple[int, ...], typecodes: str) -> "array[int]":
    for typecode in typecodes[:-1]:
        try:
            return array(typecode, values)
        except OverflowError:
            continue
    return array(typecodes[-1], values)


def _columns(table: bytes) -> list["array[int]"]:
    columns = [array(chr(code)) for code in table[:_COLUMNS]]
    rows = (len(table) - _COLUMNS) // sum(column.itemsize for column in columns)
    start = _COLUMNS
    for column in columns:
        end = start + rows * column.itemsize
        column.frombytes(table[start:end])
        start = end
    return columns
