import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from disco_engine.local.rundir import RunDirectory


@pytest.fixture(autouse=True)
def _temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_run_directory_is_private_and_goes_away() -> None:
    directory = RunDirectory()
    directory.sub("data/ps-0")
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700

    directory.remove()
    directory.remove()

    assert not directory.path.exists()


def test_logs_that_are_kept_are_all_that_is_left() -> None:
    directory = RunDirectory()
    (directory.logs / "worker-0.log").write_text("why")
    directory.sub("data")

    directory.remove(keep_logs=True)

    assert [str(p.relative_to(directory.path)) for p in directory.path.rglob("*")] == [
        "logs",
        "logs/worker-0.log",
    ]


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(FileExistsError, match="is not empty"):
        RunDirectory(tmp_path)


def test_the_next_run_removes_what_a_killed_run_left_behind() -> None:
    abandoned = _directory_of_a_dead_process()
    in_use = RunDirectory()
    kept_logs = RunDirectory()
    kept_logs.remove(keep_logs=True)

    RunDirectory().remove()

    assert not abandoned.exists()
    assert in_use.path.exists()
    assert kept_logs.path.exists()
    in_use.remove()


def test_a_directory_counts_as_used_while_a_child_of_a_killed_run_still_lives() -> None:
    run = RunDirectory()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(run.lock_fd,))
    os.close(run.lock_fd)  # what the kernel does when the run itself is killed

    RunDirectory().remove()
    assert run.path.exists()

    child.communicate()
    RunDirectory().remove()
    assert not run.path.exists()


def _directory_of_a_dead_process() -> Path:
    program = (
        "import sys, tempfile; from disco_engine.local.rundir import RunDirectory;"
        f"tempfile.tempdir = {tempfile.tempdir!r}; print(RunDirectory().path)"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    path = Path(output.stdout.decode().strip())
    assert path.exists()
    return path
