"""What can be done with a job that runs: wait for it, ask how it stands, feed it to others."""

import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from disco import Disco, result_iterator
from disco.core import Continue, client_version
from disco.ddfs import DDFS
from disco.error import DataError, DiscoError, JobError
from disco.job import JobChain
from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.local.errors import EngineError

from .fake_engine import FAILED, SUCCEEDED, FakeEngine, Words, started

pytestmark = pytest.mark.usefixtures("engines")


# --- waiting ----------------------------------------------------------------------------------


def test_wait_returns_the_parts_that_have_records(engines: list[FakeEngine]) -> None:
    urls = started().wait()
    uid = engines[0].spec.uid
    assert urls == [f"disco://127.0.0.1:9/{uid}/2/0", f"disco://127.0.0.1:9/{uid}/2/2"]
    assert re.fullmatch(r"[A-Za-z0-9-]+", uid)


def test_wait_returns_the_files_of_an_output(tmp_path: Path) -> None:
    for name in ("part-00001.txt", "part-00000.txt", "_SUCCESS"):
        (tmp_path / name).touch()
    job = started(output=str(tmp_path))
    assert job.wait() == [f"{tmp_path}/part-00000.txt", f"{tmp_path}/part-00001.txt"]


def test_a_failure_is_told_with_traceback_and_record(engines: list[FakeEngine]) -> None:
    job = started(input=["raw://endless"])
    failure = common_pb2.Failure(
        message="KeyError: 'x'", traceback="Traceback …\nKeyError: 'x'\n", record="b'line'"
    )
    engines[0].end(
        FAILED,
        message="stage map, task 0 failed 4 times; the last time: KeyError: 'x'",
        failures=[coordinator_pb2.FailureReport(failure=failure)],
    )
    with pytest.raises(JobError) as caught:
        job.wait()
    assert str(caught.value) == (
        f"Job {job.name} failed: stage map, task 0 failed 4 times; the last time: KeyError: 'x'\n"
        "The record: b'line'\n"
        "Traceback …\nKeyError: 'x'"
    )


def test_an_engine_that_breaks_is_a_job_that_failed(engines: list[FakeEngine]) -> None:
    job = started(input=["raw://endless"])
    engines[0].error = EngineError("a worker does not stay alive")
    with pytest.raises(JobError, match="a worker does not stay alive"):
        job.wait()
    assert job.results() == ("dead", [])


def test_waiting_ends_after_the_timeout() -> None:
    with pytest.raises(JobError, match=r"Timeout: it still runs after 0\.1 s"):
        started(input=["raw://endless"]).wait(timeout=0.1)


def test_events_are_shown_on_standard_error_while_waiting(
    engines: list[FakeEngine], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = started()
    engines[0].happened = [
        coordinator_pb2.JobEvent(kind="stage-started", stage_name="map", text="8 tasks"),
        coordinator_pb2.JobEvent(
            kind="output",
            stage_name="map",
            text="hello",
            worker_id="worker-1",
            attempt=common_pb2.AttemptRef(task=3),
        ),
    ]
    job.wait(show=True)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("  master  [map] stage-started: 8 tasks")
    assert second.endswith("  worker-1  MSG: [map:3] hello")
    monkeypatch.setenv("DISCO_EVENTS", "json")
    job.wait()
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)[1] for line in lines] == ["master", "worker-1"]
    job.wait(show=False)
    assert capsys.readouterr().err == ""


# --- how a job stands -------------------------------------------------------------------------


def test_a_job_s_status_is_unknown_then_active_then_ready_or_dead(
    engines: list[FakeEngine],
) -> None:
    job = Words()
    assert (job.name, job.results()) == ("Words", ("unknown job", []))
    job.run(input=["raw://endless"])
    assert job.results() == ("active", [])
    engines[0].end(SUCCEEDED)
    status, urls = job.results()
    assert (status, len(urls)) == ("ready", 2)
    engines[0].end(FAILED)
    assert job.results() == ("dead", [])


def test_results_of_several_jobs_are_told_apart(engines: list[FakeEngine]) -> None:
    ready, active = started(), started(input=["raw://endless"])
    inactive, running = Disco().results([ready, active.name, "none@0:0:0"], timeout=10_000)
    assert [(name, status) for name, (status, _) in inactive] == [
        (ready.name, "ready"),
        ("none@0:0:0", "unknown job"),
    ]
    assert running == [(active.name, ("active", []))]


def test_results_wait_as_long_as_they_are_told_to(engines: list[FakeEngine]) -> None:
    job = started(input=["raw://endless"])
    assert job.results(timeout=0) == ("active", [])
    threading.Timer(0.2, lambda: engines[0].end(SUCCEEDED)).start()
    status, urls = job.results(timeout=60_000)
    assert (status, len(urls)) == ("ready", 2)
    ((name, told),) = Disco().results([(job.name, None)])[0]  # an entry of an earlier answer
    assert (name, told) == (job.name, ("ready", urls))


def test_one_look_at_the_results_returns_raises_or_says_to_continue(
    engines: list[FakeEngine],
) -> None:
    job, now = started(input=["raw://endless"]), time.time()
    with pytest.raises(Continue):
        Disco().check_results(job.name, now, None, 0)
    with pytest.raises(JobError, match="Timeout"):
        Disco().check_results(job.name, now - 10, 5, 0)
    engines[0].end(FAILED)
    with pytest.raises(JobError, match="Status dead"):
        Disco().check_results(job, now, None, 0)
    engines[0].end(SUCCEEDED)
    assert len(Disco().check_results(job, now, None, 0)) == 2
    with pytest.raises(JobError, match="Status unknown job"):
        Disco().check_results("none@0:0:0", now, None, 0)


def test_a_job_is_initializing_until_its_stages_are_known(engines: list[FakeEngine]) -> None:
    job = started(input=["raw://endless"])
    assert job.jobinfo()["active"] == "initializing"
    assert job.results(timeout=0)[0] == "active"
    with pytest.raises(DiscoError, match="has no stage 'map'; there are none yet"):
        job.stageresults("map")
    stage = coordinator_pb2.StageProgress(name="map", tasks_total=2, tasks_done=1, started_s=1)
    engines[0].progress = coordinator_pb2.JobProgress(stages=[stage])
    with pytest.raises(DiscoError, match=r"stage 'map' of Words@.* has not finished"):
        job.stageresults("map")
    stage.tasks_done = 2
    engines[0].end(FAILED, stages=[stage])
    with pytest.raises(DiscoError, match="is gone with the job's processes"):
        job.stageresults("map")


def test_the_machine_is_a_node(engines: list[FakeEngine]) -> None:
    disco = Disco()
    job = started(input=["raw://endless"])
    (info,) = disco.nodeinfo().values()
    assert (info["tasks"], info["connected"], info["blacklisted"]) == ([job.name], True, False)
    assert disco.config == disco.get_config() == [["localhost", str(info["max_workers"])]]
    assert info["diskfree"] > 0
    assert disco.master_version() == client_version()
    assert isinstance(disco.ddfs, DDFS)


def test_the_client_has_a_version() -> None:
    assert re.match(r"\d+\.\d+", client_version())
    assert str(Disco()) == "Disco master at local"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda disco: disco.request("/disco/ctrl/joblist"), r"use joblist\(\)"),
        (lambda disco: disco.request("/ddfs/tags"), r"use the methods of \.ddfs"),
        (lambda disco: disco.request("/proxy/x"), "or the Jobs service of a server"),
        (lambda disco: disco.set_config([["n1", "4"]]), r"a job says how many .* \(workers=4\)"),
        (lambda disco: setattr(disco, "config", []), "there is no table of nodes"),
        (lambda disco: disco.blacklist("n1"), "n1 cannot be blacklisted here: .* kubectl cordon"),
        (lambda disco: disco.whitelist("n1"), "n1 cannot be whitelisted here"),
        (lambda disco: disco.submit(b"none"), "Failed to submit jobpack: invalid header"),
    ],
)
def test_what_there_is_none_of_is_refused_with_what_does_it(call: Any, message: str) -> None:
    with pytest.raises(DiscoError, match=message):
        call(Disco())


def test_a_job_s_pack_tells_what_it_is_and_cannot_be_run_again(
    engines: list[FakeEngine],
) -> None:
    job = started(owner="me@here")
    pack = job.jobpack()
    assert (pack.jobdict["prefix"], pack.jobdict["owner"]) == ("Words", "me@here")
    assert pack.jobdict["inputs"] == [[0, 0, ["raw://x"]]]
    assert pack.jobdata == engines[0].spec.code.payload
    with pytest.raises(DiscoError, match=r"a job in Python is started by its run\(\)"):
        Disco().submit(pack.dumps())


def test_kill_stops_a_job(engines: list[FakeEngine]) -> None:
    job = started(input=["raw://endless"])
    job.kill()
    assert engines[0].cancelled
    with pytest.raises(JobError, match="it was cancelled"):
        job.wait()


def test_purge_forgets_a_job_and_closes_its_engine(engines: list[FakeEngine]) -> None:
    job = started()
    urls = job.wait()
    job.purge()
    job.purge()
    assert engines[0].closed
    with pytest.raises(
        DiscoError, match=r"unknown job 'Words@.*': this process has not run it, or"
    ):
        job.wait()
    with pytest.raises(DataError, match="it has been purged, or another process ran the job"):
        list(result_iterator(urls))


def test_jobinfo_and_joblist_tell_what_there_is_to_know(engines: list[FakeEngine]) -> None:
    job = started(owner="me@here")
    engines[0].end(
        SUCCEEDED,
        stages=[coordinator_pb2.StageProgress(name="map", tasks_total=2, tasks_done=2, retries=1)],
    )
    info = job.jobinfo()
    assert info["active"] == "ready"
    assert info["pipeline"] == [["map", 0, 0, 0, 2, 1]]
    assert info["inputs"] == [["raw://x"]]
    assert info["owner"] == "me@here"
    assert len(info["results"]) == 2
    ((_, status, name),) = Disco().joblist()
    assert (status, name) == ("ready", job.name)


def test_events_are_numbered_and_can_be_taken_up_again(engines: list[FakeEngine]) -> None:
    job = started()
    engines[0].happened = [
        coordinator_pb2.JobEvent(kind="status", text=text, time_s=0) for text in "abc"
    ]
    (first, _), *_ = job.events()
    assert [message for _, (_, _, message) in job.events(first)] == ["MSG: b", "MSG: c"]
    lines = Disco().rawevents(job.name).splitlines()
    assert [json.loads(line)[1:] for line in lines] == [["master", f"MSG: {c}"] for c in "abc"]


def test_a_job_may_be_made_of_arguments_only(engines: list[FakeEngine]) -> None:
    job = Disco().new_job("made", map=lambda line, params: [], input=["raw://x"])
    assert job.name.startswith("made@")
    assert len(job.wait()) == 2


# --- chains -----------------------------------------------------------------------------------


def test_a_chain_feeds_jobs_the_results_of_others(engines: list[FakeEngine]) -> None:
    first, second, third = Words("first"), Words("second"), Words("third")
    chain = JobChain({third: [first, second, "raw://more"], second: first, first: ["raw://x"]})
    assert chain.wait(poll_interval=0) is chain
    assert [engine.spec.name.partition("@")[0] for engine in engines] == [
        "first",
        "second",
        "third",
    ]
    assert [item.urls[0] for item in engines[2].spec.inputs] == [
        *first.wait(),
        *second.wait(),
        "raw://more",
    ]
    chain.purge()
    assert all(engine.closed for engine in engines)


def test_a_chain_with_a_dead_job_raises(engines: list[FakeEngine]) -> None:
    first = Words("first")
    chain = JobChain({first: ["raw://endless"], Words("second"): [first]})
    real_start = FakeEngine.start

    def fail(engine: FakeEngine) -> FakeEngine:
        real_start(engine).end(FAILED, message="no luck")
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeEngine, "start", fail)
        with pytest.raises(JobError, match="no luck"):
            chain.wait(poll_interval=0)


def test_jobs_that_wait_for_each_other_are_refused() -> None:
    first, second = Words("first"), Words("second")
    with pytest.raises(DiscoError, match="wait for each other"):
        JobChain({first: [second], second: [first]}).wait()
