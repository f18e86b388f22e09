"""Read records that are more than lines of bytes: text, JSON lines, CSV, Parquet.

Text is UTF-8 and nothing else: what is not is an error that says where, never a replaced letter.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from disco_engine.core.model import TaskInput
from disco_engine.inputs.lines import Block, line_blocks
from disco_engine.inputs.opening import open_seekable, reading
from disco_engine.inputs.replicas import read_replicas
from disco_engine.inputs.urls import reason_of
from disco_engine.program import ProgramError, bad_data, fatal

_BOM = "\ufeff"
_SHOWN = 200
"""How much of a bad line an error shows, in characters."""

_PARQUET_BATCH_ROWS = 8192


def text_lines(item: TaskInput) -> Iterator[str]:
    r"""Yield the lines of *item*'s range without their ends (``\n`` or ``\r\n``).

    Raises:
        ProgramError: DATA: a line is not UTF-8, or no replica could be read.
    """
    return chain.from_iterable(_split(text) for _, text in _texts(item))


def json_lines(item: TaskInput) -> Iterator[Any]:
    """Yield the value of each line of *item*'s range; empty lines do not count.

    Raises:
        ProgramError: DATA: a line is not JSON or not UTF-8, or no replica could be read.
    """
    loads = json.loads
    for block, text in _texts(item):
        for number, line in enumerate(_split(text)):
            try:
                yield loads(line)
            except (ValueError, RecursionError) as error:
                if line and not line.isspace():
                    raise _bad_json(block, number, line, error) from error


def csv_rows(
    item: TaskInput, *, delimiter: str = ",", columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield each row as a dict of str by column name; missing last fields are None.

    Args:
        item: A whole file: a quoted field may contain newlines, so CSV cannot be cut.
        delimiter: One character.
        columns: Their names, if the first row does not have them.

    Raises:
        ProgramError: DATA: a row does not fit the header, or is not CSV or UTF-8, or no replica
            could be read. FATAL: *item* is a range.
    """
    url = item.urls[0]
    if item.length is not None:
        raise fatal(f"{url}: CSV files cannot be cut into ranges; plan them unsplit", input=url)
    # strict: a stray quote would otherwise swallow the rest of the file without a word.
    source = (line for _, text in _texts(item) for line in io.StringIO(text, newline="\n"))
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    names = list(columns) if columns is not None else None
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise bad_data(_bad_csv(url, reader.line_num, error), input=url) from error
        if row is None:
            return
        if not row:
            continue
        if names is None:
            names = row
            if len(set(names)) < len(names):
                raise bad_data(f"{url}: two columns have the same name: {names}", input=url)
        elif len(row) == len(names):
            yield dict(zip(names, row, strict=True))
        elif len(row) < len(names):
            yield dict.fromkeys(names) | dict(zip(names, row, strict=False))
        else:
            raise bad_data(
                f"{url}, line {reader.line_num}: {len(row)} fields, but {len(names)} columns; "
                f"the row is {_cut(repr(row))}",
                input=url,
            )


def parquet_rows(item: TaskInput, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield each row as a dict by column name.

    A range has the row groups that begin in it, so Parquet files may be cut like text.

    Args:
        item: A file or a range of one.
        columns: Read these only; None: all.

    Raises:
        ProgramError: DATA: no replica could be read to the end. FATAL: pyarrow is not installed,
            or there is no column of that name.
    """
    done = 0

    def rest(url: str) -> Iterator[dict[str, Any]]:
        nonlocal done
        for row in islice(_parquet_rows(url, item, columns), done, None):
            done += 1
            yield row

    return read_replicas(item.urls, rest)


def _parquet_rows(
    url: str, item: TaskInput, columns: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise fatal(
            f"reading {url} needs the package pyarrow: pip install 'disco-k8s[parquet]'", input=url
        ) from error
    with open_seekable(url) as file, reading(url), pyarrow.parquet.ParquetFile(file) as parquet:
        known = parquet.schema_arrow.names
        for name in columns or ():
            if name not in known:
                raise fatal(f"{url} has no column {name!r}; it has {known}", input=url)
        groups = [
            group
            for group in range(parquet.metadata.num_row_groups)
            if _is_within(item, parquet.metadata.row_group(group))
        ]
        if groups:
            for batch in parquet.iter_batches(_PARQUET_BATCH_ROWS, groups, columns):
                yield from batch.to_pylist()


def _is_within(item: TaskInput, group: Any) -> bool:
    """Tell whether a row group begins in *item*'s range."""
    if item.length is None:
        return True
    first = group.column(0)
    # A column begins with its dictionary, if it has one.
    start: int = first.dictionary_page_offset or first.data_page_offset
    return item.offset <= start < item.offset + item.length


def _texts(item: TaskInput) -> Iterator[tuple[Block, str]]:
    """Yield the lines of *item* as text; a byte order mark at a file's beginning is dropped."""
    for block in line_blocks(item):
        try:
            text = block.data.decode()
        except UnicodeDecodeError as error:
            start = block.data.rfind(b"\n", 0, error.start) + 1
            raise bad_data(
                f"{block.url} is not UTF-8: byte {block.start + error.start:,} of its content is "
                f"{block.data[error.start : error.end]!r}, in the line that begins "
                f"{block.data[start : start + 80]!r}; convert the file to UTF-8 "
                "(iconv -f LATIN1 -t UTF-8), or read bytes with the default reader",
                input=block.url,
            ) from error
        yield block, text.removeprefix(_BOM) if block.start == 0 else text


def _split(text: str) -> list[str]:
    """Return the lines without their ends."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    found = text.split("\n")
    if not found[-1]:
        found.pop()  # after the last newline comes no line
    return found


def _bad_json(block: Block, number: int, line: str, error: Exception) -> ProgramError:
    before = sum(len(line) + 1 for line in block.data.split(b"\n")[:number])
    return bad_data(
        f"{block.url}: the line at byte {block.start + before:,} of its content is not JSON: "
        f"{reason_of(error)}: {_cut(line)}",
        input=block.url,
    )


def _bad_csv(url: str, line: int, error: csv.Error) -> str:
    remedy = ""
    if "field limit" in str(error):
        remedy = "; a quote may be missing before, or call csv.field_size_limit() in the job"
    elif "new-line character" in str(error):
        remedy = "; end its lines with \\n or \\r\\n"
    return f"{url}, line {line:,}: not CSV: {error}{remedy}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"
