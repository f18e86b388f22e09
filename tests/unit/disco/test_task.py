"""What a task may be asked about itself, and what it refuses with a sentence."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from disco.error import DiscoError
from disco.task import Task
from disco_engine.core.model import Group
from disco_engine.worker.slot.failures import user_traceback
from disco_engine.worker.slot.values import AttemptValues


@pytest.fixture
def task(tmp_path: Path) -> Task:
    others = {"other": b"1"}
    context: Any = SimpleNamespace(
        scratch=tmp_path / "scratch", group=Group(label=3), values=AttemptValues(others.get)
    )
    return Task(context, grouping="group_label", jobobjs=("job", {"input": []}))


def test_a_task_has_places_for_what_it_writes(task: Task, tmp_path: Path) -> None:
    task.makedirs()
    task.makedirs()
    path = str(tmp_path / "scratch" / "output-3")
    assert (tmp_path / "scratch").is_dir()
    assert (task.output_filename(3), task.output_path(3)) == ("output-3", path)
    assert task.output(3) == (path, "disco", 3)
    assert task.output_filename() == "output-0"
    assert task.jobpath == str(Path.cwd())


def test_a_task_knows_its_group_and_the_job(task: Task) -> None:
    assert (task.grouping, task.group, task.group_label) == ("group_label", (3, ""), 3)
    assert task.jobobjs == ("job", {"input": []})


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("url", "emit what others are to read as records, or put"),
        ("jobfile", "files are at lib/"),
        ("jobpack", "jobobjs has the job and its arguments"),
        ("disco_port", "there is no server on each node"),
        ("put_port", "there is no server on each node"),
        ("ddfs_data", r"tags and blobs are behind disco\.ddfs\.DDFS"),
        ("disco_data", "emit as records"),
    ],
)
def test_what_cannot_be_here_says_what_to_use_instead(task: Task, name: str, instead: str) -> None:
    with pytest.raises(DiscoError, match=f"a task has no {name} here: .*{instead}"):
        getattr(task, name)


def test_a_name_that_never_was_is_no_attribute(task: Task) -> None:
    with pytest.raises(AttributeError, match="a task has no 'colour'"):
        task.colour  # noqa: B018
    assert not hasattr(task, "colour")


def test_bytes_and_text_can_be_put_and_other_things_not(task: Task) -> None:
    task.put("text", "café")
    view: Any = memoryview(b"ab")
    task.put("view", view)
    assert (task.get("text"), task.get("view"), task.get("other")) == ("café".encode(), b"ab", b"1")
    thing: Any = 3
    with pytest.raises(DiscoError, match="'n' is of type int: only bytes can be put; pickle"):
        task.put("n", thing)


@pytest.mark.parametrize("key", ["a b", "", "ä", None])
def test_mistakes_with_keys_are_disco_errors(task: Task, key: Any) -> None:
    with pytest.raises(DiscoError, match="cannot be put"):
        task.put(key, b"")
    with pytest.raises(DiscoError, match="there is no value"):
        task.get(key)


@pytest.mark.parametrize("value", [b"", 3])
def test_mistakes_with_values_show_the_user_s_lines_and_no_long_keys(
    task: Task, value: Any
) -> None:
    with pytest.raises(DiscoError, match="the value 'kkk") as raised:
        task.put("k" * 5_000, value)
    assert len(str(raised.value)) < 300
    assert set(re.findall('File "(.*?)"', user_traceback(raised.value))) == {__file__}


def test_a_value_that_nobody_put_is_unknown(task: Task) -> None:
    with pytest.raises(DiscoError, match="Unknown key or jobname: no finished task of this job"):
        task.get("nobody")
