"""Files as Disco writes them: streams and chunks of records, files that appear whole, ZIPs."""

import io
import os
import zipfile
from collections.abc import Collection, Iterator
from inspect import getmodule, getsourcefile
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from disco.ddfs.chunks import CHUNK_SIZE, HUNK_SIZE, MAX_RECORD_SIZE, MB, Chunker
from disco.ddfs.chunks import DiscoOutputStream as DiscoOutputStream_v1
from disco.error import DataError

__all__ = [
    "CHUNK_SIZE",
    "HUNK_SIZE",
    "MAX_RECORD_SIZE",
    "MB",
    "MIN_DISK_SPACE",
    "AtomicFile",
    "Chunker",
    "DiscoOutput",
    "DiscoOutputStream",
    "DiscoOutputStream_v0",
    "DiscoOutputStream_v1",
    "DiscoZipFile",
    "Wait",
    "ensure_free_space",
    "ensure_path",
    "files",
    "sync",
]

MIN_DISK_SPACE = MB


class DiscoOutputStream_v0:
    """Writes pairs of texts in the oldest format: ``length key length value`` per line."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream

    def add(self, key: Any, value: Any) -> None:
        """Write a pair; what is not bytes is written as its text."""
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in (key, value)]
        self.stream.write(b" ".join(b"%d %s" % (len(part), part) for part in parts) + b"\n")

    def close(self) -> None:
        """Do nothing: the format has no end."""


def DiscoOutputStream(stream: IO[bytes], version: int = -1, **options: Any) -> Any:
    """Return a writer of records into *stream*: of format 0, or else of the newest, 1."""
    return DiscoOutputStream_v0(stream) if version == 0 else DiscoOutputStream_v1(stream, **options)


class AtomicFile(io.BufferedWriter):
    """A file that has its name only once it is complete and on disk.

    One that is never closed, or left by an exception, never has it.

    Raises:
        DataError: The disk is nearly full.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.partial = f"{path}.partial"
        directory = os.path.dirname(self.path) or "."
        ensure_path(directory)
        ensure_free_space(directory)
        super().__init__(io.FileIO(self.partial, "w"))

    def close(self) -> None:
        """Give the file its name."""
        if not self.closed:
            sync(self)
            super().close()
            os.replace(self.partial, self.path)

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is None:
            self.close()
        else:
            super().close()

    def __del__(self) -> None:
        super().close()

    def size(self) -> int:
        """Return the bytes of the file that was closed."""
        return os.path.getsize(self.path)


class DiscoOutput(DiscoOutputStream_v1):
    """A file of records that has its name only once it is complete."""

    def __init__(self, path: str) -> None:
        self._file = AtomicFile(path)
        super().__init__(self._file)

    def close(self) -> None:
        """Write the end, and give the file its name."""
        super().close()
        self._file.close()


class DiscoZipFile(zipfile.ZipFile):
    """A ZIP in memory."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        super().__init__(self.buffer, "w", zipfile.ZIP_DEFLATED)

    def writepath(self, pathname: str, exclude: Collection[str] = ()) -> None:
        """Add a file, or those of a directory but for some extensions; each as its whole path."""
        for file in files(pathname):
            if os.path.splitext(file)[1] not in exclude:
                self.write(file, file.lstrip("/"))

    def writemodule(self, module: ModuleType | str, arcname: str | None = None) -> None:
        """Add the source of a module."""
        self.write(_source_of(__import__(module) if isinstance(module, str) else module), arcname)

    def writesource(self, thing: object) -> None:
        """Add the source of the module that defines *thing*."""
        self.writepath(_source_of(getmodule(thing)))

    def dump(self, handle: IO[bytes]) -> None:
        """Write the ZIP, which must have been closed, into a file."""
        handle.write(self.dumps())

    def dumps(self) -> bytes:
        """Return the bytes of the ZIP, which must have been closed."""
        return self.buffer.getvalue()


def _source_of(module: Any) -> str:
    path = getsourcefile(module) if module is not None else None
    if path is None:
        raise DataError("there is no source file", repr(module))
    return path


class Wait(Exception):
    """Reading would block.

    Attributes:
        retry_after: Seconds after which to try again.
    """

    retry_after: float = 1

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__(retry_after)
        if retry_after is not None:
            self.retry_after = retry_after


def sync(file: Any) -> None:
    """Have what was written to *file* on disk."""
    file.flush()
    os.fsync(file.fileno())


def ensure_path(path: str) -> None:
    """Make a directory and those above it, if they are not there."""
    os.makedirs(path, exist_ok=True)


def ensure_free_space(path: str) -> None:
    """Refuse to begin a file on a disk that is nearly full.

    Raises:
        DataError: It has less than ``MIN_DISK_SPACE`` bytes left.
    """
    disk = os.statvfs(path)
    free = disk.f_bsize * disk.f_bavail
    if free < MIN_DISK_SPACE:
        raise DataError(f"only {free // 1024} kB of disk space are left", path)


def files(path: str) -> Iterator[str]:
    """Yield the files below a directory, or the file itself."""
    if not os.path.isdir(path):
        yield path
        return
    for directory, _, names in os.walk(path):
        for name in names:
            yield os.path.join(directory, name)
