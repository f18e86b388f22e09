"""Uploaded code in storage that fsspec knows: a directory, or a prefix of an object store.

A namespace has a directory, and a piece of code two files in it: ``SHA256.code``, and
``SHA256.asked`` with the time when somebody last asked for it, because object stores cannot change
the time of a file. The second is written first, so that no code is ever without.
"""

import asyncio
import contextlib
import errno
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from disco_engine.core.settings import MIB
from disco_gateway.errors import OverloadedError, UnavailableError

_log = logging.getLogger(__name__)

MAX_BYTES = 64 * MIB
TTL_S = 3_600.0
SWEEP_S = 600.0

_CODE, _ASKED, _PART = ".code", ".asked", ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FsspecCodeStore:
    """A ``CodeStore`` below a URL; any number of replicas may share it.

    Args:
        url: A directory, or any URL that fsspec knows.
        max_bytes: The most that one upload may have.
        ttl_s: What was not asked for in so many seconds is removed.
        clock: Seconds since 1970: replicas compare it.
    """

    def __init__(
        self,
        url: str,
        *,
        max_bytes: int = MAX_BYTES,
        ttl_s: float = TTL_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock

    @property
    def max_bytes(self) -> int:
        """The most that one upload may have."""
        return self._max_bytes

    async def has(self, namespace: str, sha256: str) -> bool:
        """Return whether the code is there; then it stays for long enough to submit a job.

        Raises:
            UnavailableError: The storage does not answer.
        """
        return await asyncio.to_thread(self._has, namespace, sha256)

    async def put(self, namespace: str, sha256: str, code: bytes) -> None:
        """Keep code whose digest was checked.

        Raises:
            UnavailableError: The storage does not answer.
            OverloadedError: It is full.
        """
        await asyncio.to_thread(self._put, namespace, sha256, code)

    async def read(self, namespace: str, sha256: str) -> bytes | None:
        """Return the code; None: it is not there, or not what its digest says, and removed.

        Raises:
            UnavailableError: The storage does not answer.
        """
        return await asyncio.to_thread(self._read, namespace, sha256)

    async def sweep(self) -> int:
        """Remove what was not asked for in a while, and return how many files that were.

        Raises:
            UnavailableError: The storage does not answer.
        """
        return await asyncio.to_thread(self._sweep)

    async def keep_swept(self, *, every_s: float = SWEEP_S) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            try:
                if removed := await self.sweep():
                    _log.info("uploaded code removed", extra={"files": removed})
            except UnavailableError as error:
                _log.warning("uploaded code not looked at", extra={"error": str(error)})
            await asyncio.sleep(every_s)

    def _has(self, namespace: str, sha256: str) -> bool:
        with _storage():
            if self._content(self._path(namespace, sha256, _ASKED)) is None:
                return False
            self._fs.invalidate_cache()  # other replicas write here
            if not self._fs.exists(self._path(namespace, sha256, _CODE)):
                return False
            self._ask(namespace, sha256)
            return True

    def _put(self, namespace: str, sha256: str, code: bytes) -> None:
        with _storage():
            self._fs.makedirs(f"{self._root}/{namespace}", exist_ok=True)
            self._ask(namespace, sha256)
            self._write(self._path(namespace, sha256, _CODE), code)

    def _read(self, namespace: str, sha256: str) -> bytes | None:
        with _storage():
            path = self._path(namespace, sha256, _CODE)
            code = self._content(path)
            if code is None:
                return None
            if hashlib.sha256(code).hexdigest() != sha256:
                _log.error("uploaded code is damaged, and removed", extra={"path": path})
                self._remove(path)  # else it could never be uploaded again
                return None
            self._ask(namespace, sha256)
            return code

    def _sweep(self) -> int:
        with _storage():
            self._fs.invalidate_cache()
            removed = 0
            for path in self._fs.find(self._root):
                stem, dot, suffix = path.rpartition(".")
                if dot + suffix == _PART and self._is_old(stem.rpartition(".")[2]):
                    removed += self._remove(path)
                elif dot + suffix == _ASKED and self._is_old(self._content(path)):
                    removed += self._remove(stem + _CODE) + self._remove(path)
            return removed

    def _is_old(self, asked: bytes | str | None) -> bool:
        try:
            return float(asked or 0) + self._ttl_s < self._clock()
        except ValueError:  # another replica is writing it
            return False

    def _ask(self, namespace: str, sha256: str) -> None:
        """Note that somebody has asked, so that it stays."""
        self._write(self._path(namespace, sha256, _ASKED), f"{self._clock():.0f}".encode())

    def _write(self, path: str, content: bytes) -> None:
        """Write a file that is there as a whole, or not at all."""
        if not isinstance(self._fs, LocalFileSystem):
            self._fs.pipe_file(path, content)  # so are the objects of object stores
            return
        part = f"{path}.{secrets.token_hex(8)}.{self._clock():.0f}{_PART}"
        try:
            self._fs.pipe_file(part, content)
            self._fs.mv(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                self._remove(part)
            raise

    def _content(self, path: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            content: bytes = self._fs.cat_file(path)
            return content
        return None

    def _remove(self, path: str) -> int:
        """Remove a file, and return whether it was there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(path)
            return 1
        return 0

    def _path(self, namespace: str, sha256: str, suffix: str) -> str:
        return f"{self._root}/{namespace}/{sha256}{suffix}"


@contextmanager
def _storage() -> Iterator[None]:
    """Turn what storage raises in the block into what callers may hear: no paths, no hosts."""
    try:
        yield
    except Exception as error:  # each kind of storage has errors of its own
        if isinstance(error, OSError) and error.errno in _FULL:
            raise OverloadedError("the code store is full", retry_after_s=60.0) from error
        _log.warning("code store does not work", exc_info=error)
        raise UnavailableError("the code store does not work now", retry_after_s=5.0) from error
