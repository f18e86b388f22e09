from pathlib import Path
from typing import Any

import pytest

from disco.cli.request import WrongUseError, request_from

MANIFEST = """\
apiVersion: discoproject.org/v1alpha1
kind: DiscoJob
metadata: {name: count}
spec:
  job: words:Count
  image: example.org/count
  inputs: [texts/*.txt, [/abs/a, s3://b/a], "raw://text"]
  params: {a: 1, b: 2}
  partitions: 3
  workers: {replicas: 4, slots: 2}
  output: {url: out, format: csv}
  retries: {maxAttempts: 7}
  taskTimeout: 1m
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.yaml").write_text(MANIFEST)
    (tmp_path / "words.py").touch()
    return "jobs/job.yaml"


def test_a_manifest_says_everything(manifest: str) -> None:
    request = request_from(manifest, (), {})

    here = str(Path.cwd() / "jobs")
    assert (request.job.module, request.job.attribute) == ("words", "Count")
    assert request.job.directory == Path(here)
    assert request.inputs == (
        [f"{here}/texts/*.txt"],
        ["/abs/a", "s3://b/a"],
        ["raw://text"],
    )
    assert request.jobargs == {"partitions": 3, "output": f"{here}/out", "format": "csv"}
    assert request.settings == {"max_attempts": 7, "task_timeout_s": 60.0}
    assert (request.name, request.workers, request.slots) == ("count", 4, 2)
    assert request.manifest is not None
    assert request.manifest.cluster_only == ("spec.image",)


def test_flags_take_precedence_over_the_manifest(manifest: str) -> None:
    flags: dict[str, Any] = {
        "params": (("b", 3), ("c", 4)),
        "output": "elsewhere",
        "max_attempts": 1,
        "memory": 1000,
        "workers": 1,
        "name": "mine",
    }
    request = request_from(manifest, ("other.txt",), flags)

    assert request.params == {"a": 1, "b": 3, "c": 4}
    assert request.inputs == ("other.txt",)
    assert request.jobargs == {"partitions": 3, "output": "elsewhere", "format": "csv"}
    assert request.settings == {
        "max_attempts": 1,
        "task_timeout_s": 60.0,
        "memory_limit_bytes": 1000,
    }
    assert (request.name, request.workers, request.slots) == ("mine", 1, 2)


@pytest.mark.usefixtures("manifest")
def test_without_a_manifest_what_is_not_said_is_left_to_the_job() -> None:
    request = request_from("words.py", (), {})

    assert request.inputs is None
    assert request.workers is None
    assert (request.params, request.jobargs, request.settings) == ({}, {}, {})


@pytest.mark.usefixtures("manifest")
def test_a_format_without_files_is_wrong_use() -> None:
    with pytest.raises(WrongUseError, match="it needs --output"):
        request_from("words.py", (), {"format": "csv"})


@pytest.mark.usefixtures("manifest")
def test_a_wrong_manifest_is_wrong_use_with_all_its_mistakes() -> None:
    Path("bad.yml").write_text("kind: Job\n")
    with pytest.raises(WrongUseError, match=r"bad.yml is not a usable manifest:\nbad.yml:1: "):
        request_from("bad.yml", (), {})


def test_a_working_directory_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    with pytest.raises(WrongUseError, match="the working directory does not exist any more"):
        request_from("/anywhere/words.py", (), {})
