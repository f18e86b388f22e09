"""Talking HTTP and opening files, as programs for Disco do it beside their jobs.

Jobs open their inputs with ``disco.schemes``, which knows more.
"""

import base64
import io
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from http.client import HTTPException, HTTPResponse
from typing import IO, Any

from disco.error import CommError
from disco.iterables import iterify
from disco.urls import schemesplit, urltoken

BUFFER_SIZE = 1024 * 1024
CHUNK_SIZE = 10 * 1024 * 1024
_ATTEMPTS = 10
_SILENCE_S = 120
_UNAVAILABLE = 503


def request(
    method: str,
    url: str,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    sleep: int = 0,
) -> HTTPResponse:
    """Return the answer to an HTTP request, whose body is still to be read.

    A server that cannot be reached, or has no time (503), is asked again after a while, up to ten
    times, and minutes, in all.

    Args:
        method: Such as "GET".
        url: ``http://`` or ``https://``; redirections are followed.
        data: The request's body.
        headers: Of the request.
        sleep: How many attempts count as made.

    Raises:
        CommError: There is no answer, or another than success; its code is the answer's.
    """
    asked = urllib.request.Request(url, data, dict(headers or {}), method=method)
    for attempt in range(sleep, _ATTEMPTS):
        try:
            response: HTTPResponse = urllib.request.urlopen(asked, timeout=_SILENCE_S)
            return response
        except urllib.error.HTTPError as error:
            with error:
                failure = CommError(error.read().decode(errors="replace"), url, error.code)
            if error.code != _UNAVAILABLE:
                raise failure from error
        except (OSError, HTTPException, ValueError) as error:
            failure = CommError(str(getattr(error, "reason", error)), url)
            if isinstance(error, ValueError):  # no URL at all
                raise failure from error
        if attempt < _ATTEMPTS - 1:
            time.sleep(random.randint(1, 2**attempt))
    raise failure


def range_header(offset: Any) -> dict[str, str]:
    """Return the header that asks for the bytes from *offset*, or from one to another."""
    if not offset:
        return {}
    first, *last = iterify(offset)
    return {"Range": f"bytes={first}-{last[0] if last else ''}"}


def auth_header(token: str | None) -> dict[str, str]:
    """Return the header that shows a token."""
    if token is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"token:{token}".encode()).decode()}


def download(
    url: str,
    method: str = "GET",
    data: bytes | None = None,
    offset: Any = (),
    token: str | None = None,
    sleep: int = 0,
) -> bytes:
    """Return the body of what *url* answers; with *data* the request is a POST."""
    headers = {**range_header(offset), **auth_header(token)}
    method = method if data is None else "POST"
    with request(method, url, data, headers, sleep) as response:
        return response.read()


def upload(urls: Iterable[str], source: Any, token: str | None = None) -> list[bytes]:
    """PUT a file, or the file at a path, to each of *urls*, and return the answers."""
    data = source.read() if hasattr(source, "read") else _content_of(source)
    answers = []
    for url in urls:
        with request("PUT", url, data, auth_header(token)) as response:
            answers.append(response.read())
    return answers


def _content_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class File(io.BufferedReader):
    """A local file that knows its length and its URL."""

    def __init__(self, path: str, buffer_size: int = BUFFER_SIZE) -> None:
        super().__init__(io.FileIO(path), buffer_size)

    def __len__(self) -> int:
        return os.fstat(self.fileno()).st_size

    def __bool__(self) -> bool:
        return True  # also one that is empty

    @property
    def url(self) -> str:
        """``file://PATH``."""
        return f"file://{self.raw.name}"  # type: ignore[attr-defined]


def open_local(path: str) -> File:
    """Return a local file, open."""
    return File(path)


def open_remote(url: str, token: str | None = None) -> IO[bytes]:
    """Return the content of *url*, open; with a token it is asked for with ``Authorization``."""
    return Connection(url, token)


def open_url(url: str, token: str | None = None) -> IO[bytes]:
    """Return the content of *url*, or of a path, open."""
    scheme, rest = schemesplit(url)
    return open_local(rest) if scheme in ("", "file") else open_remote(url, token)


class Connection(io.BufferedReader):
    """What an HTTP server has at a URL, as a file that is fetched in parts.

    A server that knows nothing of parts sends all of it at once.

    Raises:
        CommError: When it is opened already, if there is nothing.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._parts = _Parts(url, urltoken(url) if token is None else token)
        super().__init__(self._parts, BUFFER_SIZE)
        self.url = url
        self.peek(1)

    def __len__(self) -> int:
        return self._parts.length or 0

    def __bool__(self) -> bool:
        return True


class _Parts(io.RawIOBase):
    def __init__(self, url: str, token: str | None) -> None:
        self.length: int | None = None
        self._url = url
        self._headers = auth_header(token)
        self._position = 0
        self._part = b""
        self._start = 0  # of the part

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END and self.length is None:
            raise io.UnsupportedOperation(f"{self._url} does not tell its length")
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.length or 0}
        self._position = max(0, base[whence] + position)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        inside = self._position - self._start
        if not 0 <= inside < len(self._part):
            if self.length is not None and self._position >= self.length:
                return 0
            self._fetch()
            inside = self._position - self._start
        data = self._part[inside : inside + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fetch(self) -> None:
        wanted = range_header((self._position, self._position + CHUNK_SIZE - 1))
        try:
            with request("GET", self._url, None, {**self._headers, **wanted}) as response:
                self._part = response.read()
                whole = response.headers.get("Content-Range", "").rpartition("/")[2]
        except CommError as error:
            if error.code != 416:  # nothing is left
                raise
            self._part, self.length = b"", self._position
            return
        if response.status == 206:
            self._start = self._position
            self.length = int(whole) if whole.isdigit() else None
        else:
            self._start = 0
            self.length = len(self._part)
