"""Several processes that change one tag at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from disco.ddfs import DDFS

if TYPE_CHECKING:
    import subprocess

WRITER = """
import sys
from disco.ddfs import DDFS
with DDFS() as ddfs:
    for number in range(50):
        ddfs.tag("busy", [[f"http://example.org/{sys.argv[1]}/{number}"]])
"""


@pytest.mark.timeout(900)
def test_eight_processes_that_update_a_tag_fifty_times_each_lose_nothing_and_double_nothing(
    root: str, script: Callable[..., subprocess.Popen[str]]
) -> None:
    writers = [script(WRITER, str(number)) for number in range(8)]
    said = [writer.communicate(timeout=800)[0] for writer in writers]

    assert [writer.returncode for writer in writers] == [0] * 8, said
    urls = [url for (url,) in DDFS(root).urls("busy")]
    assert sorted(urls) == sorted(
        f"http://example.org/{writer}/{number}" for writer in range(8) for number in range(50)
    )
