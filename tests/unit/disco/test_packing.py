"""A job and all it needs travels: from scripts, from modules beside them, from notebooks."""

import io
import json
import linecache
import os
import subprocess
import sys
import threading
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disco import Job
from disco.error import DiscoError
from disco.packing import pack_job, pack_reference
from disco.program import load
from disco.v1 import job_pb2
from disco_engine.program import ProgramError

Write = Callable[[str, str], Path]

LOADER = """
import io, json, sys, tempfile, traceback, zipfile
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.unit.disco.conftest import MemoryEngine
from disco.program import load
from disco.v1 import job_pb2

code = job_pb2.JobCode.FromString(sys.stdin.buffer.read())
with tempfile.TemporaryDirectory() as directory:
    if code.modules_zip:
        zipfile.ZipFile(io.BytesIO(code.modules_zip)).extractall(directory)
    sys.path.insert(0, directory)
    engine = MemoryEngine(Path(directory))
    engine.load = lambda job, **jobargs: load(code.payload)
    try:
        print(json.dumps(engine.run(None, input=["raw://b a"]).pairs))
    except Exception:
        traceback.print_exc()  # as slots do; the interpreter itself looks at the disk only
        sys.exit(1)
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Give a function that writes a file into an empty directory."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / "author" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


class ElsewhereError(Exception):
    """The other process failed; the message is what it wrote to standard error."""


def elsewhere(code: job_pb2.JobCode) -> Any:
    """Run a packed job in another process, with nothing of the author's but what travelled."""
    script = LOADER.format(root=str(Path(__file__).parents[3]))
    ended = subprocess.run(
        [sys.executable, "-P", "-c", script],
        input=code.SerializeToString(),
        capture_output=True,
        cwd="/",
        check=False,
    )
    if ended.returncode:
        raise ElsewhereError(ended.stderr.decode())
    return json.loads(ended.stdout)


def packed_by(script: Path, *arguments: str) -> job_pb2.JobCode:
    """Run an author's script, which writes its packed job to standard output."""
    ended = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        cwd=script.parent,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return job_pb2.JobCode.FromString(ended.stdout)


def names_in(code: job_pb2.JobCode) -> list[str]:
    if not code.modules_zip:
        return []
    return sorted(zipfile.ZipFile(io.BytesIO(code.modules_zip)).namelist())


PACK = """
import sys
from disco.packing import pack_job
sys.stdout.buffer.write(pack_job({job}, {jobargs}).SerializeToString())
"""


# --- scripts ----------------------------------------------------------------------------------


def test_functions_classes_and_lambdas_of_a_script_travel(write: Write) -> None:
    script = write(
        "script.py",
        """
from disco import Job

SUFFIX = "!"
shout = lambda word: word.upper() + SUFFIX

class Word:
    def __init__(self, text):
        self.text = text

def words(line, params):
    for word in line.split():
        yield Word(word).text, shout(word)

class Shout(Job):
    map = staticmethod(words)
"""
        + PACK.format(job="Shout()", jobargs="{}"),
    )
    code = packed_by(script)
    assert names_in(code) == []
    assert elsewhere(code) == [["b", "B!"], ["a", "A!"]]


def test_modules_beside_the_script_travel_with_what_they_import(write: Write) -> None:
    write("helper.py", "import deep.deeper\nsuffix = deep.deeper.SUFFIX\n")
    write("deep/__init__.py", "")
    write("deep/deeper.py", "from . import deepest\nSUFFIX = deepest.SUFFIX\n")
    write("deep/deepest.py", "SUFFIX = '!'\n")
    write("unrelated.py", "")
    write(".env", "PASSWORD=1")
    script = write(
        "script.py",
        """
import json
import helper
from disco import Job

def suffixed(line, params):
    yield line, helper.suffix
"""
        + PACK.format(job="Job('J')", jobargs="{'map': suffixed}"),
    )
    code = packed_by(script)
    assert names_in(code) == [
        "deep/__init__.py",
        "deep/deeper.py",
        "deep/deepest.py",
        "helper.py",
    ]
    assert elsewhere(code) == [["b a", "!"]]


def test_a_job_s_class_may_be_in_a_module_beside_the_script(write: Write) -> None:
    write("names.py", "def upper(word):\n    return word.upper()\n")
    write(
        "jobs/__init__.py",
        "",
    )
    write(
        "jobs/upper.py",
        """
import names
from disco import Job

class Upper(Job):
    @staticmethod
    def map(line, params):
        from jobs import late
        yield late.tag, names.upper(line)
""",
    )
    write("jobs/late.py", "tag = 'late'\n")
    script = write(
        "script.py",
        "from jobs.upper import Upper\n" + PACK.format(job="Upper()", jobargs="{}"),
    )
    code = packed_by(script)
    assert names_in(code) == ["jobs/__init__.py", "jobs/late.py", "jobs/upper.py", "names.py"]
    assert elsewhere(code) == [["late", "B A"]]


def test_a_script_without_a_file_takes_along_what_it_imported_from_its_directory(
    write: Write,
) -> None:
    helper = write("helper.py", "suffix = '!'\n")
    source = "import helper\nfrom disco import Job\n" + PACK.format(
        job="Job('J')", jobargs="{'map': lambda line, params: [(line, helper.suffix)]}"
    )
    ended = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, cwd=helper.parent, check=True
    )
    code = job_pb2.JobCode.FromString(ended.stdout)
    assert names_in(code) == ["helper.py"]
    assert elsewhere(code) == [["b a", "!"]]


def test_required_modules_and_files_travel(write: Write) -> None:
    write("plugin.py", "tag = 'plugged'\n")
    write("stop words.txt", "the")
    script = write(
        "script.py",
        """
import sys
from disco import Job
from disco.packing import pack_job

def tagged(line, params):
    import importlib, pathlib
    module = importlib.import_module("plug" + "in")
    place = pathlib.Path(module.__file__).parent / "lib"
    yield module.tag, [(place / name).read_text() for name in ("stop words.txt", "made.txt")]

code = pack_job(
    Job('J'), {'map': tagged}, required_modules=['plugin', 'json'],
    required_files=['stop words.txt'],
)
again = pack_job(Job('J'), {'map': tagged}, required_files={'lib/made.txt': b'made'})
print(code.modules_zip.hex(), again.modules_zip.hex(), code.payload.hex())
""",
    )
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, cwd=script.parent, check=True
    )
    first, second, payload = (bytes.fromhex(part) for part in ended.stdout.decode().split())
    code = job_pb2.JobCode(modules_zip=first, payload=payload)
    assert names_in(code) == ["lib/stop words.txt", "plugin.py"]
    merged = io.BytesIO(first)
    with zipfile.ZipFile(merged, "a") as target, zipfile.ZipFile(io.BytesIO(second)) as source:
        target.writestr("lib/made.txt", source.read("lib/made.txt"))
    code.modules_zip = merged.getvalue()
    assert elsewhere(code) == [["plugged", ["the", "made"]]]


# --- what cannot travel -----------------------------------------------------------------------


def job_of(function: Any) -> Job:
    job = Job(name="J")
    job.map = function  # type: ignore[attr-defined]
    return job


def test_what_cannot_be_pickled_is_named_with_advice() -> None:
    lock = threading.Lock()
    with pytest.raises(DiscoError, match=r"cannot pickle job Job: .*lock.*make it in map_init"):
        pack_job(job_of(lambda line, params: lock), {})


@pytest.mark.parametrize("name", [".env", "server.pem", "id_rsa", ".netrc", "prod.env"])
def test_secrets_never_travel(write: Write, name: str) -> None:
    path = write(name, "secret")
    with pytest.raises(DiscoError, match="looks like a secret, which never travels"):
        pack_job(Job(), {}, required_files=[str(path)])


def test_of_two_required_files_with_one_name_none_is_left_out_silently(tmp_path: Path) -> None:
    paths = [tmp_path / "one" / "words.txt", tmp_path / "two" / "words.txt"]
    for path in paths:
        path.parent.mkdir()
        path.write_text(path.parent.name)
    with pytest.raises(DiscoError, match=r"both would be lib/words\.txt; rename one of them"):
        pack_job(Job(), {}, required_files=[str(path) for path in paths])
    with pytest.raises(DiscoError, match=r"both would be lib/words\.txt; rename one of them"):
        pack_job(Job(), {}, required_files={"lib/words.txt": b"1", "lib//./words.txt": b"2"})
    pack_job(Job(), {}, required_files=[str(paths[0])] * 2)


def test_required_files_with_their_content_are_where_their_names_say() -> None:
    files = {"words.txt": b"1", "lib/words.txt": b"2", "data/a/words.txt": b"3"}
    assert names_in(pack_job(Job(), {}, required_files=files)) == sorted(files)


def test_a_required_file_never_takes_the_place_of_a_module(write: Write) -> None:
    script = write("words.py", "")
    with pytest.raises(DiscoError, match=r"required file words\.py: .* be there as well"):
        pack_reference("words.py", {}, directory=script.parent, required_files={"words.py": b""})


@pytest.mark.parametrize("name", ["/etc/words.txt", "../words.txt", "lib/../../x", "", "."])
def test_required_files_cannot_be_outside_the_job_s_directory(name: str) -> None:
    with pytest.raises(DiscoError, match=f"required file '{name}': name its place below the"):
        pack_job(Job(), {}, required_files={name: b""})


def test_a_required_file_that_is_missing_is_named() -> None:
    with pytest.raises(DiscoError, match=r"required file no-such\.txt: No such file"):
        pack_job(Job(), {}, required_files=["no-such.txt"])


def test_code_of_another_python_is_refused() -> None:
    code = pack_job(job_of(lambda line, params: []), {})
    here = f'"{sys.version_info.major}.{sys.version_info.minor}"'.encode()
    with pytest.raises(ProgramError, match=r"submitted with Python 2\.7, but this worker runs"):
        load(code.payload.replace(here, b'"2.7"', 1))


# --- tracebacks -------------------------------------------------------------------------------


def test_a_traceback_shows_the_author_s_file_and_line_where_the_file_does_not_exist(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = write(
        "script.py",
        "from disco import Job\n\n\ndef fails(line, params):\n    raise OSError('here')\n"
        + PACK.format(job="Job('J')", jobargs="{'map': fails}"),
    )
    payload = packed_by(script).payload
    script.unlink()
    monkeypatch.setattr(linecache, "cache", {})
    trace = traceback_of(payload)
    assert f"File \"{script}\", line 5, in fails\n    raise OSError('here')" in trace


def test_a_traceback_through_a_module_that_travelled_names_the_author_s_file(
    write: Write,
) -> None:
    module = write("helper.py", "def check(line):\n    raise OSError('there')\n")
    script = write(
        "script.py",
        "import helper\nfrom disco import Job\n"
        + PACK.format(job="Job('J')", jobargs="{'map': lambda line, params: helper.check(line)}"),
    )
    code = packed_by(script)
    module.unlink()
    with pytest.raises(ElsewhereError) as caught:
        elsewhere(code)
    assert f"File \"{module}\", line 2, in check\n    raise OSError('there')" in str(caught.value)


def traceback_of(payload: bytes) -> str:
    program = load(payload)
    try:
        program._stages[0].runner._given.map("line", None)  # type: ignore[attr-defined]
    except OSError as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError("nothing was raised")


# --- references -------------------------------------------------------------------------------

JOBS = """
from disco import Job
import helper

class First(Job):
    @staticmethod
    def map(line, params):
        yield line, params.suffix + helper.mark

{second}
"""


@pytest.fixture
def jobs(write: Write) -> Path:
    """Give a directory with a file that has a job."""
    write("helper.py", "mark = '?'\n")
    path = write("jobs.py", JOBS.format(second=""))
    return path.parent


@pytest.mark.parametrize("reference", ["jobs.py:First", "jobs.py", "jobs:First", "jobs"])
def test_a_job_may_be_named_by_file_or_module(jobs: Path, reference: str) -> None:
    code = pack_reference(reference, {"params": {"suffix": "!"}}, directory=jobs)
    assert names_in(code) == ["helper.py", "jobs.py"]
    assert elsewhere(code) == [["b a", "!?"]]


def test_a_script_may_be_called_like_a_module_that_is_imported_already(jobs: Path) -> None:
    os.rename(jobs / "jobs.py", jobs / "json.py")
    code = pack_reference("json.py:First", {"params": {"suffix": "!"}}, directory=jobs)
    assert elsewhere(code) == [["b a", "!?"]]


@pytest.mark.parametrize(
    ("reference", "second", "message"),
    [
        ("jobs.py:Frist", "", "jobs.py has no attribute 'Frist'; jobs in it: First"),
        (
            "jobs.py:helper",
            "",
            "jobs.py:helper is of type module, not a job: a job is a subclass of",
        ),
        ("jobs.py:limit", "limit = 3", "jobs.py:limit is of type int, not a job"),
        ("jobs.py", "class Second(Job): pass", "say which, as in jobs.py:First or jobs.py:Second"),
        ("jobs.py", "del First", "jobs.py defines no job"),
        ("jobs.py", "def broken(:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_reference_that_names_no_job_says_what_there_is(
    jobs: Path, write: Write, reference: str, second: str, message: str
) -> None:
    write("jobs.py", JOBS.format(second=second))
    with pytest.raises(ElsewhereError) as caught:
        elsewhere(pack_reference(reference, {}, directory=jobs))
    assert message in str(caught.value)


def test_a_reference_to_no_file_and_arguments_that_are_no_json_are_refused(jobs: Path) -> None:
    with pytest.raises(DiscoError, match=r"there is no file none\.py in "):
        pack_reference("none.py", {}, directory=jobs)
    with pytest.raises(DiscoError, match=r"arguments of jobs\.py must be JSON"):
        pack_reference("jobs.py", {"params": object()}, directory=jobs)
