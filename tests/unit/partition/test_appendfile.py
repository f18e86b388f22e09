import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from disco_engine.partition.appendfile import AppendFile


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Have the kernel refuse to let files grow, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_parts_follow_each_other_however_many_they_are(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "log")
    parts = [b"%d," % n for n in range(5000)]
    assert file.append([b"start"]) == 0
    assert file.append(parts) == 5
    whole = b"start" + b"".join(parts)
    assert file.read(0, file.end) == whole
    assert file.read(5, 10**9) == whole[5:]
    file.close()
    again = AppendFile(tmp_path / "log")
    assert again.append([b"end"]) == len(whole)
    again.close()


def test_a_write_that_fails_leaves_nothing_and_works_when_there_is_room(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "log")
    file.append([b"before"])
    with files_no_larger_than(50_000):
        for _ in range(2):
            with pytest.raises(OSError, match="File too large"):
                file.append([b"x" * 30_000, b"y" * 30_000])
            assert file.end == file.size_on_disk() == 6
        file.append([b"small"])
    file.append([b"x" * 30_000, b"y" * 30_000])
    assert file.read(0, file.end) == b"beforesmall" + b"x" * 30_000 + b"y" * 30_000
    file.close()


def test_a_file_that_is_closed_can_be_read_on_by_who_reads_it(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "log")
    file.append([b"content"])
    with file.in_use():
        file.close()
        assert file.read(0, 7) == b"content"
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.read(0, 7)


UNREADABLE = """
import ctypes
import mmap
from pathlib import Path
from disco_engine.partition.appendfile import AppendFile

pages = mmap.mmap(-1, 3 * 4096)
pages.write(b"a" * 4096 + b"b" * 4096 + b"c" * 4096)
at = ctypes.addressof(ctypes.c_char.from_buffer(pages))
ctypes.CDLL(None).munmap(ctypes.c_void_p(at + 4096), ctypes.c_size_t(4096))
file = AppendFile(Path("/proc/self/mem"))
assert file.read(at, 3 * 4096) == b"a" * 4096 + bytes(4096) + b"c" * 4096
assert file.read(at + 4090, 4108) == b"a" * 6 + bytes(4096) + b"c" * 6
assert file.read(at + 4100, 10) == bytes(10)
assert file.read(at + 8192, 10) == b"c" * 10
"""


def test_what_cannot_be_read_comes_as_zeros_and_what_is_beside_it_as_it_is() -> None:
    """The memory of a process is a file in which the kernel cannot read everything."""
    done = subprocess.run(
        [sys.executable, "-c", UNREADABLE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["the disk cannot read a part of a file"]
