"""Handles on jobs: names, states, killing and purging, on every engine."""

import re
import time

import pytest

from disco.core import Disco, result_iterator
from disco.error import DiscoError, JobError
from disco.job import Job

from . import jobs
from .conftest import Backend


def test_a_job_that_never_ran_has_its_class_s_name_and_is_unknown(backend: Backend) -> None:
    job = jobs.Summed(master=backend.master)
    assert job.name == "Summed"
    assert job.results() == ("unknown job", [])


@pytest.mark.parametrize("prefix", ["a/b", "a.b"])
def test_a_name_has_no_slash_and_no_dot(backend: Backend, prefix: str) -> None:
    with pytest.raises(DiscoError, match=f"invalid prefix '{prefix}'"):
        Job(name=prefix, master=backend.master).run(map=jobs.mapped, input=["raw://x"])


def test_inputs_must_be_a_list(backend: Backend) -> None:
    for given in (7, "raw://x"):
        with pytest.raises(DiscoError, match="input must be a list"):
            backend.run(jobs.Unlabelled, input=given)


def test_a_run_has_a_unique_name_that_begins_with_its_prefix(backend: Backend) -> None:
    disco = Disco(backend.master)
    first = disco.new_job("mine", map=jobs.Unlabelled.map, partitions=None, input=["raw://x"])
    second = disco.new_job("mine", map=jobs.Unlabelled.map, partitions=None, input=["raw://x"])
    pattern = "mine@[0-9a-f]+:[0-9a-f]+:[0-9a-f]+" if backend.name == "local" else "mine-[a-z0-9]+"
    assert re.fullmatch(pattern, first.name)
    assert first.name != second.name
    assert {first.name, second.name} <= {name for _, _, name in disco.joblist()}
    for job in (first, second):
        assert list(result_iterator(disco.wait(job.name))) == [("x", None)]
        assert disco.results(job.name)[0] == "ready"
        job.purge()
        assert disco.results(job.name) == ("unknown job", [])


def test_a_job_that_is_killed_is_dead_and_one_that_is_purged_is_unknown(backend: Backend) -> None:
    disco = Disco(backend.master)
    killed = backend.run(jobs.Sleeping, input=["raw://x"])
    purged = backend.run(jobs.Sleeping, input=["raw://x"])
    inactive, active = disco.results([killed, purged.name, "none"], timeout=100)
    assert [(name, status[0]) for name, status in inactive] == [("none", "unknown job")]
    assert [name for name, _ in active] == [killed.name, purged.name]
    with pytest.raises(JobError, match="Timeout"):
        killed.wait(timeout=0.1)
    killed.kill()
    purged.purge()
    deadline = time.monotonic() + 60
    while killed.results()[0] != "dead" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert killed.results() == ("dead", [])
    with pytest.raises(JobError):
        killed.wait()
    assert purged.results() == ("unknown job", [])
    killed.purge()
