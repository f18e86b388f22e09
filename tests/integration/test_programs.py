"""Programs as workers under a real engine: limits, retries, and nothing left of them."""

import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import User

Compiled = Callable[[str], Path]

JOB = """
from disco import Job, group_label, split
from disco.worker.executable import Executable

class Words(Job):
    Worker = Executable
    program = "program"
    pipeline = [(split, "map"), (group_label, "reduce")]
    max_attempts = 2
"""
SCRIPT = f"""#!{sys.executable} -IS
import json, os, subprocess, sys, time

def say(name, payload=""):
    text = json.dumps(payload)
    sys.stderr.write(f"{{name}} {{len(text)}} {{text}}\\n")
    sys.stderr.flush()

say("WORKER", {{"version": "1.1", "pid": os.getpid()}})
sys.stdin.readline()
"""


@pytest.fixture
def author(user: User) -> User:
    user.write("words.py", JOB)
    return user


def give(author: User, program: str | Path) -> None:
    """Let the job's program be a compiled one, or a script of this code."""
    content = SCRIPT + program if isinstance(program, str) else program.read_bytes()
    author.write("program", content)


def test_a_task_that_says_error_is_tried_again_and_words_are_counted_once(
    author: User, compiled: Compiled, tmp_path: Path
) -> None:
    """The program travels with the job; its first attempt fails, and leaves a mark."""
    text = "the cat the dog\nThe end\n" * 20_000
    inputs = [str(author.write(f"{number}.txt", text)) for number in range(3)]
    give(author, compiled("wordcount.c"))
    author.write(
        "words.py",
        JOB
        + f"    arguments = ['once', {str(tmp_path / 'tried')!r}]\n"
        + "    input_format = 'netstring'\n",
    )
    ended = author.run("words.py", *inputs, "--head", "all")
    assert ended.status == 0, ended.err
    counts = Counter(re.findall("[a-z']+", (text * 3).lower()))
    assert sorted(ended.out.splitlines()) == sorted(f"{w}\t{n}" for w, n in counts.items())
    assert (tmp_path / "tried").exists()
    assert "better luck next time" in ended.err


def test_fatal_ends_the_job_at_once(author: User, compiled: Compiled, tmp_path: Path) -> None:
    give(author, compiled("wordcount.c"))
    author.write("words.py", JOB + "    arguments = ['fatal']\n")
    assert "can never work: program: this can never work" in author.fail("words.py", "raw://x")


def test_a_program_that_takes_too_long_is_killed_with_all_that_it_has_started(
    author: User,
) -> None:
    give(author, "subprocess.Popen(['sleep', '600'])\ntime.sleep(600)\n")
    author.write("words.py", JOB + "    task_timeout = 1\n    max_attempts = 1\n")
    assert "longer than" in author.fail("words.py", "raw://x")


def test_the_limit_on_memory_is_that_of_the_program_as_well(author: User) -> None:
    give(author, "bytearray(1 << 31)\n")
    message = author.fail("words.py", "raw://x", "--memory", "1Gi")
    assert "it exited with status 1" in message
    assert "MemoryError" in message
