"""Files, streams, job packs and connections are those of Disco, to the byte where that counts."""

import io
import json
import os
import struct
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from disco import comm, compat, fileutils, schemes
from disco.error import CommError, DiscoError
from disco.job import JOBPACK_VERSION1, JOBPACK_VERSION2, Job, JobPack
from disco.test import FailedReply, TestServer
from disco.worker.classic.func import chain_reader
from disco.worker.task_io import disco_input_stream

# --- disco.fileutils ---------------------------------------------------------------------------


def test_streams_of_records_have_disco_s_bytes() -> None:
    stream = io.BytesIO()
    out = fileutils.DiscoOutputStream(stream)
    out.add("k", 1)
    out.append(("l", 2))
    out.close()
    data = stream.getvalue()
    version, compressed, _, length = struct.unpack_from("<BBIQ", data)
    assert (version, compressed) == (129, 1)
    end = data[struct.calcsize("<BBIQ") + length :]
    assert struct.unpack_from("<BBIQ", end)[:3] == (129, 1, 0)  # an empty hunk
    twice = io.BytesIO(data + data)  # files that follow each other are one stream
    assert list(disco_input_stream(twice, None, "x")) == [("k", 1), ("l", 2)] * 2


def test_streams_of_version_0_are_lines() -> None:
    stream = io.BytesIO()
    out = fileutils.DiscoOutputStream(stream, version=0)
    out.add("key", 12)
    out.add(b"k", "v")
    out.close()
    assert stream.getvalue() == b"3 key 2 12\n1 k 1 v\n"
    stream.seek(0)
    assert list(chain_reader(stream, None, "x")) == [(b"key", b"12"), (b"k", b"v")]


def test_a_file_has_its_name_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    file = fileutils.AtomicFile(path)
    file.write(b"data")
    assert not path.exists()
    file.close()
    assert path.read_bytes() == b"data"
    assert file.size() == 4
    half = fileutils.AtomicFile(tmp_path / "half")
    half.write(b"x")
    half.__exit__(ZeroDivisionError, None, None)
    assert not (tmp_path / "half").exists()


def test_an_output_is_a_file_that_chain_reader_reads(tmp_path: Path) -> None:
    out = fileutils.DiscoOutput(str(tmp_path / "out"))
    out.add(1, 2)
    out.close()
    with open(tmp_path / "out", "rb") as file:
        assert list(chain_reader(file, None, "x")) == [(1, 2)]


def test_chunks_end_where_they_are_long_enough() -> None:
    chunks = list(fileutils.Chunker(chunk_size=10).chunks([("a", 0), ("b", 1)]))
    assert [list(chain_reader(io.BytesIO(chunk), None, "x")) for chunk in chunks] == [
        [("a", 0), ("b", 1)]
    ]
    assert (fileutils.CHUNK_SIZE, fileutils.HUNK_SIZE) == (64 * fileutils.MB, fileutils.MB)


def test_a_zip_in_memory_takes_files_and_modules(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("x")
    archive = fileutils.DiscoZipFile()
    archive.writepath(str(tmp_path))
    archive.writemodule(json, "json.py")
    archive.writesource(Job)
    archive.close()
    names = zipfile.ZipFile(io.BytesIO(archive.dumps())).namelist()
    assert str(tmp_path / "data.txt").lstrip("/") in names
    assert "json.py" in names
    assert any(name.endswith("disco/job.py") for name in names)


# --- disco.comm, disco.schemes, disco.test -----------------------------------------------------


@pytest.fixture
def server() -> Iterator[TestServer]:
    def content(path: str) -> Any:
        if path == "broken":
            raise FailedReply("told to fail")
        return b"" if path == "empty" else f"{path} 1\n{path} 2\n"

    serving = TestServer.create(("127.0.0.1", 0), content)
    serving.start()
    yield serving
    serving.stop()


def test_urls_are_downloaded_and_opened(server: TestServer, tmp_path: Path) -> None:
    ((url,), replicas) = server.urls(["a", ["b", "c"]])
    assert replicas == [f"{server.address}/b", f"{server.address}/c"]
    assert comm.download(url) == b"a 1\na 2\n"
    with comm.open_url(url) as file:  # the server knows nothing of ranges
        assert len(file) == 8  # type: ignore[arg-type]
        assert list(file) == [b"a 1\n", b"a 2\n"]
        file.seek(4)
        assert file.read() == b"a 2\n"
    with comm.open_url(f"{server.address}/empty") as file:
        assert (len(file), file.read()) == (0, b"")  # type: ignore[arg-type]
    with pytest.raises(CommError) as caught:
        comm.download(f"{server.address}/broken")
    assert caught.value.code == 500
    path = tmp_path / "x"
    path.write_bytes(b"local")
    for name in (str(path), f"file://{path}"):
        with comm.open_url(name) as file:
            assert isinstance(file, compat.file)
            assert (len(file), file.url) == (5, f"file://{path}")  # type: ignore[arg-type,attr-defined]


class Ranged(BaseHTTPRequestHandler):
    """A server that gives ranges, and takes what is put there."""

    content = b"0123456789"
    asked: list[Any] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append((self.headers["Range"], self.headers["Authorization"]))
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        part = self.content[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.end_headers()
        self.wfile.write(data.upper())

    def log_request(self, *args: Any) -> None: ...


def test_a_remote_file_is_fetched_in_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comm, "CHUNK_SIZE", 4)
    serving = TestServer(("127.0.0.1", 0), Ranged)
    serving.start()
    try:
        file = comm.open_remote(f"{serving.address}/x", token="secret")
        assert file.read() == Ranged.content
        assert [wanted for wanted, _ in Ranged.asked] == ["bytes=0-3", "bytes=4-7", "bytes=8-11"]
        assert {shown for _, shown in Ranged.asked} == {"Basic dG9rZW46c2VjcmV0"}
        file.seek(-2, os.SEEK_END)
        assert (file.tell(), file.read()) == (8, b"89")
        assert comm.upload([f"{serving.address}/y"], io.BytesIO(b"put")) == [b"PUT"]
    finally:
        serving.stop()


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommError, match="refused") as caught:
        comm.download("http://127.0.0.1:9/x", sleep=9)  # the last attempt
    assert caught.value.code is None


def test_a_scheme_s_module_opens_it(tmp_path: Path) -> None:
    assert schemes.open("raw://a b").read() == "a b"
    assert schemes.open("url://x/y").read() == "url://x/y"
    assert schemes.import_scheme("https://h").__name__.endswith("scheme_https")
    out = fileutils.DiscoOutput(str(tmp_path / "out"))
    out.add("a", 1)
    out.close()
    assert list(schemes.open_chain(str(tmp_path / "out"))) == [("a", 1)]


# --- disco.job: packs --------------------------------------------------------------------------


def pack(**changes: Any) -> JobPack:
    jobdict = {"prefix": "p", "worker": "w", "owner": "o", "pipeline": [["map", "split"]]}
    return JobPack(2, {**jobdict, "inputs": [], **changes}, {"A": "b"}, b"ZIP", b"DATA")


def test_a_job_pack_has_disco_s_bytes() -> None:
    data = pack().dumps()
    jobdict = json.dumps(pack().jobdict).encode()
    offsets = [128, 128 + len(jobdict), 128 + len(jobdict) + 10, 128 + len(jobdict) + 13]
    assert struct.unpack("!IIIII", data[:20]) == (0xD5C00002, *offsets)
    assert data[20:128] == bytes(108)
    assert data[128:] == jobdict + b'{"A": "b"}ZIPDATA'
    assert JobPack(JOBPACK_VERSION1, {}, {}, b"", b"").dumps()[:4] == b"\xd5\xc0\x00\x01"


def test_a_job_pack_is_read_part_by_part() -> None:
    loaded = JobPack.load(io.BytesIO(pack().dumps()))
    assert loaded.version == JOBPACK_VERSION2
    assert (loaded.jobdict["prefix"], loaded.jobenvs) == ("p", {"A": "b"})
    assert (loaded.jobhome, loaded.jobdata) == (b"ZIP", b"DATA")
    assert loaded.dumps() == pack().dumps()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pack(pipeline=None).dumps(), "missing key 'pipeline'"),
        (pack(prefix="a/b").dumps(), "invalid prefix 'a/b'"),
        (pack(prefix="a.b").dumps(), "invalid prefix 'a.b'"),
        (b"short", "invalid header"),
        (b"\0" * 200, "invalid header"),
        (b"\xd5\xc0\0\2" + bytes(196), "invalid header"),
    ],
)
def test_a_bad_job_pack_is_refused_in_disco_s_words(data: bytes, message: str) -> None:
    with pytest.raises(DiscoError, match=message):
        JobPack.load(io.BytesIO(data)).check()
