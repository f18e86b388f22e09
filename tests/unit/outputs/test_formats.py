"""Records into files and back, in every format; records that do not fit; disks that are full."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disco_engine.core.model import FailureKind
from disco_engine.outputs import FORMATS, commit, open_writer, prepare, read_part, read_records
from disco_engine.program import ProgramError
from disco_engine.records.frozen import RecordError

Pairs = list[tuple[Any, Any]]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, Iterable[tuple[Any, Any]]], Path]:
    """Writes pairs as the only part of a new output, and returns the part."""
    outputs = iter(range(1_000_000))

    def write(format: str, pairs: Iterable[tuple[Any, Any]]) -> Path:
        out = str(tmp_path / f"out-{next(outputs)}")
        prepare(out, format, "uid")
        writer = open_writer(out, format, "uid", 0, "a1")
        try:
            writer.extend(0, pairs)
            writer.close()
        except BaseException:
            writer.abandon()
            raise
        commit(out, format, "uid", [writer.file_name])
        return Path(out, f"part-00000{FORMATS[format].extension}")

    return write


Written = Callable[[str, Iterable[tuple[Any, Any]]], Path]

each_format = pytest.mark.parametrize("format", FORMATS)


def test_text_is_key_tab_value(written: Written) -> None:
    part = written(
        "text",
        [("é", 1), (b"\xff\x00", b"raw"), ("mixed", b"\xfe"), ("only key", None), (None, 2.5)],
    )
    assert part.name == "part-00000.txt"
    assert part.read_bytes() == (
        "é\t1\n".encode() + b"\xff\x00\traw\nmixed\t\xfe\nonly key\nNone\t2.5\n"
    )
    assert list(read_part(str(part))) == [
        ("é", "1"),
        (b"\xff\x00", "raw"),
        ("mixed", b"\xfe"),
        ("only key", None),
        ("None", "2.5"),
    ]


def test_tabs_and_newlines_in_text_are_written_as_they_are(written: Written) -> None:
    assert written("text", [("a\tb", "c\nd")]).read_bytes() == b"a\tb\tc\nd\n"


def test_enums_and_objects_are_written_as_their_str(written: Written) -> None:
    class Level(IntEnum):
        HIGH = 3

    for format in ("text", "csv"):
        text = written(format, [(Level.HIGH, [1, "x"])]).read_text()
        assert str(Level.HIGH) in text
        assert "[1, 'x']" in text


def test_json_lines_have_key_and_value(written: Written) -> None:
    part = written("jsonl", [(b"caf\xc3\xa9", {"n": [1, None, b"x"]}), (("a", 1), "\u2028\n")])
    assert part.read_text() == (
        '{"key": "café", "value": {"n": [1, null, "x"]}}\n{"key": ["a", 1], "value": "\u2028\\n"}\n'
    )
    assert list(read_part(str(part))) == [
        ("café", {"n": [1, None, "x"]}),
        (["a", 1], "\u2028\n"),
    ]


def test_csv_has_a_header_and_quotes_what_needs_it(written: Written) -> None:
    part = written("csv", [("a,b", 'say "hi"'), ("two\nlines", None), (b"bytes", 1.5)])
    with part.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["key", "value"],
            ["a,b", 'say "hi"'],
            ["two\nlines", ""],
            ["bytes", "1.5"],
        ]
    assert list(read_part(str(part)))[:2] == [("a,b", 'say "hi"'), ("two\nlines", "")]


def test_parquet_has_typed_columns(written: Written) -> None:
    part = written("parquet", [("a", [1, 2]), ("b", None), (None, [])])
    table = pq.read_table(part)
    assert [str(field.type) for field in table.schema] == ["string", "list<element: int64>"]
    assert list(read_part(str(part))) == [("a", [1, 2]), ("b", None), (None, [])]


def test_parquet_takes_whole_numbers_for_floats(written: Written) -> None:
    assert list(read_part(str(written("parquet", [(1, 1), (2, 0.5)])))) == [(1, 1.0), (2, 0.5)]


def test_parquet_waits_for_the_type_of_a_column_that_begins_with_none(written: Written) -> None:
    pairs: Pairs = [(n, None) for n in range(150_000)] + [(n, "x") for n in range(50_000)]
    part = written("parquet", pairs)
    assert list(read_part(str(part))) == pairs
    assert pq.ParquetFile(part).metadata.num_row_groups > 1


def test_an_object_that_the_generator_changes_afterwards_is_written_as_it_was(
    written: Written,
) -> None:
    def pairs() -> Iterator[tuple[str, list[int]]]:
        value: list[int] = []
        for number in range(3):
            value.append(number)
            yield "k", value

    expected = [("k", [0]), ("k", [0, 1]), ("k", [0, 1, 2])]
    for format in ("jsonl", "parquet", "pickle"):
        assert list(read_part(str(written(format, pairs())))) == expected


class Point:
    """A user's class, which only pickle brings back."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.x == other.x

    __hash__ = None  # type: ignore[assignment]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(), inner)
    ),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(pairs=st.lists(st.tuples(VALUES, VALUES), max_size=5))
def test_pickle_gives_back_what_was_written(written: Written, pairs: Pairs) -> None:
    part = written("pickle", pairs)
    assert list(read_part(str(part))) == pairs
    assert list(read_records(str(part.parent))) == pairs


def test_pickle_keeps_objects_and_many_records(written: Written) -> None:
    pairs: Pairs = [(n, "x" * 100) for n in range(100_000)]
    pairs[5] = (("a", 5), Point(3))
    assert list(read_part(str(written("pickle", pairs)))) == pairs


@each_format
def test_an_empty_part_can_be_read(written: Written, format: str) -> None:
    part = written(format, [])
    assert list(read_part(str(part))) == []


@each_format
def test_what_the_users_generator_raises_is_not_taken_for_a_storage_error(
    written: Written, format: str, tmp_path: Path
) -> None:
    def pairs() -> Iterator[tuple[str, int]]:
        yield "a", 1
        raise OSError(2, "the user's own file is missing")

    with pytest.raises(OSError, match="the user's own file"):
        written(format, pairs())
    assert not list(tmp_path.rglob("part-*"))


def refused(written: Written, format: str, pairs: Pairs) -> str:
    with pytest.raises(RecordError) as caught:
        written(format, pairs)
    return str(caught.value)


def test_records_that_are_not_utf8_are_shown(written: Written) -> None:
    bad = [("good", "x"), ("k", b"caf\xe9")]
    for format in ("jsonl", "csv"):
        message = refused(written, format, [*bad])
        assert message.startswith(r"the record ('k', b'caf\xe9') is not UTF-8: ")
        assert message.endswith("decode its bytes in the job, or write the format 'pickle'")
    for format in ("text", "jsonl", "csv"):
        message = refused(written, format, [("k", "\udcff")])
        assert message.startswith(r"the record ('k', '\udcff') is not UTF-8: ")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1, 2}, "set is not a type that JSON has"),
        (math.nan, "Out of range float values are not JSON compliant"),
        ({(1, 2): 3}, "keys must be str"),
    ],
)
def test_records_that_json_cannot_hold_are_shown(
    written: Written, value: object, reason: str
) -> None:
    message = refused(written, "jsonl", [("k", value)])
    assert message.startswith(f"the record ('k', {value!r}) cannot be written as JSON: {reason}")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            [("a", 1), ("b", "x")],
            "the value of the record ('b', 'x') is of type str, that of an earlier one of int",
        ),
        (
            [(b"a", 1), ("b", 2)],
            "the key of the record ('b', 2) is of type str, that of an earlier one of bytes",
        ),
        ([("a", 1), ("b", 2**70)], f"the value of the record ('b', {2**70}) does not fit"),
        ([("a", [1]), ("b", ["x"])], "the value of the record ('b', ['x']) does not fit"),
        ([("a", 1j)], "the value of the record ('a', 1j) does not fit its Parquet column: "),
    ],
)
def test_records_that_do_not_fit_a_parquet_column_are_shown(
    written: Written, pairs: Pairs, message: str
) -> None:
    assert refused(written, "parquet", pairs).startswith(message)


@pytest.mark.parametrize(
    ("early", "late", "message"),
    [
        (1, 1.5, "the value of the record (0, 1.5) does not fit its Parquet column of int64"),
        (b"x", "x", "the value of the record (0, 'x') does not fit its Parquet column of binary"),
        (1, True, "the value of the record (0, True) does not fit its Parquet column of int64"),
        (1, "x", "the value of the record (0, 'x') does not fit its Parquet column of int64"),
        ({"a": 1}, {"a": 1, "b": 2}, "the value of the record (0, {'a': 1, 'b': 2}) does not fit"),
    ],
)
def test_a_later_row_group_must_fit_the_first(
    written: Written, early: object, late: object, message: str
) -> None:
    pairs: Pairs = [(0, early)] * 65_536 + [(0, late)]
    assert refused(written, "parquet", pairs).startswith(message)


def test_a_later_row_group_may_lack_what_the_first_has(written: Written) -> None:
    pairs: Pairs = [(0, {"a": 1, "b": [2.5]})] * 65_536 + [(0, {"a": 3})]
    *_, last = read_part(str(written("parquet", pairs)))
    assert last == (0, {"a": 3, "b": None})


def test_a_record_that_cannot_be_pickled_is_shown(written: Written) -> None:
    assert "cannot be pickled" in refused(written, "pickle", [("k", Lock())])


@each_format
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_none(
    tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    prepare(str(out), format, "uid")
    file = out / f"_temporary/uid/00000-a1{FORMATS[format].extension}"
    file.symlink_to("/dev/full")  # every write to it fails with ENOSPC
    writer = open_writer(str(out), format, "uid", 0, "a1")
    with pytest.raises(ProgramError) as caught:  # noqa: PT012 - whichever call comes to write
        writer.extend(0, ((f"{n}", "x" * 90) for n in range(100_000)))
        writer.close()
    assert caught.value.failure.kind is FailureKind.USER
    assert caught.value.failure.message == (
        f"cannot write {file}: No space left on device; "
        "free some space there, or choose another output"
    )
    writer.abandon()
    assert not file.is_symlink()


def test_damaged_and_incomplete_frames_are_errors(written: Written, tmp_path: Path) -> None:
    whole = written("pickle", [(n, n) for n in range(1000)]).read_bytes()
    part = tmp_path / "part.disco"

    def message(data: bytes) -> str:
        part.write_bytes(data)
        with pytest.raises(ProgramError) as caught:
            list(read_part(str(part)))
        assert caught.value.failure.kind is FailureKind.DATA
        return caught.value.failure.message

    for size in (len(whole) - 1, len(whole) - 8, 500, 20, 16):
        assert message(whole[:size]) == f"{part} is incomplete: it ends in the middle of a frame"
    assert message(whole[:100] + b"\0" + whole[101:]).startswith(f"{part} is damaged: frame of ")
    assert message(b"something else") == f"{part} is not an output in the format 'pickle'"


def test_the_format_of_a_file_goes_by_its_name_unless_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text(json.dumps({"key": 1, "value": 2}))
    assert list(read_records(str(path), "jsonl")) == [(1, 2)]
    with pytest.raises(ProgramError, match="say which format it has, its name does not"):
        list(read_records(str(path)))
    path.write_text("[1]")
    with pytest.raises(ProgramError, match=r"has the record \[1\], without key and value$"):
        list(read_records(str(path), "jsonl"))


@each_format
def test_an_output_elsewhere_is_read_back(format: str) -> None:
    url = f"memory://elsewhere/{format}"
    prepare(url, format, "uid")
    writer = open_writer(url, format, "uid", 0, "a1")
    pairs = [(f"key {n}", f"value {n}") for n in range(50_000)]
    writer.extend(0, pairs)
    writer.close()
    commit(url, format, "uid", [writer.file_name])
    assert list(read_records(url)) == pairs


@pytest.mark.parametrize("item", ["ab", 5, (1, 2, 3), None, {"a": 1, "b": 2}])
def test_what_is_not_a_pair_is_shown_with_who_yielded_it(tmp_path: Path, item: Any) -> None:
    out = str(tmp_path / "out")
    prepare(out, "text", "uid")
    writer = open_writer(out, "text", "uid", 0, "a1")
    writer.producer = "map"
    with pytest.raises(RecordError) as caught:
        writer.extend(0, [("key", 1), item])
    writer.abandon()
    assert str(caught.value) == f"map yielded {item!r}, which is not a (key, value) pair"


def test_a_list_of_two_is_a_pair(written: Written) -> None:
    lists: Any = [["a", 1], ("b", 2)]
    assert written("text", lists).read_text() == "a\t1\nb\t2\n"
