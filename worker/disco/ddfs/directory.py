"""A root that is a directory: of this machine, or of a file system that it has mounted.

    tag/, blob/HH/, gc/, root.json   what there is
    tmp/                             files that are being written: each becomes one of those above
    lock/                            files that are only there to be locked

A writer fills a file in ``tmp/``, has it on the disk, then renames it. A change of a tag happens
under a lock (flock) that the kernel takes away when its process dies.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from disco.ddfs.stores import Stored, Versioned

_LOCKS = 64
_COPY_BYTES = 1024 * 1024


class DirectoryStore:
    """Implements Store in a directory, which is made when something is first written."""

    atomic = True

    def __init__(self, path: str) -> None:
        self.url = path
        self._root = Path(path)

    def read(self, name: str) -> Versioned | None:
        """Return a small file, or None if it is not there."""
        try:
            data = (self._root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Versioned(data, _version(data))

    def swap(self, name: str, data: bytes, expected: str | None) -> bool:
        """Write a small file if it still is what it was."""
        with self._locked(name):
            current = self.read(name)
            if (None if current is None else current.version) != expected:
                return False
            with self._temporary() as file:
                file.write(data)
                self._publish(file, name)
        return True

    def write(self, name: str, source: IO[bytes]) -> None:
        """Write a file of any size, as a whole or not at all."""
        with self._temporary() as file:
            shutil.copyfileobj(source, file, _COPY_BYTES)
            self._publish(file, name)

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        return open(self._root / name, "rb")

    def exists(self, name: str) -> bool:
        """Tell whether there is such a file."""
        return (self._root / name).exists()

    def names(self, prefix: str) -> Iterator[Stored]:
        """Yield the files whose names begin with *prefix*."""
        start, _, _ = prefix.rpartition("/")
        yield from self._below(self._root / start, prefix)

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is fine."""
        # Locked, so that no change that has begun brings it back.
        with self._locked(name):
            (self._root / name).unlink(missing_ok=True)
            _sync(self._root / os.path.dirname(name))

    def url_of(self, name: str) -> str:
        """Return the URL by which anybody can read a file."""
        return f"{self.url}/{name}"

    def _below(self, directory: Path, prefix: str) -> Iterator[Stored]:
        try:
            entries = list(os.scandir(directory))
        except FileNotFoundError:
            return
        for entry in entries:
            name = Path(entry.path).relative_to(self._root).as_posix()
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(Path(entry.path), prefix)
            elif name.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):  # removed since
                    yield Stored(name, entry.stat().st_size)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=2).digest()) % _LOCKS
        directory = self._root / "lock"
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / f"{number:02}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _temporary(self) -> Iterator[IO[bytes]]:
        """Give a new file in ``tmp/``, which is removed if it has not been published."""
        path = self._root / "tmp" / secrets.token_hex(16)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "xb") as file:
                yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _publish(self, file: IO[bytes], name: str) -> None:
        """Give a complete file its name, once it is on the disk."""
        file.flush()
        os.fsync(file.fileno())
        target = self._root / name
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            _sync(target.parent.parent)
        os.replace(file.name, target)
        _sync(target.parent)


def _sync(directory: Path) -> None:
    """Have the names in *directory* on the disk."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _version(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
