"""Inputs and outputs that are not as they should be: what a user is told, and what is left."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from disco_engine.rpc import TOKEN_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import User

COUNT = """\
from disco import Job

class Count(Job):
    @staticmethod
    def map(line, params):
        yield len(line), 1
"""
TEXT_LINES = """\
from disco import Job
from disco.readers import text_lines

class Text(Job):
    map_reader = staticmethod(text_lines)

    @staticmethod
    def map(line, params):
        yield line, 1
"""
Damage = Callable[[bytes], bytes]
ONCE = ("--max-attempts", "1", "--output", "out")


@pytest.fixture(autouse=True)
def job_file(user: User) -> None:
    user.write("count.py", COUNT)


# --- inputs -------------------------------------------------------------------------------------


def test_a_missing_input_is_named_with_where_it_was_looked_for(user: User) -> None:
    user.write("there.txt", "text\n")

    error = user.fail("count.py", "there.txt", "gone.txt", *ONCE)

    assert error.startswith("Error: Count failed after ")
    assert f"no such file: {user.directory}/gone.txt (given as input 'gone.txt')" in error
    assert f"relative paths are resolved against {user.directory}\n" in error
    assert "  input    gone.txt\n" in error
    assert error.endswith("correct the job or what it was given, and run it again.\n")


def test_an_input_that_cannot_be_opened_is_named_with_the_reason(user: User) -> None:
    (user.directory / "loop").symlink_to("loop")

    error = user.fail("count.py", "loop", *ONCE)

    assert f"cannot read {user.directory}/loop" in error
    assert "Too many levels of symbolic links\n" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_input_that_may_not_be_read_is_named_with_the_reason(user: User) -> None:
    user.write("secret.txt", "text\n").chmod(0)

    error = user.fail("count.py", "secret.txt", *ONCE)

    assert f"cannot read {user.directory}/secret.txt" in error
    assert "Permission denied\n" in error


def test_a_file_that_is_used_as_a_directory_is_named(user: User) -> None:
    user.write("there.txt", "text\n")

    error = user.fail("count.py", "there.txt/more.txt", *ONCE)

    assert f"no such file: {user.directory}/there.txt/more.txt" in error


def without_end(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_another_checksum(content: bytes) -> bytes:
    return content[:-8] + bytes(4) + content[-4:]


def not_compressed(content: bytes) -> bytes:
    return b"line\n"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (without_end, "the gzip data ends too early, after "),
        (with_another_checksum, "decompressed bytes: Error -3 while decompressing data: incorrect"),
        (not_compressed, "broken gzip data after 0 decompressed bytes: Error -3"),
    ],
    ids=["cut short", "damaged", "not gzip"],
)
def test_a_broken_gzip_is_named_and_its_good_part_is_not_taken_for_all(
    user: User, damage: Damage, problem: str
) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(100_000))
    user.write("lines.gz", damage(gzip.compress(lines)))

    error = user.fail("count.py", "lines.gz", *ONCE)

    assert (
        f"stage map, task 0 failed once; the last time: cannot read {user.directory}/lin" in error
    )
    assert problem in error
    assert f"  input    {user.directory}/lines.gz\n" in error
    assert error.endswith(
        "Check that the input exists and is what the job's reader expects, and run it again.\n"
    )


def test_text_that_is_not_utf8_is_shown_with_its_place_and_what_to_do(user: User) -> None:
    user.write("text.py", TEXT_LINES)
    user.write("latin.txt", "plain\ncafé\n".encode("latin-1"))

    error = user.fail("text.py", "latin.txt", *ONCE)

    assert f"{user.directory}/latin.txt is not UTF-8: byte 9 of its content is b'\\xe9'" in error
    assert "in the line that begins b'caf\\xe9\\n'" in error
    assert "(iconv -f LATIN1 -t UTF-8), or read bytes with the default reader" in error


# --- outputs ------------------------------------------------------------------------------------


def test_an_output_directory_that_is_not_empty_is_left_alone(user: User) -> None:
    user.write("there.txt", "text\n")
    (user.directory / "out").mkdir()
    kept = user.write("out/results.txt", "of last week")

    error = user.fail("count.py", "there.txt", *ONCE)

    assert (
        f"output directory {user.directory}/out exists and is not empty (it has results.txt): "
        "choose another, or remove it" in error
    )
    assert kept.read_text() == "of last week"


def test_a_file_where_the_output_directory_should_be_is_left_alone(user: User) -> None:
    user.write("there.txt", "text\n")
    kept = user.write("out", "of last week")

    error = user.fail("count.py", "there.txt", *ONCE)

    assert f"cannot write the output directory {user.directory}/out: Not a directory" in error
    assert kept.read_text() == "of last week"


# --- ports --------------------------------------------------------------------------------------


def test_a_port_that_is_taken_ends_a_program_with_its_own_status_and_the_port(
    tmp_path: Path,
) -> None:
    flags = ["--job-uid=job", "--service-id=ps-0", "--node=node", f"--data-dir={tmp_path}/data"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "disco_engine.partition", f"--port={port}", *flags],
            env={**os.environ, TOKEN_VARIABLE: "token"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
