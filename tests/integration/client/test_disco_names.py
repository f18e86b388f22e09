"""Disco's names over a server that a test drives: what they tell of jobs that run there."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from disco import Disco, Job, result_iterator, servers
from disco.client.connection import resolve
from disco.client.errors import CannotTravelError, ClientError
from disco.error import DataError, DiscoError, JobError
from disco.util import jobname
from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.records.blocks import encode
from disco_gateway.fake import TOKEN
from disco_gateway.fake_partition import FakePartition, serving_partition, source_of

from .conftest import Elsewhere

FAILED = coordinator_pb2.JOB_PHASE_FAILED
BLOCKS = [[(2, encode(["a", "b"], [1, 2]))], [], [(1, encode(["c"], [{"n": 3}]))]]
RECORDS = [("a", 1), ("b", 2), ("c", {"n": 3})]


class Words(Job):
    @staticmethod
    def map(line: str, params: Any) -> list[Any]:
        return []


@pytest.fixture
def master(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the address of a server, with its token in the environment."""
    monkeypatch.setattr(servers, "_servers", {})
    monkeypatch.setenv("DISCO_TOKEN", TOKEN)
    yield f"disco://127.0.0.1:{elsewhere.replicas.port}"
    for known in servers._servers.values():
        known.client.close()


@pytest.fixture
def partition(elsewhere: Elsewhere) -> Iterator[FakePartition]:
    serving = serving_partition(BLOCKS)
    yield elsewhere.run(serving.__aenter__())
    elsewhere.run(serving.__aexit__(None, None, None))


@pytest.fixture
def job(master: str) -> Job:
    return Words(master=master).run(input=["raw://x"])


def finish(elsewhere: Elsewhere, job: Job, *arguments: Any, **fields: Any) -> None:
    elsewhere.do(elsewhere.backend.finish, "default", job.name, *arguments, **fields)


def test_a_job_runs_under_a_name_that_the_server_makes(elsewhere: Elsewhere, job: Job) -> None:
    assert job.name.startswith("words-")
    ((namespace, name), entry) = next(iter(elsewhere.backend.jobs.items()))
    assert (namespace, name) == ("default", job.name)
    assert entry.new is not None
    assert entry.new.spec.inputs == (("raw://x",),)
    assert job.results() == ("active", [])
    assert Disco(str(job.disco.master)).joblist()[0][1:] == ("active", job.name)


def test_results_are_read_part_by_part(
    elsewhere: Elsewhere, job: Job, partition: FakePartition
) -> None:
    finish(elsewhere, job, source=source_of(partition))
    urls = job.wait()
    uid = elsewhere.backend.jobs["default", job.name].job.uid
    server = f"127.0.0.1:{elsewhere.replicas.port}"
    assert urls == [f"disco://{server}/default/{job.name}/{uid}/{part}" for part in range(3)]
    assert job.results() == ("ready", urls)
    assert list(result_iterator(urls)) == RECORDS
    assert list(result_iterator([urls[2], urls[0]])) == [RECORDS[2], *RECORDS[:2]]
    assert len(partition.fetches) == 3  # parts that follow each other come in one stream
    assert jobname(urls[0]) == job.name


def test_reading_goes_on_at_another_gateway(
    elsewhere: Elsewhere, job: Job, partition: FakePartition
) -> None:
    partition.break_after = 1
    finish(elsewhere, job, source=source_of(partition))
    records = result_iterator(job.wait())
    first = next(records)
    elsewhere.run(elsewhere.replicas.replace())
    assert [first, *records] == RECORDS


def test_results_of_somebody_else_s_job_are_not_unpickled(
    elsewhere: Elsewhere, master: str, partition: FakePartition
) -> None:
    elsewhere.do(elsewhere.backend.add, "default", "theirs")
    elsewhere.do(elsewhere.backend.finish, "default", "theirs", source=source_of(partition))
    status, urls = Disco(master).results("theirs")
    assert status == "ready"
    records = result_iterator(urls)
    assert [next(records), next(records)] == RECORDS[:2]
    with pytest.raises(DataError, match="hold pickles"):
        next(records)
    assert list(result_iterator(urls, trust=True)) == RECORDS


def test_results_of_a_job_that_was_replaced_are_gone(
    elsewhere: Elsewhere, job: Job, partition: FakePartition
) -> None:
    finish(elsewhere, job, source=source_of(partition))
    urls = job.wait()
    elsewhere.do(elsewhere.backend.add, "default", job.name)
    with pytest.raises(DataError, match="is another job now"):
        next(result_iterator(urls))


def test_a_failure_is_told_with_the_author_s_traceback(elsewhere: Elsewhere, job: Job) -> None:
    failure = common_pb2.Failure(
        message="KeyError: 'x'", traceback="Traceback …\nKeyError: 'x'\n", record="b'line'"
    )
    report = coordinator_pb2.FailureReport(failure=failure)
    finish(elsewhere, job, FAILED, message="map failed: KeyError: 'x'", failures=[report])
    with pytest.raises(JobError) as caught:
        job.wait()
    assert str(caught.value) == (
        f"Job {job.name} failed: map failed: KeyError: 'x'\n"
        "The record: b'line'\nTraceback …\nKeyError: 'x'"
    )
    assert job.results() == ("dead", [])


def test_waiting_ends_after_its_time(job: Job) -> None:
    with pytest.raises(JobError, match=r"Timeout: it still runs after 0\.05 s"):
        job.wait(timeout=0.05)


def test_events_are_told_so_far_and_shown_while_waiting(
    elsewhere: Elsewhere, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere.do(elsewhere.backend.print, "default", job.name, "hello", task=3)
    ((offset, (_, _, text)),) = job.events()
    assert text == "MSG: [map:3] hello"
    assert list(job.events(offset)) == []
    finish(elsewhere, job, message="done")
    job.wait(show=True)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("MSG: [map:3] hello")
    assert second.endswith("job-finished: done")
    raw = Disco(str(job.disco.master)).rawevents(job.name).splitlines()
    assert [json.loads(line)[2] for line in raw] == ["MSG: [map:3] hello", "job-finished: done"]


def test_many_events_are_all_told(elsewhere: Elsewhere, job: Job) -> None:
    for number in range(150):
        text = f"{number} ".ljust(16_000, ".")
        elsewhere.do(elsewhere.backend.print, "default", job.name, text)
    assert len(list(job.events())) == 150


def test_kill_and_purge_work_for_jobs_that_are_not_there(
    elsewhere: Elsewhere, job: Job, master: str
) -> None:
    job.kill()
    with pytest.raises(JobError, match="cancelled by alice: the job was killed by its author"):
        job.wait()
    job.purge()
    job.purge()
    job.kill()
    assert job.results() == ("unknown job", [])
    with pytest.raises(DiscoError, match=f"no job '{job.name}'"):
        job.wait()


def test_jobinfo_tells_what_there_is_to_know(elsewhere: Elsewhere, job: Job) -> None:
    stage = coordinator_pb2.StageProgress(name="map", tasks_total=2, tasks_done=2, retries=1)
    elsewhere.do(elsewhere.backend.change, "default", job.name, stages=[stage])
    info = job.jobinfo()
    assert info["active"] == "active"
    assert info["pipeline"] == [["map", 0, 0, 0, 2, 1]]
    assert info["inputs"] == [["raw://x"]]
    assert info["worker"].endswith("test_disco_names:Words")
    assert (info["owner"], info["hosts"], info["results"]) == ("alice", [], [])
    assert info["timestamp"].startswith("20")


def test_several_jobs_are_waited_for_together(elsewhere: Elsewhere, job: Job, master: str) -> None:
    other = Words(master=master).run(input=["raw://x"])
    finish(elsewhere, other, FAILED)
    inactive, active = Disco(master).results([job, other.name, "none"], timeout=10_000)
    assert [(name, status) for name, (status, _) in inactive] == [
        (other.name, "dead"),
        ("none", "unknown job"),
    ]
    assert [name for name, _ in active] == [job.name]


def test_a_master_is_named_by_setting_argument_or_object(
    elsewhere: Elsewhere, master: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disco = Disco(master, namespace="team")
    assert str(disco) == f"Disco master at {master}"
    assert disco.new_job("made", map=Words.map, input=["raw://x"]).name.startswith("made-")
    assert Words(master=disco).run(input=["raw://x"]).name
    assert {namespace for namespace, _ in elsewhere.backend.jobs} == {"team"}
    monkeypatch.setenv("DISCO_MASTER", master)
    assert Words().run(input=["raw://x"]).results() == ("active", [])


def test_a_master_may_be_a_context(elsewhere: Elsewhere, master: str) -> None:
    from disco.client.config import Config, Context, save, set_context

    context = Context(server=master, token=TOKEN, namespace="team")
    save(set_context(Config(), "mine", context))
    job = Words(master="mine").run(input=["raw://x"])
    assert [namespace for namespace, _ in elsewhere.backend.jobs] == ["team"]
    job.kill()
    with pytest.raises(DiscoError, match=r"master 'none': there is no context 'none'"):
        Disco("none")


def test_a_client_is_shared_by_all_who_name_the_same_master(master: str, job: Job) -> None:
    for _ in range(3):
        Disco(master).joblist()
    assert len(servers._servers) == 1


def test_who_reads_a_result_finds_its_server_by_its_url(
    elsewhere: Elsewhere, job: Job, partition: FakePartition, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(elsewhere, job, source=source_of(partition))
    urls = job.wait()
    job.disco._master.client.close()  # type: ignore[attr-defined]
    servers._servers.clear()  # as in another process of this user
    assert list(result_iterator(urls)) == RECORDS
    with pytest.raises(DataError, match="there is no context 'nowhere'"):
        next(result_iterator(["disco://nowhere/default/words/uid/0"]))


def test_what_cannot_travel_is_told_before_anything_is_sent(
    elsewhere: Elsewhere, master: str
) -> None:
    chained = f"{master}/default/words/uid/0"
    with pytest.raises(CannotTravelError, match="which no server can read: run that job with"):
        Words(master=master).run(input=["disco://127.0.0.1:1/uid/2/0"])
    with pytest.raises(DiscoError, match="is the result of a job on a server"):
        Words(master="local").run(input=[chained])
    assert elsewhere.backend.jobs == {}


def test_a_wrong_token_is_told(elsewhere: Elsewhere, master: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("DISCO_TOKEN", "wrong")
    with pytest.raises(ClientError, match="the token is not accepted"):
        Words(master=master).run(input=["raw://x"])


def test_connections_are_told_apart_by_their_token(master: str) -> None:
    assert resolve(server=master) != resolve(server=master, token="other")
