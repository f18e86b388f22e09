"""A directory to write to, on a local disk or on anything that fsspec knows.

Names are relative to the directory and may contain slashes. Foreign errors leave as they are:
``writing`` turns them into failures.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

from disco_engine.inputs.urls import failed, filesystem, local_path, reason_of
from disco_engine.program import OutputCompleteError, ProgramError


class Directory(Protocol):
    """What the output needs of storage."""

    url: str
    """As given, or the absolute path."""

    def names(self) -> list[str]:
        """Return what is directly in it, sorted; nothing if it does not exist.

        Raises:
            NotADirectoryError: It is a file.
        """
        ...

    def make(self) -> bool:
        """Make it, and what it is in; return whether it was not there before."""
        ...

    def create(self, name: str, data: bytes) -> None:
        """Write a new file.

        Raises:
            FileExistsError: It is there. Object stores cannot tell when two ask at once.
        """
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open a new file for writing, without a buffer if it is local."""
        ...

    def discard(self, file: IO[bytes], name: str) -> None:
        """Give up a file that may still be open, and remove it."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if it is not there."""
        ...

    def exists(self, name: str) -> bool:
        """Tell whether there is a file or directory of that name."""
        ...

    def move(self, source: str, target: str) -> bool:
        """Rename a file, over another if need be; return whether there was one."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, or a directory with all that is in it, if it is there."""
        ...

    def remove_if_empty(self, name: str = "") -> None:
        """Remove a directory (this one, without a name) that nothing is in."""
        ...


def directory_of(url: str) -> Directory:
    """Return the directory that *url* names; it need not exist.

    Raises:
        ProgramError: FATAL: nobody knows the scheme, or its package is not installed.
    """
    path = local_path(url)
    return _Local(path) if path is not None else _Remote(url)


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Turn what storage raises in the block into USER failures that name *place*.

    They count as attempts: another node may have more disk, a service may come back.
    """
    try:
        yield
    except (OutputCompleteError, ProgramError, MemoryError):
        raise
    except Exception as error:  # each kind of storage has errors of its own
        raise failed(f"cannot write {place}: {reason_of(error)}{_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space there, or choose another output"
    if isinstance(error, PermissionError):
        return "; let the workers' user write there, or choose another output"
    return ""


class _Local:
    """A directory on a disk of this machine, or mounted here."""

    def __init__(self, path: str) -> None:
        self.url = path

    def names(self) -> list[str]:
        try:
            return sorted(os.listdir(self.url))
        except FileNotFoundError:
            return []

    def make(self) -> bool:
        os.makedirs(os.path.dirname(self.url), exist_ok=True)
        try:
            os.mkdir(self.url)
        except FileExistsError:
            return False
        return True

    def create(self, name: str, data: bytes) -> None:
        path = self._path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)

    def open(self, name: str) -> IO[bytes]:
        # The directory is not made here: when it is gone the job has ended.
        return open(self._path(name), "wb", buffering=0)

    def discard(self, file: IO[bytes], name: str) -> None:
        with contextlib.suppress(OSError):  # closing flushes, to a disk that may be full
            file.close()
        self.remove(name)

    def read(self, name: str) -> bytes | None:
        try:
            with open(self._path(name), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        return os.path.exists(self._path(name))

    def move(self, source: str, target: str) -> bool:
        try:
            os.replace(self._path(source), self._path(target))
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        path = self._path(name)
        if os.path.isdir(path):
            import shutil

            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.remove(path)

    def remove_if_empty(self, name: str = "") -> None:
        with contextlib.suppress(OSError):
            os.rmdir(self._path(name))

    def _path(self, name: str) -> str:
        return os.path.join(self.url, name) if name else self.url


class _Remote:
    """A directory, or a prefix, in storage that fsspec knows."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = filesystem(self.url)

    def names(self) -> list[str]:
        self._fs.invalidate_cache()  # other processes write here
        try:
            entries = self._fs.ls(self._root, detail=True)
        except FileNotFoundError:
            return []
        if [entry["name"] for entry in entries] == [self._root] and entries[0]["type"] == "file":
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", self.url)
        # Object stores may list the prefix itself.
        return sorted(
            {entry["name"].rstrip("/")[len(self._root) + 1 :] for entry in entries} - {""}
        )

    def make(self) -> bool:
        if self._fs.exists(self._root):
            return False
        self._fs.makedirs(self._root, exist_ok=True)
        return True

    def create(self, name: str, data: bytes) -> None:
        path = self._path(name)
        if self._fs.exists(path):
            raise FileExistsError(errno.EEXIST, "File exists", path)
        self._fs.makedirs(self._fs._parent(path), exist_ok=True)
        self._fs.pipe_file(path, data)

    def open(self, name: str) -> IO[bytes]:
        file: IO[bytes] = self._fs.open(self._path(name), "wb")
        return file

    def discard(self, file: IO[bytes], name: str) -> None:
        try:
            file.close()
        except Exception:  # the reason why it is given up; or one more
            discard: Any = getattr(file, "discard", None)
            if discard is not None:  # else an object store keeps (and bills) what was uploaded
                with contextlib.suppress(Exception):
                    discard()
        self.remove(name)

    def read(self, name: str) -> bytes | None:
        try:
            data: bytes = self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        return data

    def exists(self, name: str) -> bool:
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._path(name)))

    def move(self, source: str, target: str) -> bool:
        try:
            self._fs.mv(self._path(source), self._path(target))
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._path(name), recursive=True)

    def remove_if_empty(self, name: str = "") -> None:
        # Object stores have no directories; and what fails here is a directory that is not empty.
        with contextlib.suppress(Exception):
            self._fs.rmdir(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root
