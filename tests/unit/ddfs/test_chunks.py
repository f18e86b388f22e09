import io
import random
import struct
import zlib
from typing import Any

import pytest

from disco.ddfs.chunks import HUNK_SIZE, Chunker, DiscoOutputStream
from disco.error import DataError, DiscoError
from disco.worker.task_io import chain_reader


def read(data: bytes) -> list[Any]:
    return list(chain_reader(io.BytesIO(data), len(data), "chunk"))


def test_records_of_any_kind_come_back_from_chunks_in_order() -> None:
    records = [b"a line\n", "text", ("key", 1), {"a": [1, None]}, 7]

    (chunk,) = Chunker().chunks(records)

    assert read(chunk) == records


def test_a_chunk_ends_soon_after_its_size_and_no_record_is_in_two() -> None:
    noise = random.Random(1)
    records = [noise.randbytes(10_000) for _ in range(300)]

    chunks = list(Chunker(chunk_size=100_000).chunks(records))

    assert len(chunks) > 2
    assert [record for chunk in chunks for record in read(chunk)] == records
    assert all(len(chunk) < 100_000 + 2 * HUNK_SIZE for chunk in chunks)


def test_no_records_make_no_chunk() -> None:
    assert list(Chunker().chunks([])) == []


def test_chunks_that_follow_each_other_are_one_stream() -> None:
    chunks = list(Chunker(chunk_size=1).chunks([bytes(HUNK_SIZE // 2), *range(3)]))
    chunks += Chunker().chunks([3, 4])

    assert read(b"".join(chunks)) == [bytes(HUNK_SIZE // 2), 0, 1, 2, 3, 4]


def test_the_bytes_are_those_of_discos_stream_version_1() -> None:
    (chunk,) = Chunker().chunks([b"x"])

    version, compressed, checksum, length = struct.unpack("<BBIQ", chunk[:14])
    data = zlib.decompress(chunk[14 : 14 + length])
    assert (version, compressed, checksum) == (129, 1, zlib.crc32(data))
    end = chunk[14 + length :]
    version, compressed, checksum, length = struct.unpack("<BBIQ", end[:14])
    assert (version, compressed, checksum, len(end)) == (129, 1, 0, 14 + length)
    assert zlib.decompress(end[14:]) == b""


def test_a_record_that_is_too_long_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="max_record_size"):
        list(Chunker(max_record_size=10).chunks([b"short", b"much too long"]))


def test_a_record_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(DiscoError, match="cannot be pickled"):
        list(Chunker().chunks([lambda: None]))


def test_a_bit_that_changed_is_found() -> None:
    (chunk,) = Chunker().chunks([b"some line\n" * 100])
    for position in (2, 20, len(chunk) - 1):
        damaged = bytearray(chunk)
        damaged[position] ^= 1
        with pytest.raises(DataError, match="corrupt data"):
            read(bytes(damaged))


def test_pairs_are_written_as_tasks_write_them() -> None:
    file = io.BytesIO()
    stream = DiscoOutputStream(file)
    stream.add("key", 1)
    stream.close()

    assert stream.size == len(file.getvalue())
    assert read(file.getvalue()) == [("key", 1)]
