"""Reading files: the readers for new programs, stream functions of old ones, results in files."""

import functools
import gzip
import io
import json
import pickle
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from disco import Job, compat, readers, result_iterator, schemes
from disco.core import Disco
from disco.error import DataError, DiscoError
from disco.readers import csv_reader, csv_rows, json_lines, parquet_rows, splittable, text_lines
from disco.worker.task_io import (
    DiscoPlainOut,
    RecordStream,
    StreamCombiner,
    chain_reader,
    disco_input_stream,
    gzip_line_reader,
    gzip_reader,
    re_reader,
    string_input_stream,
    task_input_stream,
)
from disco_engine.core.settings import JobSettings
from disco_engine.program import ProgramError
from disco_engine.records.blocks import encode

Text = Callable[..., str]


def entries(engine: Any, reader: Any, *inputs: str, **jobargs: Any) -> list[Any]:
    """Return what a map gets from *reader*."""
    ran = engine.run(
        Job(name="Entries"),
        map=lambda entry, params: [(entry, None)],
        map_reader=reader,
        input=list(inputs),
        **jobargs,
    )
    return [entry for entry, _ in ran.pairs]


# --- readers for new programs -----------------------------------------------------------------


def test_text_lines_are_str_without_newline(engine: Any, text: Text) -> None:
    assert entries(engine, text_lines, text("één\n", "two\r\n", "3")) == ["één", "two", "3"]


def test_text_that_is_not_utf8_is_an_error_with_file_byte_and_line(engine: Any, text: Text) -> None:
    path = text("fine\n", b"caf\xe9\n")
    with pytest.raises(ProgramError) as caught:
        entries(engine, text_lines, path)
    message = caught.value.failure.message
    assert caught.value.failure.kind == "data"
    assert f"{path} is not UTF-8: byte 8 of its content is b'\\xe9'" in message
    assert "b'caf\\xe9\\n'" in message


def test_json_lines_are_values(engine: Any, text: Text) -> None:
    assert entries(engine, json_lines, text('{"a": 1}\n', "\n", "[2]\n")) == [{"a": 1}, [2]]


def test_csv_rows_are_dicts_by_column(engine: Any, text: Text) -> None:
    path = text("a,b\n", '1,"x\n', 'y"\n')
    assert entries(engine, csv_rows, path) == [{"a": "1", "b": "x\ny"}]
    path = text("1;2\n")
    assert entries(engine, csv_reader(";", ["a", "b"]), path) == [{"a": "1", "b": "2"}]


def test_parquet_rows_are_dicts_by_column(engine: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet, table

    path = tmp_path / "rows.parquet"
    parquet.write_table(table({"a": [1, 2], "b": ["x", "y"]}), path)
    assert entries(engine, parquet_rows, str(path)) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert entries(engine, readers.parquet_reader(["b"]), str(path)) == [{"b": "x"}, {"b": "y"}]


def test_compressed_text_is_read_as_if_it_were_not(engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\n"))
    assert entries(engine, None, str(path)) == [b"one\n", b"two\n"]
    assert entries(engine, text_lines, str(path)) == ["one", "two"]


def test_a_reader_of_the_user_s_reads_parts_if_it_is_marked_splittable(
    engine: Any, text: Text
) -> None:
    engine.settings = JobSettings(split_size_bytes=20)
    path = text(*(f"{number:04d}\n" for number in range(40)))

    def stripped(stream: Any, size: Any, url: str) -> Iterator[bytes]:
        return (line.strip() for line in stream)

    whole = entries(engine, stripped, path)
    assert len(engine.contexts["map"]) == 1
    assert entries(engine, splittable(stripped), path) == whole
    assert len(engine.contexts["map"]) == 10
    assert engine.contexts["map"][0].read_records == 4


def test_readers_travel_and_are_still_known() -> None:
    assert pickle.loads(pickle.dumps(text_lines)) is text_lines
    assert pickle.loads(pickle.dumps(csv_reader(";"))).splittable is False
    assert repr(json_lines) == "disco.readers.json_lines"


# --- stream functions -------------------------------------------------------------------------


def test_a_local_input_is_opened_as_compat_s_file(text: Text) -> None:
    stream, size, url = task_input_stream(None, None, path := text("abc"), None)
    with stream:
        assert isinstance(stream, compat.file)
        assert (stream.read(), size, url) == (b"abc", None, path)


def test_a_raw_url_is_opened_as_text() -> None:
    assert task_input_stream(None, None, "raw://a b", None)[0].read() == "a b"
    assert schemes.open("raw://a b").read() == "a b"
    assert schemes.import_scheme("https://h/x").__name__ == "disco.schemes.scheme_https"
    assert schemes.import_scheme("gs://b/x").__name__ == "disco.schemes.scheme_file"


def test_gzip_readers_decompress_what_is_compressed_and_nothing_else() -> None:
    packed = gzip.compress(b"one\ntwo\n")
    for data in (packed, b"one\ntwo\n"):
        stream, _, _ = gzip_reader(io.BytesIO(data), None, "url", None)
        with stream:
            assert stream.read() == b"one\ntwo\n"
        assert list(gzip_line_reader(io.BytesIO(data), None, "url", None)) == [b"one\n", b"two\n"]


def test_re_reader_yields_the_groups_of_matches_that_follow_each_other() -> None:
    stream = io.BytesIO(b"a=1;b=22;c=")
    read = functools.partial(re_reader, r"(\w+)=(\d+);", stream, None, "url", read_buffer_size=2)
    assert list(read()) == [("a", "1"), ("b", "22")]
    stream.seek(0)
    assert list(read(output_tail=True))[-1] == ["c="]
    stream.seek(0)
    assert next(iter(re_reader(rb"(\w+)=(\d+);", stream, None, "url"))) == (b"a", b"1")


def test_re_reader_refuses_a_file_that_is_too_short() -> None:
    with pytest.raises(DataError, match="truncated input: expected 100 bytes, got 4"):
        list(re_reader("(a)", io.BytesIO(b"aaaa"), 100, "url"))


def test_a_chain_of_streams_keeps_what_its_functions_do_not_replace() -> None:
    def bare(stream: Any, size: Any, url: str) -> Any:
        return stream.upper()

    def renamed(stream: Any, size: Any, url: str) -> Any:
        return stream, f"{url}!"

    def told(stream: Any, size: Any, url: str, params: Any) -> Any:
        return f"{stream} {size} {url} {params}", 9, url

    combiner = StreamCombiner("url", [bare, renamed, told], "params", fd="abc", size=3)
    assert combiner.last == "ABC 3 url! params"
    assert (combiner.size, combiner.url) == (9, "url!")
    combiner = StreamCombiner("", [lambda s, z, u: string_input_stream("x\ny", z, u, None)], None)
    assert list(combiner) == ["x\n", "y"]
    combiner.close()


def test_plain_output_writes_lines() -> None:
    stream = io.BytesIO()
    DiscoPlainOut(stream).add("key", 7)
    DiscoPlainOut(stream).add(b"k", b"v")
    assert stream.getvalue() == b"key 7\nk v\n"


# --- files that Disco wrote -------------------------------------------------------------------


def chunk(*records: Any, compressed: bool = True, version: int = 1) -> bytes:
    """Return a hunk of Disco's, as its tasks and its file system wrote them."""
    data = b"".join(pickle.dumps(record, 1) for record in records)
    stored = zlib.compress(data, 2) if compressed else data
    header = struct.pack("<BBIQ", 128 + version, compressed, zlib.crc32(data), len(stored))
    return header + stored


def test_chain_reader_reads_disco_s_chunks(tmp_path: Path) -> None:
    data = chunk(("a", 1), ("b", [2])) + chunk() + chunk(("c", 3), compressed=False)
    assert list(chain_reader(io.BytesIO(data), None, "url")) == [("a", 1), ("b", [2]), ("c", 3)]
    (tmp_path / "blob$1").write_bytes(data)
    assert list(result_iterator([str(tmp_path)])) == [("a", 1), ("b", [2]), ("c", 3)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "the file ends in the middle of a block"),
        (lambda data: data[:7], "the file ends in the middle of a header"),
        (lambda data: data[:2] + b"????" + data[6:], "a block has a wrong checksum"),
        (lambda data: data[:-4] + b"????", "incorrect data check"),
    ],
)
def test_damaged_chunks_are_errors(damage: Any, message: str) -> None:
    stream = io.BytesIO(damage(chunk(("a", 1))))
    with pytest.raises(DataError, match=message):
        list(chain_reader(stream, None, "url"))


def test_damaged_chunks_are_left_out_if_asked() -> None:
    data = chunk(("a", 1))[:-4] + b"????" + chunk(("b", 2))
    read = disco_input_stream(io.BytesIO(data), None, "url", ignore_corrupt=True)
    assert list(read) == [("b", 2)]


def test_chain_reader_reads_disco_s_old_text_format() -> None:
    data = b"1 a 2 bb\n3 ccc 0 \n"
    assert list(chain_reader(io.BytesIO(data), None, "url")) == [(b"a", b"bb"), (b"ccc", b"")]


def test_chain_reader_refuses_other_files() -> None:
    with pytest.raises(DataError, match="expected the records of a job, found b'hello'"):
        list(chain_reader(io.BytesIO(b"hello world"), None, "url"))
    with pytest.raises(DataError, match="expected the records of a job, found 'some text'"):
        list(chain_reader(io.StringIO("some text"), None, "raw://some text"))


def test_chain_reader_passes_records_on() -> None:
    stream = RecordStream([("a", 1)], "disco://h:1/j/1/0")
    assert list(chain_reader(stream, None, "url")) == [("a", 1)]
    with pytest.raises(DiscoError, match="not bytes"):
        stream.read()


# --- results in files -------------------------------------------------------------------------


def test_result_iterator_reads_parts_by_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "part-00000.txt").write_text("a\t1\nb\t2\n")
    (tmp_path / "part-00000.jsonl").write_text(json.dumps({"key": "a", "value": [1]}) + "\n")
    (tmp_path / "part-00000.csv").write_text("key,value\na,1\n")
    urls = [str(tmp_path / f"part-00000.{suffix}") for suffix in ("txt", "jsonl", "csv")]
    assert list(result_iterator(urls)) == [("a", "1"), ("b", "2"), ("a", [1]), ("a", "1")]
    assert list(Disco().result_iterator(urls[0])) == [("a", "1"), ("b", "2")]


def test_result_iterator_takes_another_reader_or_none(text: Text) -> None:
    path = text("1\n", "2\n")
    assert list(result_iterator([path], reader=None)) == [b"1\n", b"2\n"]
    assert list(result_iterator([path], reader=json_lines)) == [1, 2]
    numbers = lambda stream, size, url, params: (int(line) + params for line in stream)  # noqa: E731
    assert list(result_iterator([path], reader=numbers, params=10)) == [11, 12]


def test_result_iterator_tells_what_it_reads(text: Text) -> None:
    seen: list[str] = []
    path = text("1\n")
    list(result_iterator([[path], path], reader=None, notifier=seen.append))
    assert seen == [path, path]


def test_results_that_cannot_be_read_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(result_iterator([str(tmp_path / "none.txt")]))
    with pytest.raises(
        DataError, match="is no part of a result: expected disco://host:port/uid/stage/task"
    ):
        list(result_iterator(["disco://nowhere"]))


def test_results_come_from_the_services_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def read_parts(
        address: str, token: str, uid: str, stage: int, tasks: Any, *, label: Any
    ) -> Any:
        from disco_engine.records.blocks import Frame

        asked.append((address, uid, stage, tasks))
        return [Frame(encode([f"{address} {task}"], [task])) for task in tasks]

    monkeypatch.setattr("disco.results.read_parts", read_parts)
    monkeypatch.setattr("disco.session.find", lambda uid: object())
    urls = [f"disco://h:{port}/uid/2/{task}" for port, task in ((1, 0), (1, 3), (2, 1), (1, 4))]
    pairs = [("h:1 0", 0), ("h:1 3", 3), ("h:2 1", 1), ("h:1 4", 4)]
    assert list(result_iterator(urls)) == pairs
    assert asked == [
        ("h:1", "uid", 2, [0, 3]),
        ("h:2", "uid", 2, [1]),
        ("h:1", "uid", 2, [4]),
    ]
    assert list(schemes.open(urls[0])) == pairs[:1]
