import errno
import os
from pathlib import Path

import pytest

from disco_engine.partition.space import DiskSpace

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_with_a_limit_only_the_services_own_files_count(tmp_path: Path) -> None:
    own = 700
    space = DiskSpace(tmp_path, lambda: own, 1000, 0.9)
    assert (space.used, space.limit) == (700, 1000)
    assert space.refusal(200) is None
    refusal = space.refusal(201)
    assert refusal is not None
    for word in (str(tmp_path), "700", "1,000", "900"):
        assert word in refusal
    own = 500
    assert space.refusal(201) is None


def test_without_a_limit_the_file_system_decides_and_keeps_little_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gib = 2**30
    free = 50 * gib

    def statvfs(_: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 1000 * gib // 4096, 0, free // 4096, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    space = DiskSpace(tmp_path, lambda: 0, None, 0.9)
    assert (space.used, space.limit) == (950 * gib, 1000 * gib)
    assert space.refusal(46 * gib) is None  # a tenth would be 100 GiB: 4 are enough
    assert space.refusal(47 * gib) is not None


def test_there_is_a_shortage_until_what_was_refused_would_fit(tmp_path: Path) -> None:
    own = 700
    space = DiskSpace(tmp_path, lambda: own, 1000, 0.9)
    assert space.shortage(0) is None
    space.note_refusal(300)
    space.note_refusal(250)
    assert space.refusal(0) is None
    assert "1,000 bytes" in (space.shortage(0) or "")
    own = 600
    assert space.shortage(0) is None
    own = 700
    assert space.shortage(0) is None, "that was long ago"


def test_while_writing_fails_there_is_no_room_whatever_the_numbers_say(tmp_path: Path) -> None:
    space = DiskSpace(tmp_path, lambda: 0, 1000, 0.9)
    space.note_failure(FULL)
    assert "No space left on device" in (space.refusal(0) or "")
    space.note_failure(None)
    assert space.refusal(0) is None
