"""Storage to read from: web servers with and without ranges, memory, and one that breaks off."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem


class _Plain(SimpleHTTPRequestHandler):
    """Python's own server: it ignores Range."""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with suppress(ConnectionError):  # the reader had enough
            super().copyfile(source, outputfile)


class _Ranged(_Plain):
    """Serves "bytes=A-" and "bytes=A-B"."""

    def send_head(self) -> Any:
        wanted = self.headers.get("Range")
        path = self.translate_path(self.path)
        if wanted is None or not os.path.isfile(path):
            return super().send_head()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        data = Path(path).read_bytes()
        start, end = int(first), min(int(last or len(data)) + 1, len(data))
        if start >= len(data):
            self.send_error(416)
            return None
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        return io.BytesIO(data[start:end])


class _Breaking(_Plain):
    """Promises the whole file, and closes the connection in the middle of it."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        data = source.read()
        outputfile.write(data[: len(data) // 2])


@contextmanager
def _served(handler: type[_Plain], directory: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(directory)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[str]:
    with _served(_Plain, tmp_path) as url:
        yield url


@pytest.fixture
def ranged_server(tmp_path: Path) -> Iterator[str]:
    with _served(_Ranged, tmp_path) as url:
        yield url


@pytest.fixture
def breaking_server(tmp_path: Path) -> Iterator[str]:
    with _served(_Breaking, tmp_path) as url:
        yield url


@pytest.fixture
def memory() -> Iterator[Callable[[str, bytes], str]]:
    """Stores bytes under a path, and returns the URL."""

    def store(path: str, data: bytes) -> str:
        fsspec.filesystem("memory").pipe_file(path, data)
        return f"memory://{path}"

    MemoryFileSystem.store.clear()
    yield store
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


class _BreaksOff(io.BytesIO):
    def __init__(self, data: bytes, good: int) -> None:
        super().__init__(data)
        self._good = good

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        if start >= self._good < len(self.getbuffer()):
            raise ConnectionResetError(104, "Connection reset by peer")
        data = super().read(size)
        self.seek(min(self.tell(), self._good))
        return data[: self._good - start]


class FlakyFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]  # untyped
    """Files whose reading fails after some bytes: flaky://NAME."""

    protocol = "flaky"
    files: ClassVar[dict[str, tuple[bytes, int]]] = {}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if name not in self.files:
            raise FileNotFoundError(path)
        return {"name": name, "type": "file", "size": len(self.files[name][0])}

    def open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        return _BreaksOff(*self.files[self._strip_protocol(path)])


@pytest.fixture
def flaky() -> Iterator[Callable[[str, bytes, int], str]]:
    """Stores bytes of which only the first so many can be read, and returns the URL."""

    def store(name: str, data: bytes, good: int) -> str:
        FlakyFileSystem.files[name] = (data, good)
        return f"flaky://{name}"

    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    yield store
    FlakyFileSystem.files.clear()
