"""A file that only grows, and in which a failed write leaves no trace."""

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

_log = logging.getLogger(__name__)

_PARTS_PER_WRITE = os.sysconf("SC_IOV_MAX")
_PAGE_BYTES = 4096  # what a kernel reads of a disk at least
_UNREADABLE = frozenset({errno.EIO, errno.EBADMSG})  # the medium's, and a file system's checksum

Part = bytes | bytearray


class AppendFile:
    """Append with large writes, read anywhere. Calls block: make them in a thread.

    One thread may append at a time; any number may read what was appended before.

    Attributes:
        path: Where the file is.
        end: How many bytes it holds.
    """

    def __init__(self, path: Path) -> None:
        """Open *path* to append behind what it holds, or create it."""
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.end = os.fstat(self._fd).st_size
        self._users = 1  # whoever opened it; every stream that reads it is another
        self._torn = False
        self._damaged = False  # which has been told

    def append(self, parts: Sequence[Part]) -> int:
        """Write *parts* one behind the other and return the position of the first.

        Raises:
            OSError: Nothing of them is in the file; the same call may work later.
        """
        if self._torn:
            self.truncate(self.end)
        start = at = self.end
        self._torn = True
        try:
            for first in range(0, len(parts), _PARTS_PER_WRITE):
                at = self._write(parts[first : first + _PARTS_PER_WRITE], at)
        except OSError:
            # Recovery must not find here what will be written elsewhere later. Should this fail
            # too, the next append does it first.
            self.truncate(start)
            raise
        self._torn = False
        self.end = at
        return start

    def _write(self, parts: Sequence[Part], at: int) -> int:
        end = at + sum(map(len, parts))
        at += os.pwritev(self._fd, parts, at)
        if at < end:  # the disk is nearly full, or it was more than the 2 GiB of one system call
            rest = memoryview(b"".join(parts))[at - end :]
            while rest:
                written = os.pwrite(self._fd, rest, at)
                at += written
                rest = rest[written:]
        return at

    def truncate(self, end: int) -> None:
        """Forget everything from *end* on."""
        os.ftruncate(self._fd, end)
        self.end = end
        self._torn = False

    def read(self, start: int, size: int) -> bytes:
        """Return *size* bytes from *start*, fewer only if the file ends before.

        What the disk cannot read comes as zeros, page by page: whoever checks what he has read
        finds that it is damaged, and what is beside it can be used.
        """
        try:
            return self._read(start, size)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            if not self._damaged:
                _log.error(
                    "the disk cannot read a part of a file",
                    extra={"path": str(self.path), "at": start, "bytes": size, "error": str(error)},
                )
            self._damaged = True
        first, end = start - start % _PAGE_BYTES + _PAGE_BYTES, start + size
        pages = []
        for at, behind in pairwise((start, *range(first, end, _PAGE_BYTES), end)):
            pages.append(self._page(at, behind - at))
            if len(pages[-1]) < behind - at:
                break
        return b"".join(pages)

    def _page(self, start: int, size: int) -> bytes:
        try:
            return self._read(start, size)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            return bytes(size)

    def _read(self, start: int, size: int) -> bytes:
        data = self._pread(start, size)
        while 0 < len(data) < size:
            more = self._pread(start + len(data), size - len(data))
            if not more:
                break
            data += more
        return data

    def _pread(self, start: int, size: int) -> bytes:
        return os.pread(self._fd, size, start)

    def size_on_disk(self) -> int:
        """Return how many bytes the file really has: fewer than ``end`` if somebody cut it."""
        return os.fstat(self._fd).st_size

    def fileno(self) -> int:
        """Return the descriptor, for locks."""
        return self._fd

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the descriptor open until the block ends, even if ``close`` is called meanwhile."""
        self._users += 1
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """Close the descriptor, as soon as nobody uses it."""
        self._users -= 1
        if self._users == 0:
            os.close(self._fd)
