"""Jobs that make no sense, or do something they cannot: what a user is told, and what is left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import User

JOB = """\
from disco import Job

class Bad(Job):
    partitions = 2

    @staticmethod
    def map(line, params):
        yield line, 1

    @staticmethod
    def reduce(pairs, params):
        return pairs
"""
POISON = """\
from pathlib import Path

from disco import Job

def parse(line):
    return int(line)

class Parse(Job):
    @staticmethod
    def map(line, params):
        if not line.strip().isdigit():
            with Path("../attempts").open("a") as attempts:
                attempts.write("attempt\\n")
        yield parse(line), 1
"""


# --- job files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "job", "message"),
    [
        (
            "from disco import Job\n\nclass Bad(Job):\n    def map(line params):\n        pass\n",
            "bad.py",
            "{bad}:4: invalid syntax\n    def map(line params):\n                 ^\n",
        ),
        (
            "from disco import Job\n\nraise RuntimeError('no database')\n",
            "bad.py",
            'bad.py cannot be imported:\nTraceback (most recent call last):\n  File "{bad}", line 3'
            ", in <module>\n    raise RuntimeError('no database')\nRuntimeError: no database\n",
        ),
        (
            "threshold = 3\n",
            "bad.py:threshold",
            "threshold of bad.py is not a job: expected a class derived from disco.Job, or an"
            " object of one, found int 3\n",
        ),
        (
            "threshold = 3\n",
            "bad.py",
            "bad.py has no job: it needs a class derived from disco.Job\n",
        ),
    ],
    ids=["syntax", "import", "attribute", "no job"],
)
def test_a_job_file_that_cannot_be_used_is_wrong_use_with_the_place_of_the_mistake(
    user: User, content: str, job: str, message: str
) -> None:
    bad = user.write("bad.py", content)

    ended = user.run(job, "raw://text", "--output", "out")

    assert (ended.status, ended.out, ended.made) == (2, "", [])
    assert ended.err == f"Error: {message.format(bad=bad)}"


# --- what a job gives that cannot be a record ---------------------------------------------------


def with_map(*lines: str) -> str:
    return JOB.replace("        yield line, 1\n", "".join(f"        {line}\n" for line in lines))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            with_map("return len(line)"),
            "Bad.map (bad.py:6) returned 5 of type int: it must yield (key, value) pairs, or"
            " return an iterable of them",
        ),
        (
            with_map("yield 1, 2, 3"),
            "Bad.map (bad.py:6) yielded (1, 2, 3), which is not a (key, value) pair",
        ),
        (
            with_map("yield line, (part for part in line)"),
            "of type generator cannot be pickled (cannot pickle 'generator' object); keys and"
            " values must be plain data or picklable objects",
        ),
        (
            JOB.replace("partitions = 2", "partition = staticmethod(lambda k, n, p: 'two')"),
            "gave the label 'two' of type str: labels must be integers",
        ),
        (
            with_map("yield line, 1", "yield 3, 1").replace("partitions = 2", "sort = True"),
            "cannot sort by the keys 'a b a' of type str and 3 of type int: sort=True needs keys"
            " that compare with each other; make them of one type, or leave sort off",
        ),
    ],
    ids=["no iterable", "no pair", "unpicklable", "label", "order"],
)
def test_what_cannot_be_a_record_is_named_with_who_gave_it_and_what_would_do(
    user: User, content: str, message: str
) -> None:
    user.write("bad.py", content)

    error = user.fail("bad.py", "raw://a b a", "--max-attempts", "1", "--output", "out")

    assert error.startswith("Error: Bad failed after ")
    assert "\nstage map, task 0 failed once; the last time: " in error
    assert message in error
    assert "Traceback" not in error, "nobody but us has anything to do with those lines"
    assert "  task     map:0\n  attempt  1, by worker-0 on node-0\n" in error


def test_a_label_of_a_pipeline_that_is_not_an_integer_points_at_the_users_line(user: User) -> None:
    user.write(
        "bad.py",
        """\
        from disco import Job, Stage, group_label, split

        def spread(interface, state, label, entries):
            for entry in entries:
                interface.output("left").add(entry, 1)

        def collect(interface, state, label, entries):
            for entry, count in entries:
                interface.output(0).add(entry, count)

        class Bad(Job):
            pipeline = [(split, Stage("spread", process=spread)),
                        (group_label, Stage("collect", process=collect))]
        """,
    )

    error = user.fail("bad.py", "raw://a", "--max-attempts", "1", "--output", "out")

    assert "gave the label 'left' of type str: labels must be integers\n" in error
    assert f'  File "{user.directory}/bad.py", line 5, in spread\n' in error


# --- user code that raises ----------------------------------------------------------------------


def test_an_exception_comes_with_the_users_lines_and_the_record_cut(user: User) -> None:
    user.write("bad.py", POISON)
    user.write("long.txt", "x" * 100_000)

    error = user.fail("bad.py", "long.txt", "--max-attempts", "1", "--output", "out")

    frames = re.findall(r'  File "(.+)", line (\d+), in (\w+)\n', error)
    file = str(user.directory / "bad.py")
    assert frames == [(file, "14", "map"), (file, "6", "parse")]
    assert "\nValueError: invalid literal for int() with base 10: b'xxxx" in error
    (record,) = re.findall(r"  record   (.+)\n", error)
    assert record.startswith("b'xxxx")
    assert record.endswith("xxxx… (its length is 100,000)")
    assert len(record) <= 1000
    assert len(error) < 10_000


def test_a_poison_record_fails_the_job_after_so_many_attempts_and_is_shown(user: User) -> None:
    user.write("bad.py", POISON)
    user.write("numbers.txt", "".join(f"{number}\n" for number in range(100)))
    user.write("poison.txt", "1\n2\nthree\n4\n")

    error = user.fail(
        *("bad.py", "numbers.txt", "poison.txt", "numbers.txt"),
        *("--max-attempts", "3", "--output", "out"),
    )

    assert "\nstage map, task 1 failed 3 times; the last time: ValueError: invalid lit" in error
    assert "  record   b'three\\n'\n" in error
    assert f"  input    {user.directory}/poison.txt\n" in error
    assert "  task     map:1\n  attempt  3, by worker-0 on node-0\n" in error
    assert error.endswith(
        "Correct the job where the traceback points, or have it skip such records, and run it"
        " again.\n"
    )
    assert (user.directory.parent / "attempts").read_text() == "attempt\n" * 3
