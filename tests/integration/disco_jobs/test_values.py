"""What tasks say beside their records, on this machine: one job says all of it."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import eventually

from disco import Disco, Job, result_iterator
from disco.error import DiscoError, JobError
from disco.submission import job_spec
from disco_engine.local.engine import LocalEngine
from disco_engine.local.supervisor import Role


class Talkative(Job):
    """Tasks that put and get values, print, fail once, and look at themselves."""

    partitions = 2
    profile = True
    status_interval = 1
    max_attempts = 2

    @staticmethod
    def map(line: str, params: Any) -> Iterator[tuple[str, int]]:
        put(f"line-{Task.taskid}", line.encode())  # type: ignore[name-defined]  # noqa: F821
        put("last", line)  # type: ignore[name-defined]  # noqa: F821
        assert get("last") == line.encode()  # type: ignore[name-defined]  # noqa: F821
        print("seen", line)
        os.write(1, b"\xff\n")
        yield line, len(line)

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[str, Any]]:
        if Task.context.attempt == 1:  # type: ignore[name-defined]  # noqa: F821
            put("from-the-attempt-that-failed", b"")  # type: ignore[name-defined]  # noqa: F821
            raise KeyError("the first attempt")
        first = get("line-0")  # type: ignore[name-defined]  # noqa: F821
        assert {get("line-0") for _ in pairs} == {first}  # type: ignore[name-defined]  # noqa: F821
        try:
            get("nobody")  # type: ignore[name-defined]  # noqa: F821
        except Exception as error:
            yield "nobody", str(error)
        for name in ("grouping", "jobname", "group", "uid", "jobpath", "taskpath"):
            yield name, getattr(Task, name)  # type: ignore[name-defined]  # noqa: F821
        path = Task.output_path(3)  # type: ignore[name-defined]  # noqa: F821
        Task.makedirs()  # type: ignore[name-defined]  # noqa: F821
        with open(path, "w") as file:
            file.write("x")
        yield "first", first


@pytest.fixture(scope="module")
def job() -> Iterator[Job]:
    job = Talkative().run(input=["raw://a b c", "raw://d e f"], workers=1)
    job.wait()
    yield job
    job.purge()
    with pytest.raises(DiscoError, match=r"Unknown key or jobname: .* is no job of this process"):
        job.oob_get("last")


def messages(job: Job) -> list[str]:
    return [message for _, (_, _, message) in job.events()]


def test_tasks_and_author_get_what_finished_tasks_put(job: Job) -> None:
    mine = [key for key in job.oob_list() if not key.startswith("profile-")]
    assert mine == ["last", "line-0", "line-1"]
    assert (job.oob_get("last"), job.oob_get("line-0")) == (b"d e f", b"a b c")
    said = dict(result_iterator(job.wait()))
    assert said["first"] == b"a b c"
    assert said["nobody"].startswith("Unknown key or jobname: ")


@pytest.mark.parametrize("key", ["nobody", "no key", ""])
def test_a_value_that_nobody_put_is_unknown(job: Job, key: str) -> None:
    with pytest.raises(DiscoError, match="Unknown key or jobname: "):
        job.oob_get(key)


def test_the_profile_has_the_job_s_functions_and_one_line_of_the_framework(job: Job) -> None:
    stream = io.StringIO()
    job.profile_stats(stream=stream).print_stats()
    said = stream.getvalue()
    for name in ("test_values.py", "(map)", "(reduce)"):
        assert name in said
    assert "(what the framework does)" in said
    assert "Ordered by: cumulative time" in said
    stream.seek(0)
    stream.truncate()
    job.profile_stats("reduce", stream).print_stats()
    assert "(map)" not in stream.getvalue()
    with pytest.raises(JobError, match=r"No profile data: .* or is 'none' none of its stages"):
        job.profile_stats("none")


def test_all_that_tasks_say_is_told_when_the_job_is_ready(job: Job) -> None:
    told = messages(job)
    for task, line in enumerate(["a b c", "d e f"]):
        assert f"MSG: [map:{task}] seen {line}" in told
        assert f"MSG: [map:{task}] 1 entries mapped" in told
        assert rf"WARNING: [map:{task}] Binary message data: \xff" in told
    (warning, _) = (text for text in told if text.startswith("WARNING: [reduce:"))
    assert "KeyError: 'the first attempt'" in warning
    assert 'raise KeyError("the first attempt")' in warning


def test_a_task_knows_what_it_is(job: Job) -> None:
    said = dict(result_iterator(job.wait()))
    assert (said["grouping"], said["jobname"]) == ("group_label", job.name)
    assert Path(said["taskpath"]).is_absolute()
    assert said["uid"].startswith("reduce:")


def test_without_a_profile_and_after_a_failure_there_is_a_sentence() -> None:
    """Events of a job that failed end with why, as values of a failed attempt never do."""

    def fail(line: str, params: Any) -> Any:
        put("k", b"")  # type: ignore[name-defined]  # noqa: F821
        raise ValueError(f"bad {line}")

    job = Job("fails").run(map=fail, input=["raw://x"], workers=1, max_attempts=1)
    with pytest.raises(JobError, match="bad x"):
        job.wait()
    (fatal,) = (text for text in messages(job) if text.startswith("FATAL: "))
    assert fatal.startswith("FATAL: [map:0] ")
    assert "ValueError: bad x" in fatal
    assert job.oob_list() == []
    with pytest.raises(JobError, match="No profile data: run the job with profile=True"):
        Disco().profile_stats(job.name)
    job.purge()


class Waits(Job):
    """A job whose reduce waits for a file, and then wants what the map put."""

    @staticmethod
    def map(line: str, params: Any) -> Iterator[tuple[str, int]]:
        put("from-map", line.encode())  # type: ignore[name-defined]  # noqa: F821
        yield line, 1

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[str, Any]]:
        import time
        from pathlib import Path

        print("waiting", flush=True)
        Path(params, "begun").touch()
        while not Path(params, "go").exists():
            time.sleep(0.01)
        put("from-reduce", b"2")  # type: ignore[name-defined]  # noqa: F821
        yield "got", get("from-map")  # type: ignore[name-defined]  # noqa: F821


def test_values_survive_the_coordinator_and_the_end_of_a_job_with_an_output(tmp_path: Path) -> None:
    """The next coordinator learns them from what is sealed; at the end they are written down."""
    output = tmp_path / "out"
    jobargs = {"input": ["raw://x"], "params": str(tmp_path), "output": str(output)}
    spec = job_spec(Waits(), jobargs, name="waits")
    with LocalEngine(spec, workers=1) as engine:
        engine.start()
        eventually(lambda: (tmp_path / "begun").exists())
        assert values(engine) == {"from-map": b"x"}
        (coordinator,) = [c for c in engine.children() if c.role is Role.COORDINATOR]
        assert coordinator.pid is not None
        os.kill(coordinator.pid, signal.SIGKILL)
        assert values(engine) == {"from-map": b"x"}
        (tmp_path / "go").touch()
        engine.wait(60)
        engine.stop_workers()
        assert values(engine) == {"from-map": b"x", "from-reduce": b"2"}
        assert [value.key for value in engine.values(prefix="from-r", keys_only=True)] == [
            "from-reduce"
        ]
    (part,) = output.glob("part-*")
    assert "got" in part.read_text()


def values(engine: LocalEngine) -> dict[str, bytes]:
    return {value.key: value.value for value in engine.values()}
