"""What is sent for a job, and what is refused before anything is."""

import importlib.util
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from disco import Job, travelled
from disco.client.errors import CannotTravelError
from disco.client.submission import Submission
from disco.client.submitting import Reference, fitted, prefix_of, submission_of
from disco.error import DiscoError
from disco.manifest import parse_spec
from disco.payload import PYTHON, split_payload
from disco.program import load
from disco.v1 import job_pb2, jobs_pb2

LOCAL = jobs_pb2.AboutReply(kind="local", python=PYTHON)
CLUSTER = jobs_pb2.AboutReply(kind="kubernetes", python=PYTHON, max_code_bytes=1_000_000)

MODULE = """
    from disco import Job, Params
    import helper

    class Words(Job):
        partitions = 4
        workers = 3
        max_attempts = 7
        params = Params(least=1, most=9)

        @staticmethod
        def map(line, params):
            return [(helper.clean(line), params.least)]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a directory with a job in words.py, and what it imports."""
    (tmp_path / "words.py").write_text(dedent(MODULE))
    (tmp_path / "helper.py").write_text("def clean(line): return line\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def words(place: Path) -> Job:
    spec = importlib.util.spec_from_file_location("words", place / "words.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules["words"] = module
    spec.loader.exec_module(module)
    job: Job = module.Words()
    return job


def packed(place: Path, jobargs: dict[str, Any] | None = None, **more: Any) -> Submission:
    more.setdefault("reference", Reference("words.py:Words", place))
    return submission_of(words(place), {"input": ["raw://x"], **(jobargs or {})}, **more)


def code_of(submission: Submission) -> job_pb2.JobCode:
    return job_pb2.JobCode.FromString(submission.code)


def files_in(submission: Submission) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(code_of(submission).modules_zip)) as archive:
        return sorted(archive.namelist())


# --- the spec ---------------------------------------------------------------------------------


def test_the_spec_says_what_the_job_and_the_call_ask_for(place: Path) -> None:
    submission = packed(
        place,
        {"output": "s3://b/out", "format": "csv", "requirements": ["numpy>=2"], "copies": 2},
        settings={"task_timeout_s": 1.5, "deadline_s": 59.5, "exclude_after_failures": 0},
        slots=2,
        partition_services=3,
        labels={"team": "a"},
        over={"image": "mine:1", "workers": {"max": 9, "replicas": None}},
    )
    assert submission.spec == {
        "job": "words:Words",
        "inputs": ["raw://x"],
        "output": {"url": "s3://b/out", "format": "csv"},
        "retries": {"maxAttempts": 7, "exclusion": {"afterFailures": 0}},
        "taskTimeout": "1500ms",
        "activeDeadlineSeconds": 60,
        "workers": {"replicas": None, "slots": 2, "max": 9},
        "partitionService": {"copies": 2, "replicas": 3},
        "requirements": ["numpy>=2"],
        "image": "mine:1",
    }
    assert submission.labels == {"team": "a"}
    assert submission.name_prefix == "words"


def test_max_cores_limits_the_workers_that_are_asked_for(place: Path) -> None:
    few, many = ({"scheduler": {"max_cores": most}} for most in (2, 99))
    assert packed(place, few).spec["workers"] == {"replicas": 2}
    assert packed(place, many).spec["workers"] == {"replicas": 3}
    assert packed(place, {**few, "workers": None}).spec["workers"] == {"max": 2}


def test_a_spec_is_one_that_a_server_accepts(place: Path) -> None:
    spec = dict(packed(place, {"input": ["raw://x", ["a://1", "b://1"]]}).spec)
    read = parse_spec(spec)
    assert read.inputs == (("raw://x",), ("a://1", "b://1"))
    assert read.workers.replicas == 3


def test_a_job_of_a_function_s_own_has_a_name_that_is_accepted() -> None:
    class Inner(Job):
        @staticmethod
        def map(line: str, params: Any) -> list[Any]:
            return []

    spec = submission_of(Inner(), {"input": ["raw://x"]}).spec
    assert parse_spec(dict(spec)).job.endswith(":Inner")


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("WordCount", "wordcount"),
        ("my job_2!", "my-job-2"),
        ("2nd", "job-2nd"),
        ("é", "job"),
        ("x" * 50, "x" * 36),
        ("a" * 35 + "-bcd", "a" * 35),
    ],
)
def test_names_of_jobs_here_begin_names_there(name: str, prefix: str) -> None:
    assert prefix_of(name) == prefix


# --- the code ---------------------------------------------------------------------------------


def test_a_job_whose_arguments_are_json_travels_as_source(place: Path) -> None:
    submission = packed(place, over={"params": {"least": 5}, "partitions": 2})
    assert submission.pickled_by == ""
    header, body = split_payload(code_of(submission).payload)
    assert (header.reference, body) == ("words.py:Words", b"")
    assert header.jobargs == {"params": {"least": 5}, "partitions": 2}
    assert files_in(submission) == ["helper.py", "words.py"]
    assert [name for name, _ in submission.travels] == ["helper.py", "words.py"]
    assert submission.travels[-1].size_bytes == (place / "words.py").stat().st_size
    assert submission.spec["params"] == {"least": 5}


@pytest.mark.parametrize(
    "jobargs",
    [{"reduce": lambda pairs, params: pairs}, {"map_init": print}, {"params": {"least": 5}}],
)
def test_other_arguments_are_pickled(place: Path, jobargs: dict[str, Any]) -> None:
    submission = packed(place, jobargs)
    assert submission.pickled_by == PYTHON
    assert "(the job itself)" in [name for name, _ in submission.travels]


def test_params_are_over_the_job_s_own_when_they_are_pickled(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(travelled, "_originals", {})  # which loading it adds to
    submission = packed(place, {"map_init": print}, over={"params": {"least": 5}})
    program: Any = load(code_of(submission).payload)
    assert vars(program._params.copy()) == {"least": 5, "most": 9}


def test_without_a_reference_a_job_is_pickled(place: Path) -> None:
    submission = packed(place, reference=None)
    assert submission.pickled_by == PYTHON
    assert "helper.py" in files_in(submission)


def test_the_same_job_is_the_same_code(place: Path) -> None:
    assert packed(place).code == packed(place).code


# --- what stays here --------------------------------------------------------------------------


def test_an_ignore_file_keeps_modules_here(place: Path) -> None:
    (place / ".discoignore").write_text("# ours\nhelp*.py\n")
    submission = packed(place)
    assert files_in(submission) == ["words.py"]
    assert submission.left_out == (str(place / "helper.py"),)


def test_an_ignore_file_has_the_syntax_of_gitignore(place: Path) -> None:
    package = place / "lib"
    (package / "data").mkdir(parents=True)
    for name in ("__init__.py", "a.py", "b.py", "data/__init__.py", "data/c.py"):
        (package / name).write_text("")
    (place / "helper.py").write_text("import lib\ndef clean(line): return line\n")
    (place / ".discoignore").write_text("lib/*.py\n!lib/__init__.py\n!lib/b.py\n/lib/data/\n")
    assert files_in(packed(place)) == ["helper.py", "lib/__init__.py", "lib/b.py", "words.py"]


def test_an_ignore_file_that_makes_no_sense_is_told(place: Path) -> None:
    (place / ".discoignore").write_bytes(b"\xff")
    with pytest.raises(DiscoError, match=r"\.discoignore cannot be read"):
        packed(place)


def test_a_required_file_that_is_excluded_is_a_contradiction(place: Path) -> None:
    (place / "table.csv").write_text("")
    (place / ".discoignore").write_text("*.csv\n")
    with pytest.raises(DiscoError, match=r"table\.csv: .*\.discoignore excludes it"):
        packed(place, {"required_files": [str(place / "table.csv")]})


@pytest.mark.parametrize("how", [None, "reference"])
def test_a_module_that_looks_like_a_secret_does_not_travel(place: Path, how: str | None) -> None:
    (place / "helper.py").write_text("import credentials\ndef clean(line): return line\n")
    (place / "credentials.py").write_text("PASSWORD = 'hunter2'\n")
    reference = Reference("words.py:Words", place) if how else None
    with pytest.raises(CannotTravelError, match=r"credentials\.py: .* secret, .*allow_secrets="):
        packed(place, reference=reference)
    allowed = packed(place, {"allow_secrets": ["credentials.py"]}, reference=reference)
    assert "credentials.py" in files_in(allowed)


def test_a_required_file_that_looks_like_a_secret_travels_if_it_is_allowed(place: Path) -> None:
    (place / "tls.key").write_text("")
    required = {"required_files": [str(place / "tls.key")]}
    with pytest.raises(DiscoError, match="looks like a secret"):
        packed(place, required)
    assert "lib/tls.key" in files_in(packed(place, {**required, "allow_secrets": ["tls.key"]}))


def test_required_modules_travel_either_way(place: Path) -> None:
    (place / "extra.py").write_text("")
    for reference in (None, Reference("words.py:Words", place)):
        submission = packed(place, {"required_modules": ["extra"]}, reference=reference)
        assert "extra.py" in files_in(submission)


# --- fitting ----------------------------------------------------------------------------------


def plain(**spec: Any) -> Submission:
    return Submission(spec={"job": "m:A", **spec})


def test_paths_become_absolute_for_a_server_on_this_machine(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", "/home/me")
    ready = fitted(
        plain(
            inputs=["in.txt", ["~/a", "s3://b/a"], "raw://x", "*.txt"],
            output={"url": "out", "format": "csv"},
        ),
        LOCAL,
    )
    assert ready.spec["inputs"] == [
        f"{place}/in.txt",
        ["/home/me/a", "s3://b/a"],
        "raw://x",
        f"{place}/*.txt",
    ]
    assert ready.spec["output"] == {"url": f"{place}/out", "format": "csv"}


@pytest.mark.parametrize("name", ["in.txt", "{place}/in.txt", "{place}/*.txt", "file://{place}"])
def test_a_cluster_cannot_read_files_of_this_machine(place: Path, name: str) -> None:
    (place / "in.txt").touch()
    submission = plain(inputs=["s3://b/x", name.format(place=place)])
    with pytest.raises(CannotTravelError, match=r"a path on this machine, .*s3://"):
        fitted(submission, CLUSTER)
    assert fitted(submission, CLUSTER, paths_are_remote=True) == submission


def test_a_path_that_is_not_here_may_be_on_the_workers(place: Path) -> None:
    submission = plain(inputs=["/data/logs/*.gz"], output={"url": "/data/out", "format": "text"})
    assert fitted(submission, CLUSTER) == submission


def test_a_relative_output_says_nothing_on_a_cluster() -> None:
    with pytest.raises(CannotTravelError, match="output out: a relative path says nothing"):
        fitted(plain(output={"url": "out", "format": "text"}), CLUSTER)


def test_the_output_of_a_packed_job_is_as_it_was_given(place: Path) -> None:
    assert packed(place, {"output": "out"}).spec["output"]["url"] == "out"


def test_results_of_other_jobs_are_read_on_the_same_serve_only() -> None:
    served = plain(inputs=["disco://h:1/ns/job/uid/0"])
    assert fitted(served, LOCAL).spec["inputs"] == ["disco://h:1/ns/job/uid/0"]
    with pytest.raises(CannotTravelError, match="on a cluster only that job's workers can read"):
        fitted(served, CLUSTER)
    for about in (LOCAL, CLUSTER):
        with pytest.raises(CannotTravelError, match="this process has run itself, which no server"):
            fitted(plain(inputs=["disco://h:1/uid/2/0"]), about)


def test_directories_of_this_machine_are_searched_by_servers_on_it_only(place: Path) -> None:
    submission = packed(place)
    assert str(place) in code_of(fitted(submission, LOCAL)).python_path
    assert list(code_of(fitted(submission, CLUSTER)).python_path) == []


def test_a_pickle_of_another_python_is_told_early(place: Path) -> None:
    other = jobs_pb2.AboutReply(kind="kubernetes", python="3.99")
    pickled = packed(place, reference=None)
    with pytest.raises(CannotTravelError, match=r"the server's workers run Python 3\.99"):
        fitted(pickled, other)
    fitted(packed(place), other)  # as source it may run there
    fitted(packed(place, reference=None, over={"image": "mine:1"}), other)  # nobody knows


def test_code_that_is_too_large_is_told_with_what_is_large(place: Path) -> None:
    (place / "large.bin").write_bytes(bytes(range(256)) * 10)
    small = jobs_pb2.AboutReply(kind="kubernetes", python=PYTHON, max_code_bytes=500)
    submission = packed(place, {"required_files": [str(place / "large.bin")]})
    with pytest.raises(CannotTravelError, match=r"takes 500; .* largest: lib/large\.bin \(2,560"):
        fitted(submission, small)


def test_rivals_for_slow_tasks_are_asked_for_as_a_manifest_does(place: Path) -> None:
    asked = {"speculation_multiplier": 3.0, "speculation_quantile": 0.5}
    spec = dict(packed(place, {}, settings=asked).spec)
    assert spec["speculation"] == {"enabled": True, "multiplier": 3.0, "quantile": 0.5}
    assert asked.items() <= parse_spec(spec).engine_settings().items()
    assert "speculation" not in packed(place, {}).spec
