"""An output directory's life: nobody sees half of it, and every step may be repeated."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from disco_engine.core.model import FailureKind
from disco_engine.outputs import (
    commit,
    open_writer,
    part_urls,
    prepare,
    read_records,
    remove_temporary,
)
from disco_engine.program import OutputCompleteError, ProgramError

JOB = "uid-1"


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "made/out")
    else:
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
        yield "memory://made/out"
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


def seen(url: str) -> list[str]:
    """Return all files below the output directory."""
    fs, root = fsspec.core.url_to_fs(url)
    return sorted(name.removeprefix(f"{root}/") for name in fs.find(root))


def exists(url: str) -> bool:
    fs, root = fsspec.core.url_to_fs(url)
    return bool(fs.exists(root))


def put(url: str, name: str, data: bytes) -> None:
    fs, root = fsspec.core.url_to_fs(url)
    fs.makedirs(root, exist_ok=True)
    fs.pipe_file(f"{root}/{name}", data)


def write(url: str, task: int, attempt: str = "a1", format: str = "text") -> str:
    writer = open_writer(url, format, JOB, task, attempt)
    writer.add(0, f"task {task}", attempt)
    writer.extend(1, [("more", n) for n in range(3)])
    writer.partition([("last", None)], len)
    writer.close()
    assert writer.records == 5
    return writer.file_name


def content(task: int, attempt: str = "a1") -> list[tuple[str, str | None]]:
    more = [("more", str(n)) for n in range(3)]
    return [(f"task {task}", attempt), *more, ("last", None)]


def fatal_message(url: str, job: str = JOB) -> str:
    with pytest.raises(ProgramError) as caught:
        prepare(url, "text", job)
    assert caught.value.failure.kind is FailureKind.FATAL
    return caught.value.failure.message


def test_a_committed_output_has_the_parts_in_order_and_the_marker_and_nothing_else(
    url: str,
) -> None:
    prepare(url, "text", JOB)
    files = [write(url, task) for task in range(3)]
    write(url, 1, "a2")  # a rival that lost
    assert not any(name.startswith("part-") for name in seen(url))
    commit(url, "text", JOB, files)
    assert seen(url) == ["_SUCCESS", "part-00000.txt", "part-00001.txt", "part-00002.txt"]
    assert list(read_records(url)) == content(0) + content(1) + content(2)


def test_the_order_of_the_parts_is_that_of_the_commit(url: str) -> None:
    prepare(url, "text", JOB)
    files = [write(url, task) for task in (2, 0)]
    commit(url, "text", JOB, files)
    assert list(read_records(url)) == content(2) + content(0)


def test_an_output_without_parts_is_complete(url: str) -> None:
    prepare(url, "text", JOB)
    commit(url, "text", JOB, [])
    assert seen(url) == ["_SUCCESS"]
    assert part_urls(url) == []
    assert list(read_records(url)) == []


def test_a_directory_with_files_is_refused(url: str) -> None:
    put(url, "precious", b"data")
    assert fatal_message(url).endswith(
        "made/out exists and is not empty (it has precious): choose another, or remove it"
    )
    remove_temporary(url, JOB)
    assert seen(url) == ["precious"]


def test_the_output_of_another_job_is_refused_running_or_complete(url: str) -> None:
    prepare(url, "text", "uid-0")
    assert fatal_message(url).endswith(
        "made/out is being written by the job uid-0, or was when that died: "
        "choose another, or remove it"
    )
    remove_temporary(url, JOB)
    commit(url, "text", "uid-0", [])
    assert "exists and is not empty (it has _SUCCESS)" in fatal_message(url)
    put(url, "_SUCCESS", b"")  # as other programs write it
    assert "exists and is not empty (it has _SUCCESS)" in fatal_message(url)


def test_preparing_again_changes_nothing_at_any_time_of_the_job(url: str) -> None:
    prepare(url, "text", JOB)
    files = [write(url, 0)]
    prepare(url, "text", JOB)
    commit(url, "text", JOB, files)
    with pytest.raises(OutputCompleteError):
        prepare(url, "text", JOB)
    assert seen(url) == ["_SUCCESS", "part-00000.txt"]


def test_who_comes_to_write_when_the_job_has_committed_is_told(url: str) -> None:
    prepare(url, "text", JOB)
    commit(url, "text", JOB, [write(url, 0)])
    with pytest.raises(OutputCompleteError):
        open_writer(url, "text", JOB, 1, "late")
    with pytest.raises(ProgramError, match="has no _RUNNING"):
        open_writer(url, "text", "uid-0", 1, "late")
    assert seen(url) == ["_SUCCESS", "part-00000.txt"]


def test_an_unknown_format_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ProgramError) as caught:
        prepare(str(tmp_path / "out"), "xml", JOB)
    assert caught.value.failure.message == (
        "output format 'xml' is unknown: choose one of text, jsonl, csv, parquet, pickle"
    )
    assert not (tmp_path / "out").exists()


def test_a_directory_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert fatal_message(f"{tmp_path}/file") == (
        f"cannot write the output directory {tmp_path}/file: Not a directory"
    )
    assert fatal_message(f"{tmp_path}/file/out") == (
        f"cannot write the output directory {tmp_path}/file/out: Not a directory"
    )
    with pytest.raises(ProgramError, match="gs:// needs the package gcsfs"):
        prepare("gs://bucket/out", "text", JOB)


def test_a_failed_job_leaves_no_output_and_no_directory_that_it_made(url: str) -> None:
    prepare(url, "text", JOB)
    write(url, 0)
    half = open_writer(url, "text", JOB, 1, "a1")  # its slot was killed
    half.add(0, "key", "value")
    remove_temporary(url, JOB)
    half.abandon()
    assert seen(url) == []
    assert not exists(url)
    remove_temporary(url, JOB)


def test_a_failed_job_leaves_a_directory_that_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    prepare(str(out), "text", JOB)
    write(str(out), 0)
    remove_temporary(str(out), JOB)
    assert list(out.iterdir()) == []


def test_where_a_file_stood_in_the_way_of_the_output_there_is_nothing_to_remove(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("of somebody else")
    for url in (f"{tmp_path}/file", f"{tmp_path}/file/out"):
        with pytest.raises(ProgramError, match="Not a directory"):
            prepare(url, "text", JOB)
        remove_temporary(url, JOB)
    assert (tmp_path / "file").read_text() == "of somebody else"


def test_a_commit_given_up_midway_leaves_no_parts(url: str) -> None:
    prepare(url, "text", JOB)
    with pytest.raises(ProgramError, match="00001-a1"):
        commit(url, "text", JOB, [write(url, 0), "00001-a1.txt"])
    assert "part-00000.txt" in seen(url)
    remove_temporary(url, JOB)
    assert not exists(url)


def test_a_committed_output_is_not_removed(url: str) -> None:
    prepare(url, "text", JOB)
    commit(url, "text", JOB, [write(url, 0)])
    remove_temporary(url, JOB)
    assert list(read_records(url)) == content(0)


def test_an_output_is_not_removed_if_its_commit_died_between_its_two_markers(url: str) -> None:
    """Object stores rename a file by copying it, then removing the old one."""
    prepare(url, "text", JOB)
    fs, root = fsspec.core.url_to_fs(url)
    running = fs.cat_file(f"{root}/_RUNNING")
    commit(url, "text", JOB, [write(url, 0)])
    put(url, "_RUNNING", running)
    remove_temporary(url, JOB)
    assert seen(url) == ["_SUCCESS", "part-00000.txt"]
    assert list(read_records(url)) == content(0)


def test_a_file_that_is_gone_fails_the_commit_and_is_named(url: str) -> None:
    prepare(url, "text", JOB)
    with pytest.raises(ProgramError) as caught:
        commit(url, "text", JOB, ["00000-a1.txt"])
    assert caught.value.failure.kind is FailureKind.FATAL
    assert caught.value.failure.message.endswith(
        "made/out/_temporary/uid-1/00000-a1.txt, which becomes part-00000.txt, is gone: "
        "somebody removed it while the job ran"
    )
    assert "_SUCCESS" not in seen(url)


def test_a_directory_that_is_gone_fails_writers_and_commit(url: str) -> None:
    prepare(url, "text", JOB)
    remove_temporary(url, JOB)
    with pytest.raises(ProgramError, match="has no _RUNNING: the job has ended, or somebody"):
        open_writer(url, "text", JOB, 0, "a1")
    with pytest.raises(ProgramError, match="is not the job's any more"):
        commit(url, "text", JOB, [])
    assert not exists(url)


class _DiedError(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


def test_a_commit_that_died_at_any_step_is_completed_by_the_next(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let it die before each of its changes to the storage in turn, then run it again."""
    from disco_engine.outputs import directories

    kind = type(directories.directory_of(url))
    steps = 0
    while True:
        prepare(url, "text", JOB)
        files = [write(url, task) for task in range(3)]
        left = steps

        def dying(change: str) -> object:
            real = getattr(kind, change)

            def wrapper(self: object, *args: object) -> object:
                nonlocal left
                if left == 0:
                    raise _DiedError
                left -= 1
                return real(self, *args)

            return wrapper

        with monkeypatch.context() as patch:
            for change in ("move", "remove", "remove_if_empty"):
                patch.setattr(kind, change, dying(change))
            try:
                commit(url, "text", JOB, files)
                died = False
            except _DiedError:
                died = True
        with suppress(OutputCompleteError):
            prepare(url, "text", JOB)  # as a new coordinator does
        commit(url, "text", JOB, files)
        assert seen(url) == ["_SUCCESS", "part-00000.txt", "part-00001.txt", "part-00002.txt"]
        assert list(read_records(url)) == content(0) + content(1) + content(2)
        fs, root = fsspec.core.url_to_fs(url)
        fs.rm(root, recursive=True)
        if not died:
            break
        steps += 1
    assert steps == 6, "three parts, two removals, the marker"


def test_parts_of_an_abandoned_commit_that_are_too_many_are_removed(url: str) -> None:
    prepare(url, "text", JOB)
    with pytest.raises(ProgramError, match="gone"):
        commit(url, "text", JOB, [write(url, 0), write(url, 1), "gone"])
    commit(url, "text", JOB, [write(url, 0, "a2")])
    assert list(read_records(url)) == content(0, "a2")
    assert seen(url) == ["_SUCCESS", "part-00000.txt"]


def test_an_output_without_its_marker_cannot_be_read(url: str) -> None:
    prepare(url, "text", JOB)
    with pytest.raises(ProgramError, match="has no _SUCCESS: the job that writes it has not ended"):
        part_urls(url)


def test_parts_are_read_by_number(tmp_path: Path) -> None:
    for name in ("part-100000.txt", "part-99999.txt", "part-00002.txt", "_SUCCESS", "notes.txt"):
        (tmp_path / name).write_text("x")
    found = [os.path.basename(url) for url in part_urls(str(tmp_path))]
    assert found == ["part-00002.txt", "part-99999.txt", "part-100000.txt"]


def test_an_output_can_be_the_input_of_the_next_job(url: str) -> None:
    from disco_engine.inputs.expand import expand
    from disco_engine.inputs.lines import lines

    prepare(url, "text", JOB)
    commit(url, "text", JOB, [write(url, 0), write(url, 1)])
    items = expand([(url,)], split_size_bytes=1 << 20, splittable=True)
    assert len(items) == 2
    assert len([line for item in items for line in lines(item)]) == 10


def test_an_abandoned_writer_leaves_no_file_complete_or_not(url: str) -> None:
    prepare(url, "text", JOB)
    for complete in (True, False):
        writer = open_writer(url, "text", JOB, 0, "a1")
        writer.add(0, "key", "x" * 3_000_000)
        if complete:
            writer.close()
        writer.abandon()
        writer.abandon()
        assert seen(url) == ["_RUNNING", "_temporary/uid-1/_job"]


def test_two_jobs_that_prepare_at_once_do_not_both_win(tmp_path: Path) -> None:
    script = """
import sys
from disco_engine.outputs import prepare
from disco_engine.program import ProgramError
sys.stdin.readline()
try:
    prepare(sys.argv[1], "text", sys.argv[2])
    print("won")
except ProgramError:
    print("lost")
"""
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "out"), f"uid-{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    answers = []
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("go\n")
        job.stdin.flush()
    for job in jobs:
        answers.append(job.communicate()[0].strip())
    assert sorted(answers) == ["lost", "lost", "won"]
