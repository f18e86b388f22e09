import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from disco.cli.jobfile import JobNotFoundError, load_job, parse_reference

JOB = """\
from disco.job import Job
class Count(Job):
    @staticmethod
    def map(e, params): yield e, 1
"""


@pytest.fixture(autouse=True)
def _own_directory_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def load(text: str, code: str) -> object:
    Path("words.py").write_text(dedent(code))
    return load_job(parse_reference(text, Path.cwd()))


def problem(text: str, code: str = JOB) -> str:
    with pytest.raises(JobNotFoundError) as caught:
        load(text, code)
    return str(caught.value)


@pytest.mark.parametrize("text", ["words.py", "./words.py", "words.py:Count", "words:Count"])
def test_a_job_is_found_by_file_or_module(text: str) -> None:
    job = load(text, JOB)

    assert type(job).__name__ == "Count"
    assert type(job).__module__ == "words"


def test_a_link_to_a_file_is_as_good_as_the_file() -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/helper.py").write_text("WORD = 1\n")
    Path("elsewhere/words.py").write_text("from helper import WORD\n" + JOB)
    Path("link.py").symlink_to("elsewhere/words.py")

    assert type(load_job(parse_reference("link.py", Path.cwd()))).__module__ == "words"


def test_a_file_that_runs_its_job_when_it_is_imported_is_refused() -> None:
    told = problem("words.py", JOB + "job = Count().run(input=['raw://a'])\n")

    assert 'words.py", line 5, in <module>' in told
    assert 'write if __name__ == "__main__": above what runs jobs' in told


def test_without_a_name_an_object_called_job_is_meant() -> None:
    job = load("words.py", JOB + "other = Count('other')\njob = Count('this')\n")

    assert getattr(job, "name", None) == "this"


def test_a_class_that_another_job_is_derived_from_is_not_meant() -> None:
    assert type(load("words.py", JOB + "class Better(Count): pass\n")).__name__ == "Better"


def test_an_imported_job_class_is_not_a_job_of_the_file() -> None:
    Path("base.py").write_text(JOB)
    job = load("words.py", "from base import Count\nclass Mine(Count): pass\n")

    assert type(job).__name__ == "Mine"


def test_a_dotted_name_reaches_into_classes() -> None:
    code = "from disco.job import Job\nclass Jobs:\n    class One(Job): pass\n"

    assert type(load("words:Jobs.One", code)).__name__ == "One"


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("missing.py", JOB, "there is no file missing.py"),
        ("", JOB, "JOB is empty; expected a manifest (job.yaml), file.py[:attribute] or"),
        (":x", JOB, ":x: nothing is before the colon; expected a manifest (job.yaml), file.py"),
        ("some/where", JOB, "there is no file some/where"),
        ("words.py:", JOB, "words.py:: a name must follow the colon"),
        ("words", JOB, "words: expected a manifest (job.yaml), file.py[:attribute] or"),
        ("wrods:Count", JOB, "there is no module wrods: looked in"),
        ("words.py:Cuont", JOB, "words.py has no attribute Cuont; did you mean Count?"),
        ("words.py:Xyzzy", JOB, "words.py has no attribute Xyzzy; its jobs are Count"),
        ("words.py:x", "x = 3", "x of words.py is not a job: expected a class derived from"),
        ("words.py", "x = 3", "words.py has no job: it needs a class derived from disco.Job"),
        (
            "words.py",
            JOB + "class Sum(Job): pass\n",
            "words.py has several jobs: Count, Sum; say which, for instance words.py:Count",
        ),
    ],
)
def test_a_job_that_is_not_there_is_explained(text: str, code: str, expected: str) -> None:
    assert problem(text, code).startswith(expected)


def test_a_syntax_error_is_shown_with_its_line() -> None:
    Path("words.py").write_text("import os\n\ndef map(e params):\n    pass\n")
    with pytest.raises(JobNotFoundError) as caught:
        load_job(parse_reference("words.py", Path.cwd()))

    first, line, mark = str(caught.value).splitlines()
    assert first.startswith(str(Path("words.py").resolve()) + ":3: ")
    assert line == "    def map(e params):"
    assert line[mark.index("^")] in "(ep"  # which of them depends on Python's version


def test_an_exception_at_import_is_shown_from_the_users_first_line_on() -> None:
    told = problem("words.py", "def broken():\n    return 1 / 0\n\nbroken()\n").splitlines()

    assert told[0] == "words.py cannot be imported:"
    assert told[1] == "Traceback (most recent call last):"
    assert told[2].endswith('words.py", line 4, in <module>')
    assert told[-1] == "ZeroDivisionError: division by zero"
    assert "importlib" not in "\n".join(told)


def test_a_missing_module_of_the_users_is_told_as_such() -> None:
    told = problem("words.py", "import nmupy\n")

    assert told.startswith("words.py cannot be imported:\n")
    assert told.endswith("ModuleNotFoundError: No module named 'nmupy'")


def test_a_script_that_exits_when_it_is_imported_does_not_end_us() -> None:
    assert problem("words.py", "import sys; sys.exit('bye')").endswith("SystemExit: bye")


def test_a_file_named_like_a_loaded_module_is_refused() -> None:
    Path("json.py").write_text(JOB)
    with pytest.raises(JobNotFoundError, match="there is a module named json already"):
        load_job(parse_reference("json.py", Path.cwd()))


def test_a_constructor_that_fails_is_shown() -> None:
    code = JOB + "    def __init__(self): raise ValueError('no database')\n"

    told = problem("words.py", code)
    assert told.startswith("Count() of words.py failed:")
    assert told.endswith("ValueError: no database")


def test_a_class_may_follow_its_module_after_a_dot(tmp_path: Path) -> None:
    assert parse_reference("package.jobs.Words", tmp_path) == parse_reference(
        "package.jobs:Words", tmp_path
    )
    for nothing in ("Words", ".Words", "package.jobs."):
        with pytest.raises(JobNotFoundError, match="expected a manifest"):
            parse_reference(nothing, tmp_path)
