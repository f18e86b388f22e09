"""Workers of a program's own: functions per stage, and what a class may override."""

from pathlib import Path
from typing import Any

import pytest

from disco.error import DiscoError
from disco.job import Job
from disco.worker import BaseOutput, MessageWriter, Worker
from disco.worker.classic.worker import Worker as ClassicWorker

from . import jobs
from .conftest import Backend


def test_a_simple_job_s_functions_read_and_write_themselves(backend: Backend) -> None:
    records = backend.results(jobs.Pair, input=["raw://b", "raw://aa", "raw://c"], extra="x")
    assert records == [("aa", ("x", 0, [0])), ("b", ("x", 1, [1])), ("c", ("x", 1, [1]))]


def packed(backend: Backend) -> tuple[str, list[Any]]:
    job = backend.run(jobs.Packed, input=["raw://x"])
    try:
        from disco.core import result_iterator

        return job.name, list(result_iterator(job.wait()))
    finally:
        job.purge()


def test_a_worker_may_rename_its_jobs(backend: Backend) -> None:
    name, _ = backend.observed(packed)
    assert name.startswith("renamed")


def test_a_worker_may_add_files_and_variables_and_do_more_in_its_tasks(backend: Backend) -> None:
    _, records = backend.observed(packed)
    assert records == [("yes", ("given", 3))]


def test_a_worker_may_say_itself_which_stages_there_are(backend: Backend) -> None:
    records = backend.results(jobs.Planned, input=["raw://x", "raw://y"])
    assert sorted(records) == [("x", 2), ("y", 2)]


def test_what_a_job_takes_along_can_be_looked_at() -> None:
    worker = ClassicWorker()
    job = jobs.Summed()
    arguments = {"input": ["raw://x", ["raw://y", "raw://z"]], "name": "mine"}
    jobdict = worker.jobdict(job, **arguments)
    assert jobdict["pipeline"] == [("map", "split"), ("reduce", "group_all")]
    assert jobdict["inputs"] == [[0, 0, ["raw://x"]], [0, 0, ["raw://y", "raw://z"]]]
    assert (jobdict["prefix"], jobdict["save_info"], jobdict["scheduler"]) == ("mine", "ddfs", {})
    assert jobdict["worker"].endswith("disco/worker/classic/worker.py")
    assert worker.jobenvs(job)["LD_LIBRARY_PATH"] == "lib"
    assert worker.jobhome(job, required_files={"a.txt": b"x"})[:2] == b"PK"
    assert worker.jobzip(job, required_files={"a/b.txt": b"x"}).namelist()[-1] == "a/b.txt"
    assert worker.get_modules(job) == []


def test_a_module_that_nobody_imports_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_c.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def uses(entry: Any, params: Any) -> Any:
        return [(entry, mine_c.value)]  # type: ignore[name-defined]  # noqa: F821

    with ClassicWorker().jobzip(Job(), map=uses) as archive:
        assert "mine_c.py" in archive.namelist()


def test_a_worker_without_functions_for_its_stages_is_refused() -> None:
    class Own(Worker):
        def jobdict(self, job: Any, **jobargs: Any) -> dict[str, Any]:
            return {"prefix": "own", "pipeline": [("first", "split")]}

    with pytest.raises(DiscoError, match="no function called 'first'"):
        Job(master="local", worker=Own()).run(input=["raw://x"])
    with pytest.raises(DiscoError, match="neither a map nor a reduce"):
        Job(master="local", worker=Worker()).run(input=["raw://x"])


def test_a_worker_is_no_program_and_sends_messages_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DiscoError, match="is no program"):
        Worker.main()
    with pytest.raises(DiscoError, match="no OUTPUT can be sent"):
        Worker.send("OUTPUT", [0, "file", 1])
    MessageWriter(Worker).write(b"hello\n")
    assert capsys.readouterr().out == "hello\n"
    assert BaseOutput(("path", "disco", "3")).label == 3  # type: ignore[arg-type]


def test_unknown_parameters_are_told_by_workers_that_know_theirs() -> None:
    with pytest.raises(DiscoError, match="unknown parameter 'partition_count'"):
        ClassicWorker(partition_count=3)
    assert Worker(anything=3)["anything"] == 3
