"""Roots in object stores, through fsspec."""

import contextlib
import logging
import secrets
import threading
from collections.abc import Iterator
from typing import IO, Any

from disco.ddfs.names import Digest
from disco.ddfs.stores import Stored, Versioned
from disco_engine.inputs.urls import filesystem

log = logging.getLogger(__name__)

_PART_BYTES = 16 * 1024 * 1024
"""What is uploaded at a time. S3 takes 10,000 parts: a blob may have 160 GB."""


class FsspecStore:
    """Implements Store in anything that fsspec can list, read and write.

    ``swap`` looks and then writes: of two changes at the same moment, one may be lost.
    """

    atomic = False

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, root = filesystem(self.url)
        self._root = root.rstrip("/")
        self._warned = False

    def read(self, name: str) -> Versioned | None:
        """Return a small file, or None if it is not there."""
        try:
            data: bytes = self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        return Versioned(data, Digest(data).hexdigest())

    def swap(self, name: str, data: bytes, expected: str | None) -> bool:
        """Write a small file if it still is what it was."""
        self._warn()
        current = self.read(name)
        if (None if current is None else current.version) != expected:
            return False
        self._fs.makedirs(self._fs._parent(self._path(name)), exist_ok=True)
        self._fs.pipe_file(self._path(name), data)
        return True

    def write(self, name: str, source: IO[bytes]) -> None:
        """Write a file of any size, as a whole or not at all."""
        path = self._path(name)
        self._fs.makedirs(self._fs._parent(path), exist_ok=True)
        file: Any = self._fs.open(path, "wb", block_size=_PART_BYTES)
        try:
            while data := source.read(_PART_BYTES):
                file.write(data)
        except BaseException:
            discard: Any = getattr(file, "discard", None)
            if discard is not None:  # else the store keeps, and bills, the parts it has
                with contextlib.suppress(Exception):
                    discard()
            with contextlib.suppress(AttributeError):
                file.closed = True  # or it completes what it has when it is collected
            with contextlib.suppress(Exception):
                self.remove(name)  # some stores show files that are not complete
            raise
        file.close()

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        path = self._path(name)
        self._fs.info(path)  # fsspec opens what does not exist
        file: IO[bytes] = self._fs.open(path, "rb")
        return file

    def exists(self, name: str) -> bool:
        """Tell whether there is such a file."""
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._path(name)))

    def names(self, prefix: str) -> Iterator[Stored]:
        """Yield the files whose names begin with *prefix*."""
        self._fs.invalidate_cache()
        start, _, _ = prefix.rpartition("/")
        try:
            found = self._fs.find(self._path(start), detail=True)
        except FileNotFoundError:
            return
        for path, entry in found.items():
            name = path[len(self._root) + 1 :]
            if name.startswith(prefix):
                yield Stored(name, int(entry.get("size") or 0))

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is fine."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def url_of(self, name: str) -> str:
        """Return the URL by which anybody can read a file."""
        return f"{self.url}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "this storage cannot compare and write in one step: of two changes of a tag at the"
                " same moment, one may be lost; let one process at a time change tags here",
                extra={"root": self.url},
            )


class S3Store(FsspecStore):
    """Implements Store in a bucket: changes of tags carry If-Match or If-None-Match.

    Servers that ignore these headers exist. The first change finds out, and then the promise is
    that of FsspecStore.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._lock = threading.Lock()
        self._honours: bool | None = None

    @property
    def atomic(self) -> bool:  # type: ignore[override] # here it must be found out
        """The server honours conditions; asked for the first time, it is tried."""
        with self._lock:
            if self._honours is None:
                self._honours = self._try_conditions()
            return self._honours

    def read(self, name: str) -> Versioned | None:
        """Return a small file, or None if it is not there."""
        from fsspec.asyn import sync

        # The content and its version must come from one answer.
        try:
            data, etag = sync(self._fs.loop, self._get, name)
        except FileNotFoundError:
            return None
        return Versioned(data, etag)

    def swap(self, name: str, data: bytes, expected: str | None) -> bool:
        """Write a small file if it still is what it was."""
        if not self.atomic:
            return super().swap(name, data, expected)
        return self._put(name, data, expected)

    def names(self, prefix: str) -> Iterator[Stored]:
        """Yield the files whose names begin with *prefix*."""
        self._fs.invalidate_cache()
        start, _, last = prefix.rpartition("/")
        # The server selects: a bucket may have many more tags than are wanted.
        found = self._fs.find(self._path(start), detail=True, prefix=last)
        for path, entry in found.items():
            yield Stored(path[len(self._root) + 1 :], int(entry.get("size") or 0))

    async def _get(self, name: str) -> tuple[bytes, str]:
        bucket, key, _ = self._fs.split_path(self._path(name))
        answer = await self._fs._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            return await body.read(), answer["ETag"]

    def _put(self, name: str, data: bytes, expected: str | None) -> bool:
        """Write if the version is still *expected*; return whether it was."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        bucket, key, _ = self._fs.split_path(self._path(name))
        try:
            self._fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
        except Exception as error:
            if _is_refused(error, expected):
                return False
            raise
        self._fs.invalidate_cache(self._path(name))
        return True

    def _try_conditions(self) -> bool:
        """Tell whether the server honours both conditions; it is asked to break each once."""
        name = f"tmp/conditions-{secrets.token_hex(8)}"
        try:
            self._fs.pipe_file(self._path(name), b"")
            return not self._put(name, b"1", None) and not self._put(name, b"2", '"0"')
        finally:
            with contextlib.suppress(Exception):
                self.remove(name)


def _is_refused(error: Exception, expected: str | None) -> bool:
    """Tell whether S3 says that a condition does not hold, or that two writers met."""
    if isinstance(error, FileNotFoundError):
        return expected is not None  # the file is gone; else it is the bucket that is missing
    source = error if hasattr(error, "response") else error.__cause__
    status = getattr(source, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return isinstance(error, FileExistsError) or status in (409, 412)
