"""Records out of text, JSON lines, CSV and Parquet, and errors that show what is wrong."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from disco_engine.core.model import FailureKind, TaskInput
from disco_engine.inputs.expand import expand
from disco_engine.inputs.formats import csv_rows, json_lines, parquet_rows, text_lines
from disco_engine.program import ProgramError

Reader = Callable[[TaskInput], Iterator[Any]]
Store = Callable[[str, bytes], str]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], TaskInput]:
    def write(data: bytes) -> TaskInput:
        (tmp_path / "data").write_bytes(data)
        return TaskInput(urls=(str(tmp_path / "data"),))

    return write


File = Callable[[bytes], TaskInput]


def failure_of(reader: Reader, item: TaskInput) -> str:
    with pytest.raises(ProgramError) as caught:
        list(reader(item))
    assert caught.value.failure.kind is FailureKind.DATA
    return caught.value.failure.message.replace(item.urls[0], "FILE")


def test_text_lines_are_str_without_their_ends(file: File) -> None:
    data = "\ufeffone\r\ntwo\n\n  é\u2028\x0b \rx\nend".encode()
    assert list(text_lines(file(data))) == ["one", "two", "", "  é\u2028\x0b \rx", "end"]
    assert list(text_lines(file(b"\n"))) == [""]
    assert list(text_lines(file(b""))) == []


def test_text_that_is_not_utf8_is_shown_with_its_place_and_the_remedy(file: File) -> None:
    item = file(b"x" * 99_999 + b"\nfirst caf\xe9 of all\nlast\n")
    assert failure_of(text_lines, item) == (
        "FILE is not UTF-8: byte 100,009 of its content is b'\\xe9', in the line that begins "
        "b'first caf\\xe9 of all\\nlast\\n'; convert the file to UTF-8 (iconv -f LATIN1 -t UTF-8), "
        "or read bytes with the default reader"
    )


def test_the_ranges_of_a_text_are_the_whole_text(file: File) -> None:
    item = file("".join(f"zeile {n} ä\r\n" for n in range(1000)).encode())
    whole = list(text_lines(item))
    parts = expand([item.urls], split_size_bytes=777, splittable=True)
    assert [line for part in parts for line in text_lines(part)] == whole
    assert len(whole) == 1000


def test_json_lines_are_values_and_empty_lines_are_skipped(file: File) -> None:
    item = file(b'{"a": [1, null]}\r\n\n"\xc3\xa9"\n  \n3')
    assert list(json_lines(item)) == [{"a": [1, None]}, "é", 3]


def test_a_line_that_is_not_json_is_shown_with_its_place(file: File) -> None:
    item = file(b'"\xc3\xa9"\r\n{"a": 1\n')
    assert failure_of(json_lines, item) == (
        "FILE: the line at byte 6 of its content is not JSON: "
        "Expecting ',' delimiter: line 1 column 8 (char 7): {\"a\": 1"
    )
    deep = failure_of(json_lines, file(b"[" * 100_000))
    assert "FILE: the line at byte 0 of its content is not JSON: " in deep
    assert deep.endswith("[[[... (100,000 characters)")


def test_json_lines_of_ranges_say_the_byte_in_the_file(file: File) -> None:
    item = file(b"".join(b"%d\n" % number for number in range(1000, 2000)) + b"oops\n")
    *good, last = expand([item.urls], split_size_bytes=1000, splittable=True)
    found = [number for part in good for number in json_lines(part)]
    assert found == list(range(1000, 1000 + len(found)))
    assert "the line at byte 5,000 of its content" in failure_of(json_lines, last)


def test_csv_rows_are_dicts_by_header(file: File) -> None:
    item = file('\ufeffname,note\r\n"a ""b""","two\nlines, and \u2028"\n\nshort\nc,\n'.encode())
    assert list(csv_rows(item)) == [
        {"name": 'a "b"', "note": "two\nlines, and \u2028"},
        {"name": "short", "note": None},
        {"name": "c", "note": ""},
    ]
    assert list(csv_rows(file(b""))) == []
    item = file(b"1;2\n3;4\n")
    assert list(csv_rows(item, delimiter=";", columns=["x", "y"])) == [
        {"x": "1", "y": "2"},
        {"x": "3", "y": "4"},
    ]


def test_csv_rows_come_from_compressed_files_larger_than_a_piece(tmp_path: Path) -> None:
    rows = [{"n": str(n), "text": "x\n" * 20} for n in range(10_000)]
    text = "n,text\n" + "".join('{n},"{text}"\n'.format(**row) for row in rows)
    (tmp_path / "data.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert list(csv_rows(TaskInput(urls=(str(tmp_path / "data.csv.gz"),)))) == rows


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n1,2,3\n", "FILE, line 2: 3 fields, but 2 columns; the row is ['1', '2', '3']"),
        (b"a,a\n", "FILE: two columns have the same name: ['a', 'a']"),
        (b'a,b\n1,"2\n', "FILE, line 2: not CSV: unexpected end of data"),
        (b'a,b\n1,"2"3\n', "FILE, line 2: not CSV: ',' expected after '\"'"),
        (b"a\n" + b"x" * 200_000 + b"\n", "FILE, line 2: not CSV: field larger than field limit"),
        (b"a\n1\r2\n", "FILE, line 2: not CSV: new-line character seen"),
        (b"a\n\xff\n", "FILE is not UTF-8: byte 2"),
    ],
)
def test_csv_that_does_not_fit_is_an_error_with_its_line(
    file: File, data: bytes, message: str
) -> None:
    assert failure_of(csv_rows, file(data)).startswith(message)


def test_csv_cannot_be_cut(file: File) -> None:
    (url,) = file(b"a\n1\n").urls
    with pytest.raises(ProgramError, match="CSV files cannot be cut into ranges") as caught:
        list(csv_rows(TaskInput(urls=(url,), offset=0, length=2)))
    assert caught.value.failure.kind is FailureKind.FATAL


ROWS = [{"id": n, "name": f"name {n}", "tags": [n, None]} for n in range(5_000)]


@pytest.fixture
def parquet(tmp_path: Path) -> TaskInput:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=700)
    return TaskInput(urls=(str(path),))


def test_parquet_rows_are_dicts_of_all_columns_or_those_wanted(parquet: TaskInput) -> None:
    assert list(parquet_rows(parquet)) == ROWS
    assert list(parquet_rows(parquet, columns=["name"])) == [{"name": r["name"]} for r in ROWS]


def test_the_ranges_of_a_parquet_file_have_each_row_once(parquet: TaskInput) -> None:
    for split in (1_000, 10_000):
        parts = expand([parquet.urls], split_size_bytes=split, splittable=True)
        assert len(parts) > 1
        assert [row for part in parts for row in parquet_rows(part)] == ROWS


def test_parquet_is_read_from_elsewhere_and_continued_in_another_replica(
    parquet: TaskInput, memory: Store, tmp_path: Path
) -> None:
    good = Path(parquet.urls[0]).read_bytes()
    assert list(parquet_rows(TaskInput(urls=(memory("/good", good),)))) == ROWS
    # Damage the pages of a middle row group; the footer stays, so reading fails midway.
    start = pq.ParquetFile(parquet.urls[0]).metadata.row_group(3).column(0).data_page_offset
    damaged = bytearray(good)
    damaged[start : start + 2000] = bytes(2000)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(damaged)
    item = TaskInput(urls=(str(broken), "memory:///good"))
    assert list(parquet_rows(item)) == ROWS


def test_a_broken_parquet_file_and_an_unknown_column_are_errors(
    parquet: TaskInput, file: File
) -> None:
    message = failure_of(parquet_rows, file(b"not parquet at all, but long enough"))
    assert message.startswith("cannot read FILE: Parquet magic bytes not found")
    with pytest.raises(ProgramError, match=r"has no column 'x'; it has \['id', 'name', 'tags'\]"):
        list(parquet_rows(parquet, columns=["x"]))


def test_raw_text_can_be_read_by_every_text_reader() -> None:
    item = TaskInput(urls=('raw://{"a": 1}\n2',))
    assert list(text_lines(item)) == ['{"a": 1}', "2"]
    assert list(json_lines(item)) == [{"a": 1}, 2]
    assert list(csv_rows(TaskInput(urls=("raw://a,b\n1,é",)))) == [{"a": "1", "b": "é"}]
