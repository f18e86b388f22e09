"""What tasks left beside their records, in a file: it outlives the coordinator that told it.

One message after the other, ascending by key, each with its length before it.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from disco.v1 import common_pb2

_LENGTH = struct.Struct("<I")


class KeptValues:
    """The values of one job that has ended.

    Args:
        path: Of the file; there is none before ``save``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, values: Iterable[common_pb2.NamedValue]) -> None:
        """Keep *values*, ascending by key.

        Raises:
            OSError: They cannot be written; then none are kept.
        """
        part = self._path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                for value in values:
                    data = value.SerializeToString()
                    file.write(_LENGTH.pack(len(data)) + data)
            part.replace(self._path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def select(self, key: str, prefix: str) -> Iterator[common_pb2.NamedValue]:
        """Yield the value of *key*, or if that is empty, all whose keys begin with *prefix*.

        Raises:
            FileNotFoundError: None were ever kept, or they have been removed.
        """
        with self._path.open("rb") as file:
            for value in _read(file):
                if value.key == key if key else value.key.startswith(prefix):
                    yield value


def _read(file: BinaryIO) -> Iterator[common_pb2.NamedValue]:
    while head := file.read(_LENGTH.size):
        (length,) = _LENGTH.unpack(head)
        yield common_pb2.NamedValue.FromString(file.read(length))
