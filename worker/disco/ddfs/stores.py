"""Where tags and blobs are: what DDFS needs of storage.

In a directory and in an object store a file is there as a whole or not at all, whenever a process
dies. ``swap`` is what tags are changed with; whether it really compares, ``atomic`` tells:

    a directory             atomic: a lock that dies with its process, then a rename
    S3 and its like         atomic if the server honours If-Match and If-None-Match, which is tried
    any other fsspec store  not atomic: of two changes at the same moment, one may be lost
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, Protocol

from disco.error import CommError, DiscoError
from disco_engine.inputs.urls import reason_of


class Versioned(NamedTuple):
    """The content of a small file, and what ``swap`` knows this version of it by."""

    data: bytes
    version: str


class Stored(NamedTuple):
    """A file that is there: its name below the root, and its size in bytes."""

    name: str
    size: int


class Store(Protocol):
    """A root of DDFS. Names have "/" between their parts and no "." or ".." among them."""

    @property
    def url(self) -> str:
        """The root, as fsspec opens it."""
        ...

    @property
    def atomic(self) -> bool:
        """``swap`` compares and writes in one step."""
        ...

    def read(self, name: str) -> Versioned | None:
        """Return a small file, or None if it is not there."""
        ...

    def swap(self, name: str, data: bytes, expected: str | None) -> bool:
        """Write a small file if it still is what it was; return whether it was written.

        An answer that got lost may make this return False although it wrote: look again.

        Args:
            name: Of the file.
            data: The new content.
            expected: The version that is replaced; None: there is no such file.
        """
        ...

    def write(self, name: str, source: IO[bytes]) -> None:
        """Write a file of any size, as a whole or not at all.

        Raises:
            OSError: The storage fails, for instance because it is full.
        """
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading.

        Raises:
            FileNotFoundError: It is not there.
        """
        ...

    def exists(self, name: str) -> bool:
        """Tell whether there is such a file."""
        ...

    def names(self, prefix: str) -> Iterator[Stored]:
        """Yield the files whose names begin with *prefix*, up to a "/" at least, in any order."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is fine."""
        ...

    def url_of(self, name: str) -> str:
        """Return the URL by which anybody can read a file."""
        ...


@contextmanager
def storing(place: str) -> Iterator[None]:
    """Turn what storage raises in the block into a CommError that names *place*."""
    try:
        yield
    except (DiscoError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise CommError(f"there is no such file: {reason_of(error)}", place, 404) from error
    except PermissionError as error:
        raise CommError(
            f"the storage refuses: {reason_of(error)}; give this user, or its credentials, the "
            "right to do that",
            place,
            403,
        ) from error
    except Exception as error:  # each kind of storage has errors of its own
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "; free some space there, or choose another root (DISCO_DDFS)" if full else ""
        raise CommError(
            f"the storage fails: {reason_of(error)}{remedy}", place, 507 if full else None
        ) from error
