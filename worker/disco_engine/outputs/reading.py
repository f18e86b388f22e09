"""Read an output back: the records of one part, or of all parts in order."""

from collections.abc import Callable, Iterator
from typing import IO, Any

from disco_engine.core.model import TaskInput
from disco_engine.inputs.formats import csv_rows, json_lines, parquet_rows
from disco_engine.inputs.lines import lines
from disco_engine.inputs.opening import open_stream, reading
from disco_engine.inputs.urls import suffix_of
from disco_engine.outputs.committing import PART, SUCCESS
from disco_engine.outputs.directories import directory_of
from disco_engine.outputs.formats import FORMATS, FRAME_LENGTH, FRAMES_MAGIC, format_of
from disco_engine.program import bad_data, fatal
from disco_engine.records.blocks import Frame, FrameCorruptError, decode
from disco_engine.records.frozen import shown

Pair = tuple[Any, Any]


def part_urls(url: str) -> list[str]:
    """Return the parts of a complete output, in order.

    Raises:
        ProgramError: FATAL: there is no ``_SUCCESS``: the job has not ended, or has failed.
    """
    directory = directory_of(url)
    with reading(url):
        names = directory.names()
    if SUCCESS not in names:
        raise fatal(
            f"output directory {directory.url} has no {SUCCESS}: the job that writes it has not "
            "ended, or has failed",
            input=url,
        )
    parts = [name for name in names if PART.fullmatch(name)]
    # By number: from part 100,000 on names are longer, and do not sort.
    parts.sort(key=lambda name: int(name[len("part-") : name.index(".")]))
    return [f"{directory.url}/{name}" for name in parts]


def read_records(url: str, format: str = "") -> Iterator[Pair]:
    """Yield the (key, value) pairs of an output directory, part by part, or of one file.

    Args:
        url: The output directory of a job, or a file in one of our formats.
        format: What the files are; "" goes by their names.

    Raises:
        ProgramError: DATA: a file cannot be read. FATAL: the format is unknown.
    """
    directory = directory_of(url)
    with reading(url):
        complete = directory.exists(SUCCESS)
    for part in part_urls(url) if complete else [url]:
        yield from read_part(part, format)


def read_part(url: str, format: str = "") -> Iterator[Pair]:
    """Yield the (key, value) pairs of one part.

    Pickle gives what was written; Parquet and JSON lines give their nearest types; CSV gives str.
    Text gives str, or bytes for what is not UTF-8, and None for a value that is not there.

    Args:
        url: The file.
        format: What it is; "" goes by its name.

    Raises:
        ProgramError: DATA: it cannot be read. FATAL: the format is unknown.
    """
    if not format:
        suffix = suffix_of(url)
        format = next((name for name, known in FORMATS.items() if known.extension == suffix), "")
        if not format:
            raise fatal(f"{url}: say which format it has, its name does not", input=url)
    format_of(format)
    return _READERS[format](TaskInput(urls=(url,)))


def _text_pairs(item: TaskInput) -> Iterator[Pair]:
    for line in lines(item):
        key, tab, value = line.removesuffix(b"\n").partition(b"\t")
        yield _text(key), _text(value) if tab else None


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _row_pairs(item: TaskInput, rows: Iterator[Any]) -> Iterator[Pair]:
    (url,) = item.urls
    for row in rows:
        try:
            pair = row["key"], row["value"]
        except (KeyError, TypeError, IndexError) as error:
            raise bad_data(
                f"{url} is not an output: it has the record {shown(row)}, without key and value",
                input=url,
            ) from error
        yield pair


def _framed_pairs(item: TaskInput) -> Iterator[Pair]:
    (url,) = item.urls
    with reading(url), open_stream(url, decompress=False) as file:
        if file.read(len(FRAMES_MAGIC)) != FRAMES_MAGIC:
            raise bad_data(f"{url} is not an output in the format 'pickle'", input=url)
        while size := FRAME_LENGTH.unpack(_exactly(file, FRAME_LENGTH.size, url))[0]:
            try:
                block = decode(Frame(_exactly(file, size, url)))
            except FrameCorruptError as error:
                raise bad_data(f"{url} is damaged: {error}", input=url) from error
            yield from zip(block.keys, block.values, strict=True)


def _exactly(file: IO[bytes], size: int, url: str) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise bad_data(f"{url} is incomplete: it ends in the middle of a frame", input=url)
    return data


_READERS: dict[str, Callable[[TaskInput], Iterator[Pair]]] = {
    "text": _text_pairs,
    "jsonl": lambda item: _row_pairs(item, json_lines(item)),
    "csv": lambda item: _row_pairs(item, csv_rows(item)),
    "parquet": lambda item: _row_pairs(item, parquet_rows(item)),
    "pickle": _framed_pairs,
}
