"""Jobs of which only the name was known when they were submitted, as an operator submits them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from disco.error import DiscoError
from disco.payload import Header, join_payload
from disco.program import JobProgram, load
from disco.worker.params import Params
from disco_engine.core.model import FailureKind, TaskInput
from disco_engine.core.settings import JobSettings
from disco_engine.program import PlanRequest, ProgramError

Load = Callable[..., JobProgram]

JOB = """
from disco import Job
from disco.worker.params import Params

class Count(Job):
    {attributes}

    @staticmethod
    def map(line, params):
        yield line, 1
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a directory on the path; what was imported from there is forgotten afterwards."""
    directory = tmp_path / "code"
    directory.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(directory), "/nowhere/code"])
    before = set(sys.modules)
    yield directory
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None):
            del sys.modules[name]


@pytest.fixture
def loaded(place: Path) -> Load:
    """Give a function that loads a job with these attributes, submitted with these arguments."""

    def make(*attributes: str, **jobargs: Any) -> JobProgram:
        text = JOB.format(attributes="\n    ".join(attributes) or "pass")
        (place / "counting.py").write_text(text)
        header = Header(reference="counting:Count", jobargs=jobargs)
        program = load(join_payload(header, b""))
        assert isinstance(program, JobProgram)
        return program

    return make


def planned(program: JobProgram, *inputs: str, output: str = "") -> tuple[TaskInput, ...]:
    request = PlanRequest(
        inputs=tuple((url,) for url in inputs), settings=JobSettings(), output_url=output
    )
    return program.plan(request).inputs


def failure(program: JobProgram, *inputs: str) -> str:
    with pytest.raises(ProgramError) as raised:
        planned(program, *inputs)
    assert raised.value.failure.kind is FailureKind.FATAL
    return raised.value.failure.message


def params_of(program: JobProgram) -> Any:
    return program._params.copy()


# --- params -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "given", "merged"),
    [
        ("Params(a=1, b=2)", {"b": 3, "c": 4}, Params(a=1, b=3, c=4)),
        ("{'a': 1, 'b': 2}", {"b": 3}, {"a": 1, "b": 3}),
        ("Params(a=1)", {}, Params(a=1)),
    ],
)
def test_params_that_are_given_take_the_place_of_the_job_s_own(
    loaded: Load, own: str, given: dict[str, Any], merged: Any
) -> None:
    assert params_of(loaded(f"params = {own}", params=given)) == merged


def test_params_need_none_of_the_job_s_own(loaded: Load) -> None:
    assert params_of(loaded(params={"a": 1})) == Params(a=1)


def test_the_job_s_own_params_stay_if_none_are_given(loaded: Load) -> None:
    assert params_of(loaded("params = [1, 2]")) == [1, 2]


def test_params_without_names_cannot_be_set_one_by_one(loaded: Load) -> None:
    with pytest.raises(ProgramError, match="the job's params are of type list") as raised:
        loaded("params = [1, 2]", params={"a": 1})
    assert raised.value.failure.kind is FailureKind.FATAL


def test_params_that_cannot_be_copied_for_each_task_are_fatal_and_named(
    loaded: Load, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = loaded("params = __import__('threading').Lock()")
    monkeypatch.setattr(engine, "load", lambda job, **jobargs: program)
    with pytest.raises(ProgramError, match=r"the job's params, <unlocked .*in map_init") as raised:
        engine.run(None, input=["raw://a"])
    assert raised.value.failure.kind is FailureKind.FATAL


# --- inputs and output ------------------------------------------------------------------------


def test_the_job_s_own_input_is_read_if_none_is_given(loaded: Load) -> None:
    program = loaded("input = ['raw://one', ['raw://two', 'raw://zwei']]")
    assert [item.urls for item in planned(program)] == [
        ("raw://one",),
        ("raw://two", "raw://zwei"),
    ]


def test_inputs_that_are_given_take_the_place_of_the_job_s_own(loaded: Load) -> None:
    program = loaded("input = ['raw://one']")
    assert [item.urls for item in planned(program, "raw://given")] == [("raw://given",)]


def test_a_job_without_any_input_says_where_to_give_one(loaded: Load) -> None:
    assert failure(loaded()) == ("no input: set spec.inputs, or give the job an input of its own")


def test_an_input_of_the_job_s_own_that_makes_no_sense_is_its_failure(loaded: Load) -> None:
    assert failure(loaded("input = 'raw://one'")) == (
        "input must be a list of URLs, got 'raw://one'"
    )


def test_planning_warns_of_an_attribute_that_is_spelt_almost_like_a_parameter(
    loaded: Load, caplog: pytest.LogCaptureFixture
) -> None:
    planned(loaded("partitons = 4"), "raw://x")
    (message,) = caplog.messages
    assert "'partitons', which is no parameter" in message


def test_a_password_in_an_input_of_the_job_s_own_is_refused(loaded: Load) -> None:
    assert failure(loaded("input = ['ftp://me:secret@host/a']")).startswith(
        "input ftp://me:***@host/a has a password in it"
    )


def test_an_output_of_the_job_s_own_must_be_repeated(loaded: Load, tmp_path: Path) -> None:
    program = loaded("output = '/somewhere'")
    assert failure(program, "raw://one") == (
        "the job has an output of its own, '/somewhere', which is not known where its records are"
        " sent: write it as spec.output"
    )
    assert planned(program, "raw://one", output=str(tmp_path))


# --- where it is looked for -------------------------------------------------------------------


def reference(name: str) -> str:
    """Load what *name* refers to, and return why that cannot be."""
    with pytest.raises(ProgramError) as raised:
        load(join_payload(Header(reference=name), b""))
    assert raised.value.failure.kind is FailureKind.FATAL
    return raised.value.failure.message


@pytest.mark.parametrize("name", ["disco_nothing", "disco_nothing.jobs"])
def test_a_missing_module_is_told_with_where_it_was_looked_for(place: Path, name: str) -> None:
    message = reference(f"{name}:Count")
    assert message.startswith("there is no module disco_nothing: looked in ")
    assert f"{place}, /nowhere/code (not there), and among the installed packages" in message
    assert sys.base_prefix not in message


def test_a_missing_part_of_a_package_is_told_too(place: Path) -> None:
    (place / "parcel").mkdir()
    (place / "parcel" / "__init__.py").touch()
    assert reference("parcel.jobs:Count").startswith("there is no module parcel.jobs: looked in ")


def test_a_missing_file_is_told_with_where_it_was_looked_for(place: Path) -> None:
    message = reference("disco_nothing.py:Count")
    assert message.startswith("there is no disco_nothing.py among the job's files: looked in ")
    assert f"{place}, /nowhere/code (not there)" in message


def test_a_module_that_runs_its_job_when_a_worker_imports_it_fails(place: Path) -> None:
    text = JOB.format(attributes="pass") + "\nCount().run(input=['raw://a'])\n"
    (place / "eager.py").write_text(text)
    with pytest.raises(DiscoError, match="the job Count would be run again by each worker"):
        load(join_payload(Header(reference="eager:Count"), b""))


def test_what_the_module_itself_misses_is_not_taken_for_the_module(place: Path) -> None:
    (place / "hungry.py").write_text(dedent("import disco_nothing\n"))
    with pytest.raises(ModuleNotFoundError, match="disco_nothing"):
        load(join_payload(Header(reference="hungry:Count"), b""))


def test_a_required_module_that_is_not_there_is_told_like_the_job_s_own(loaded: Load) -> None:
    with pytest.raises(ProgramError, match="there is no module disco_nothing: looked in") as raised:
        loaded("required_modules = ['disco_nothing']")
    assert raised.value.failure.kind is FailureKind.FATAL
