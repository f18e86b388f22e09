"""Sorting what does not fit in memory, for programs that do it themselves.

Jobs need none of this: ``sort = True`` sorts in the engine.
"""

import base64
import heapq
import os
import pickle
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, Any

from disco.error import DataError

_KEY_END, _RECORD_END = b"\xff", b"\0"


def dsorted(
    iterable: Iterable[Any], buffer_size: float = 1e6, tempdir: str | None = None
) -> Iterator[Any]:
    """Return an iterator over the items in ascending order, which are sorted on disk.

    Args:
        iterable: Items that can be pickled and compared.
        buffer_size: How many are held in memory.
        tempdir: Where the others are; None: where temporary files are.
    """
    import tempfile  # slots import this module, and few sort for themselves

    items = iter(iterable)
    runs: list[Iterator[Any]] = []
    while some := sorted(islice(items, int(buffer_size))):
        file = tempfile.TemporaryFile(dir=tempdir)  # noqa: SIM115 - the run's reader closes it
        for item in some:
            pickle.dump(item, file, pickle.HIGHEST_PROTOCOL)
        file.seek(0)
        runs.append(_run(file, len(some)))
    return heapq.merge(*runs)


def _run(file: IO[bytes], count: int) -> Iterator[Any]:
    with file:
        for _ in range(count):
            yield pickle.load(file)


def encode(data: bytes) -> bytes:
    """Return *data* without the bytes that ``disk_sort`` puts between keys and values."""
    return base64.b64encode(data)


def decode(data: bytes) -> bytes:
    """Return what ``encode`` was given."""
    return base64.b64decode(data)


def sort_command(filename: str, sort_buffer_size: str) -> list[str]:
    """Return the command that sorts a file as ``unix_sort`` does, given ``LC_ALL=C``."""
    by_key = ["sort", "-z", "-s", "-t", os.fsdecode(_KEY_END), "-k", "1,1", "-S", sort_buffer_size]
    return [*by_key, "-T", os.path.dirname(filename) or ".", "-o", filename, filename]


def unix_sort(filename: str, sort_buffer_size: str = "10%") -> None:
    """Sort a file of ``KEY ff VALUE 00`` by its keys' bytes, in place, with the program ``sort``.

    Raises:
        DataError: There is no such file, or it cannot be sorted.
    """
    import subprocess

    if not os.path.isfile(filename):
        raise DataError("there is no such file to sort", filename)
    command = sort_command(filename, sort_buffer_size)
    try:
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    except subprocess.CalledProcessError as error:
        raise DataError(error.stderr.decode(errors="replace").strip(), filename) from error


def sort_reader(
    stream: IO[bytes], fname: str, read_buffer_size: int = 8192
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the (key, value) pairs of such a file, both as bytes.

    Raises:
        DataError: It ends in the middle of a pair.
    """
    rest = b""
    while data := stream.read(read_buffer_size):
        *records, rest = (rest + data).split(_RECORD_END)
        for record in records:
            key, _, value = record.partition(_KEY_END)
            yield key, value
    if rest:
        raise DataError("the file ends in the middle of a record", fname)


def disk_sort(
    worker: Any, input: Iterable[tuple[bytes, Any]], filename: str, sort_buffer_size: str = "10%"
) -> Iterator[tuple[bytes, Any]]:
    """Yield pairs in the order of their keys' bytes, sorted in a file.

    Args:
        worker: Whose ``send`` is told how far it is; None: nobody.
        input: Pairs whose keys are bytes without 0xFF and 0x00; values are whatever can be pickled.
        filename: The file, which stays.
        sort_buffer_size: Memory for the sort, as ``sort -S`` takes it.

    Raises:
        ValueError: A key is something else.
    """
    from disco.fileutils import AtomicFile

    with AtomicFile(filename) as file:
        for key, value in input:
            if not isinstance(key, bytes):
                raise ValueError(f"keys that are sorted on disk must be bytes, not {key!r}")
            if _KEY_END in key or _RECORD_END in key:
                raise ValueError(f"keys that are sorted on disk have no 0xff and no 0x00: {key!r}")
            file.write(key + _KEY_END + encode(pickle.dumps(value)) + _RECORD_END)
    if worker is not None:
        worker.send("MSG", f"sorting {filename}, {os.path.getsize(filename)} B")
    unix_sort(filename, sort_buffer_size)
    with open(filename, "rb") as sorted_file:
        for key, value in sort_reader(sorted_file, filename, 1 << 20):
            yield key, pickle.loads(decode(value))
