from pathlib import Path
from typing import Any

import pytest

from disco.cli.manifest_spec import located, with_flags
from disco.cli.request import WrongUseError
from disco.manifest import parse_spec

SPEC: dict[str, Any] = {
    "job": "words:Count",
    "inputs": ["a.txt", ["b.txt", "s3://c/d"]],
    "params": {"a": 1, "b": 2},
    "workers": {"min": 1, "max": 3, "slots": 2},
    "output": {"url": "out", "format": "csv"},
    "requirements": ["numpy"],
}


def test_flags_take_precedence_and_the_rest_stays() -> None:
    before = repr(SPEC)

    spec = with_flags(
        SPEC,
        ("x.txt",),
        {"params": (("b", 3),), "workers": 8, "output": "s3://b/o", "requirements": ("pandas",)},
    )

    assert spec["inputs"] == ["x.txt"]
    assert spec["params"] == {"a": 1, "b": 3}
    assert spec["workers"] == {"slots": 2, "replicas": 8}
    assert spec["output"] == {"url": "s3://b/o", "format": "csv"}
    assert spec["requirements"] == ["numpy", "pandas"]
    assert repr(SPEC) == before


def test_every_flag_becomes_a_field_that_a_manifest_may_have() -> None:
    flags = {
        "partitions": 3,
        "slots": 1,
        "partition_services": 2,
        "memory": 2**30,
        "sort_memory": 2**20,
        "split_size": 1000,
        "task_timeout": 90.0,
        "deadline": 0.5,
        "max_attempts": 2,
    }

    read = parse_spec(with_flags({"job": "words:Count"}, (), flags))

    assert (read.partitions, read.workers.slots, read.partition_service.replicas) == (3, 1, 2)
    assert (read.memory_limit, read.sort_memory, read.split_size) == (2**30, 2**20, 1000)
    assert (read.task_timeout, read.active_deadline_seconds) == (90.0, 1)
    assert read.retries.max_attempts == 2


@pytest.mark.parametrize(("seconds", "text"), [(90.0, "90s"), (0.25, "250ms")])
def test_durations_are_written_as_people_write_them(seconds: float, text: str) -> None:
    assert with_flags({}, (), {"task_timeout": seconds})["taskTimeout"] == text


def test_a_format_without_files_is_wrong_use() -> None:
    with pytest.raises(WrongUseError, match="it needs --output"):
        with_flags({"job": "words:Count"}, (), {"format": "csv"})


def test_a_manifests_own_paths_start_where_it_is() -> None:
    spec = located(SPEC, Path("/jobs"), {"inputs", "output"})

    assert spec["inputs"] == ["/jobs/a.txt", ["/jobs/b.txt", "s3://c/d"]]
    assert spec["output"] == {"url": "/jobs/out", "format": "csv"}
    assert located(SPEC, Path("/jobs"), {"inputs"})["output"] == SPEC["output"]
