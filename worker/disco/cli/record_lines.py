"""Records on a screen: which of them are shown, and how each becomes a line or a JSON value."""

import heapq
import math
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import click

from disco.cli.wording import printable


def selected(
    records: Iterable[tuple[Any, Any]], *, head: int | None, top: int | None
) -> Iterator[tuple[Any, Any]]:
    """Return the records to show.

    Args:
        records: All.
        head: So many of the first; None: all.
        top: Instead, so many with the largest values; the first, if the values have no order.
    """
    if top is None:
        return islice(records, head)
    records = iter(records)
    first = list(islice(records, top))  # kept: what was compared cannot be read again
    try:
        return iter(heapq.nlargest(top, chain(first, records), key=lambda pair: pair[1]))
    except TypeError as error:
        click.secho(
            f"--top: these values have no order ({error}); here are the first",
            err=True,
            fg="yellow",
        )
        return iter(first)


def print_records(records: Iterable[tuple[Any, Any]]) -> int:
    """Print a line for each record, and return how many there were.

    There may be millions: a stream that is no terminal gets them in blocks.
    """
    shown = 0
    try:
        for key, value in records:
            print(line_of(key, value))
            shown += 1
    finally:
        if sys.stdout is not None:  # as after ">&-"
            sys.stdout.flush()
    return shown


def line_of(key: Any, value: Any) -> str:
    """Return a record as the text format writes it, but on one line, and harmless to a terminal."""
    return _cell(key) if value is None else f"{_cell(key)}\t{_cell(value)}"


def _cell(value: Any) -> str:
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return printable(text.replace("\n", "\\n").replace("\t", "\\t"))


def json_value(value: Any) -> Any:
    """Return *value* if JSON has it; bytes as text, anything else (such as nan) as its ``repr``."""
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else repr(value)
