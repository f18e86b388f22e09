"""Bytes as they are stored or decompressed, and errors that name the URL."""

import bz2
import gzip
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from disco_engine.core.model import FailureKind
from disco_engine.inputs.compression import BrokenError, codec_of, decompressed
from disco_engine.inputs.opening import head_of, open_seekable, open_stream, pieces
from disco_engine.program import ProgramError

Compress = Callable[[bytes], bytes]

COMPRESSORS: dict[str, Compress] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor(write_content_size=False).compress,
}
TEXT = b"".join(b"%d: what a line says\n" % (number * 7919) for number in range(40_000))

each_compression = pytest.mark.parametrize("suffix", COMPRESSORS)


def content(path: Path | str, offset: int = 0) -> bytes:
    return b"".join(pieces(str(path), offset=offset))


def failure_of(path: Path | str) -> str:
    with pytest.raises(ProgramError) as caught:
        content(path)
    assert caught.value.failure.kind is FailureKind.DATA
    assert caught.value.failure.input == str(path)
    return caught.value.failure.message


@each_compression
def test_compressed_files_are_read_transparently_by_content_or_name(
    tmp_path: Path, suffix: str
) -> None:
    for name in (f"text.{suffix}", "no-suffix", "wrong.txt"):
        path = tmp_path / name
        path.write_bytes(COMPRESSORS[suffix](TEXT))
        assert content(path) == TEXT
        assert content(path, offset=100_001) == TEXT[100_001:]


@each_compression
def test_members_one_after_the_other_and_zero_padding_are_one_content(
    tmp_path: Path, suffix: str
) -> None:
    compress = COMPRESSORS[suffix]
    path = tmp_path / f"text.{suffix}"
    path.write_bytes(compress(TEXT) + bytes(512) + compress(b"") + compress(b"end") + bytes(4))
    assert content(path) == TEXT + b"end"


@each_compression
def test_a_truncated_file_is_an_error_that_says_how_far_it_came(
    tmp_path: Path, suffix: str
) -> None:
    packed = COMPRESSORS[suffix](TEXT)
    path = tmp_path / f"text.{suffix}"
    for size in (0, 1, 5, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:size])
        message = failure_of(path)
        assert message.startswith(f"cannot read {path}: the ")
        assert "decompressed bytes: the file is incomplete" in message


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_a_damaged_file_is_an_error_even_if_only_its_checksum_shows_it(
    tmp_path: Path, suffix: str
) -> None:
    packed = bytearray(COMPRESSORS[suffix](TEXT))
    packed[len(packed) // 2] ^= 0x10
    path = tmp_path / f"text.{suffix}"
    path.write_bytes(packed)
    assert f"cannot read {path}: broken " in failure_of(path)


@each_compression
def test_what_follows_the_end_of_the_compressed_data_is_an_error(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"text.{suffix}"
    path.write_bytes(COMPRESSORS[suffix](TEXT) + b"and then some text that is not compressed")
    assert "(after the end of a complete member)" in failure_of(path)


@each_compression
def test_a_name_that_promises_compression_is_held_to_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text.{suffix}"
    path.write_bytes(TEXT)
    assert "after 0 decompressed bytes" in failure_of(path)


def test_text_that_begins_like_the_name_of_bzip2_is_text(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_bytes(b"BZh\nBZh9 is not a magic number by itself\n")
    assert content(path) == path.read_bytes()


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_run_of_zeros_is_decompressed_in_small_pieces(suffix: str) -> None:
    codec = codec_of(f".{suffix}", b"")
    assert codec is not None
    packed = COMPRESSORS[suffix](bytes(40_000_000))
    sizes = [len(piece) for piece in decompressed(codec, [packed])]
    assert sum(sizes) == 40_000_000
    assert max(sizes) <= 20 * 1024 * 1024


@given(
    parts=st.lists(st.binary(max_size=40), min_size=1, max_size=4),
    cut=st.integers(1, 30),
    suffix=st.sampled_from(list(COMPRESSORS)),
)
def test_decompression_does_not_depend_on_how_the_input_comes(
    parts: list[bytes], cut: int, suffix: str
) -> None:
    packed = b"".join(map(COMPRESSORS[suffix], parts))
    codec = codec_of(f".{suffix}", packed)
    assert codec is not None
    source = (packed[start : start + cut] for start in range(0, len(packed), cut))
    assert b"".join(decompressed(codec, source)) == b"".join(parts)
    with pytest.raises(BrokenError):
        list(decompressed(codec, [packed[:-1]]))


def test_decompression_can_be_declined(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(TEXT))
    assert b"".join(pieces(str(path), decompress=False)) == path.read_bytes()
    with open_stream(str(path), decompress=False) as stream:
        assert stream.read() == path.read_bytes()


def test_a_stream_is_a_file_to_read_lines_from(tmp_path: Path) -> None:
    path = tmp_path / "text.xz"
    path.write_bytes(lzma.compress(TEXT))
    with open_stream(str(path)) as stream:
        first = stream.readline()
        assert first + b"".join(stream) == TEXT


def test_a_stream_that_is_closed_early_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(TEXT)
    stream = open_stream(str(path))
    assert stream.read(4) == TEXT[:4]
    stream.close()  # else the file's own warning, "unclosed file", fails this test


def test_remote_files_are_read_from_a_position_on(memory: Callable[[str, bytes], str]) -> None:
    plain, packed = memory("/a/text", TEXT), memory("/a/text.gz", gzip.compress(TEXT))
    for url in (plain, packed):
        assert content(url) == TEXT
        assert content(url, offset=77_777) == TEXT[77_777:]
    assert head_of(plain).codec is None
    assert head_of(packed).codec is not None
    with open_seekable(plain) as file:
        file.seek(50)
        assert file.read(10) == TEXT[50:60]


def test_a_missing_file_and_a_scheme_that_nobody_knows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    assert failure_of(path) == f"cannot read {path}: No such file or directory"
    assert failure_of("memory://gone") == "cannot read memory://gone: no such file"
    with pytest.raises(ProgramError, match=r"^cannot open nope://x: .*nope") as caught:
        content("nope://x")
    assert caught.value.failure.kind is FailureKind.FATAL


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(ProgramError) as caught:
        content("gs://bucket/key")
    assert caught.value.failure.message == (
        "gs:// needs the package gcsfs: pip install 'disco-k8s[gcs]'"
    )


def test_reading_local_files_imports_neither_fsspec_nor_pyarrow(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(TEXT)
    script = """
import sys
from disco_engine.inputs.expand import expand
from disco_engine.inputs import formats, lines
import disco_engine.outputs
(item,) = expand([(sys.argv[1],)], split_size_bytes=1 << 30, splittable=True)
assert sum(1 for _ in lines.lines(item)) == sum(1 for _ in formats.text_lines(item)) == 40_000
print([name for name in ("fsspec", "pyarrow", "aiohttp", "asyncio", "grpc") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
