"""How a job is started: under which name, with which inputs and parameters, by whose settings."""

import re
from pathlib import Path
from typing import Any

import pytest

from disco import Job
from disco.error import DiscoError
from disco.job import SimpleJob
from disco.job_inputs import input_urls
from disco.settings import DiscoSettings
from disco.submission import job_spec, unique_name
from disco.v1 import job_pb2

from .fake_engine import FakeEngine, Words, started

pytestmark = pytest.mark.usefixtures("engines")


def test_run_returns_the_job_with_a_unique_name() -> None:
    first, second = started(), started()
    assert re.fullmatch(r"Words@[0-9a-f]+:[0-9a-f]+:[0-9a-f]+", first.name)
    assert first.name != second.name
    assert started(name="other").name.startswith("other@")


def test_a_job_may_be_run_again_under_a_new_name() -> None:
    job = started()
    before = job.name
    job.run(input=["raw://x"])
    assert job.name != before
    assert job.name.startswith("Words@")
    assert job.name.count("@") == 1


@pytest.mark.parametrize("prefix", ["a/b", "a.b", ""])
def test_a_name_has_no_slash_and_no_dot(prefix: str) -> None:
    with pytest.raises(DiscoError, match="invalid prefix"):
        unique_name(prefix)


@pytest.mark.parametrize("name", ["Ünï", "日本", "-", "x" * 300])
def test_the_uid_can_be_a_file_s_name_and_an_argument_whatever_the_job_is_called(name: str) -> None:
    uid = job_spec(Job(), {"map": lambda line, params: []}, name=name).uid
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{8,120}", uid)


def test_the_engine_is_started_as_the_job_asks(engines: list[FakeEngine]) -> None:
    started(
        workers=3, slots=2, memory=10**9, task_timeout=60, max_attempts=2, split_size=1000, copies=2
    )
    (engine,) = engines
    assert (engine.workers, engine.slots, engine.started) == (3, 2, True)
    settings = engine.spec.settings
    assert settings.memory_limit_bytes == 10**9
    assert settings.task_timeout_s == 60
    assert settings.max_attempts == 2
    assert settings.split_size_bytes == 1000
    assert settings.copies == 2
    assert settings.worker_lease_s == 15


def test_max_cores_is_the_most_tasks_at_a_time(engines: list[FakeEngine]) -> None:
    started(workers=8, slots=2, scheduler={"max_cores": 5, "force_local": True})
    started(workers=1, slots=4, scheduler={"max_cores": 2})
    assert [engine.workers for engine in engines] == [2, 1]


def test_parameters_are_looked_up_in_arguments_then_job_then_worker(
    engines: list[FakeEngine],
) -> None:
    class Eager(Words):
        max_attempts = 7
        workers = 5

    Eager(worker=Job.Worker(slots=4, workers=9)).run(input=["raw://x"], max_attempts=9)
    (engine,) = engines
    assert (engine.workers, engine.slots) == (5, 4)
    assert engine.spec.settings.max_attempts == 9


def test_inputs_may_be_an_attribute_of_the_job(engines: list[FakeEngine]) -> None:
    class Fed(Words):
        input = ("a.txt",)

    Fed().run()
    assert [list(item.urls) for item in engines[0].spec.inputs] == [["a.txt"]]


@pytest.mark.parametrize(
    ("jobargs", "message"),
    [
        ({"wrokers": 2}, "unknown parameter 'wrokers'; did you mean workers?"),
        ({"scheduler": {"max_cores": 0}}, "max_cores must be a whole number from 1 on, got 0"),
        ({"workers": 0}, "workers must be a whole number from 1 on, got 0"),
        ({"slots": "2"}, "slots must be a whole number from 1 on, got '2'"),
        ({"memory": "1G"}, "memory must be a number from 0 on, got '1G'"),
        ({"max_attempts": 0}, "max_attempts must be a number from 1 on, got 0"),
        ({"copies": 3}, "copies must be at most 2, got 3"),
        ({"partitions": 0}, "partitions must be a whole number from 1 on"),
        ({"output": "out", "format": "xml"}, "unknown format 'xml'; there are text, jsonl"),
        ({"pipeline": []}, "pipeline must be a list"),
        ({"required_modules": "os"}, r"required_modules must be a list, got 'os': write \['os'\]"),
        ({"required_files": "a.csv"}, r"required_files must be a list, got 'a\.csv': write"),
        ({"input": "words.txt"}, "input must be a list of URLs, got 'words.txt'"),
        ({"input": 7}, "input must be a list of URLs, got 7"),
        ({"input": [[]]}, "input \\[\\]: each must be a URL or path, or a list of URLs"),
        ({"input": [None]}, "input None: each must be a URL or path, or a list of URLs"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    engines: list[FakeEngine], jobargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(DiscoError, match=message):
        started(**jobargs)
    assert [engine for engine in engines if engine.started] == []


def test_an_attribute_that_is_spelt_almost_like_a_parameter_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Misspelt(Job):
        partitons = 2
        mapper = Words.map
        pipelines = ()
        reduce = staticmethod(lambda pairs, params: pairs)
        samples = 100  # like nothing

    Misspelt().run(input=["raw://x"])
    assert caplog.messages == [
        f"job Misspelt has {own!r}, which is no parameter and has no effect: did you mean {known}?"
        for own, known in [
            ("mapper", "map"),
            ("partitons", "partitions"),
            ("pipelines", "pipeline"),
        ]
    ]


def test_an_attribute_beside_the_parameter_it_resembles_is_the_author_s_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Own(Words):
        partitions = 2
        map2 = Words.map
        inputs = ("raw://x",)
        _reducer = None

    class Simple(Own, SimpleJob):
        pipeline = (("map", "split"),)
        slot = "of a worker that takes anything"

    Own().run(input=Own.inputs)
    Simple().run(input=Own.inputs)
    assert caplog.messages == []


def test_lists_are_replicas_but_never_results_of_jobs() -> None:
    parts = ["disco://h:1/j/2/0", "disco://h:1/j/2/1"]
    assert input_urls(["a", ["b", "c"], parts, Path("d")]) == [
        ("a",),
        ("b", "c"),
        (parts[0],),
        (parts[1],),
        ("d",),
    ]


def test_an_output_path_becomes_absolute(
    engines: list[FakeEngine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    started(output="out", format="csv")
    started(output="s3://bucket/out")
    started(output="~/out")
    assert engines[0].spec.output == job_pb2.Output(url=str(tmp_path / "out"), format="csv")
    assert engines[1].spec.output == job_pb2.Output(url="s3://bucket/out", format="text")
    assert engines[2].spec.output.url == str(Path.home() / "out")


def test_a_master_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCO_MASTER", "http://master:8989")
    with pytest.raises(DiscoError, match=r"master 'http://master:8989': .* is no server"):
        started()
    assert Words(master="local").run(input=["raw://x"]).wait()


# --- settings ---------------------------------------------------------------------------------


def test_settings_are_those_given_then_the_environment_s_then_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = DiscoSettings(DISCO_EVENTS="json")
    monkeypatch.setenv("DISCO_EVENTS", "nocolor")
    monkeypatch.setenv("DISCO_JOB_OWNER", "env@here")
    assert settings["DISCO_EVENTS"] == "json"
    assert settings["DISCO_JOB_OWNER"] == "env@here"
    assert settings["DISCO_MASTER"] == "local"
    with pytest.raises(DiscoError, match="there is no setting 'DISCO_MATSER'; there are"):
        settings["DISCO_MATSER"]


def test_a_spec_carries_settings_that_jobs_do_not_know() -> None:
    spec = job_spec(Words(), {"input": ["a"]}, name="n", settings={"max_consecutive_losses": 3})
    assert spec.settings.max_consecutive_losses == 3
    assert spec.name == "n"
