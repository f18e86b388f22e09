"""Reconciling against a cluster in a dictionary: what is written, in which order, and how often."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from disco_operator.cluster import (
    ClusterError,
    ForbiddenError,
    InvalidError,
    Kind,
    QuotaError,
    UnavailableError,
)
from disco_operator.following import News
from disco_operator.model import written_time
from disco_operator.reconcile import ENSURE_AGAIN_S

from .world import KEY, World


def _statuses(writes: list[str]) -> list[str]:
    return [write for write in writes if "status" in write]


async def test_a_new_job_is_made_in_one_go_after_its_status_says_so(world: World) -> None:
    world.submit()
    await world.look()
    assert world.cluster.names(Kind.STATEFULSET) == ("j-ps",)
    assert world.cluster.names(Kind.DEPLOYMENT) == ("j-coordinator", "j-workers")
    assert world.cluster.names(Kind.SERVICE) == ("j-coordinator", "j-ps")
    assert len(world.cluster.names(Kind.SECRET)) == 1
    assert len(world.cluster.names(Kind.CONFIGMAP)) == 1
    assert "status" in world.cluster.writes[0]
    assert len(_statuses(world.cluster.writes)) == 1
    assert world.reasons() == ["Started"]


@pytest.mark.parametrize(("phase", "called"), [("Pending", False), ("Running", True)])
async def test_a_coordinator_is_called_once_its_pod_runs(
    world: World, build: Any, phase: str, called: bool
) -> None:
    """Of thousands of jobs that wait for room each was called twice a second."""
    world.submit()
    await world.look()
    pod = build.pod("j-coordinator-1", "coordinator", phase=phase)
    pod["metadata"]["namespace"] = "ns"
    world.cluster.add({"apiVersion": "v1", **pod})
    await world.look()
    assert bool(world.told.called) is called


async def test_the_time_that_passes_is_written_less_often_the_more_jobs_there_are(
    world: World, build: Any
) -> None:
    world.submit()
    await world.look()
    world.told.news = News(progress=build.progress((8, 2, 0)))
    await world.look()
    world.crowd(2_000)
    body = world.job()
    assert body is not None
    before = len(world.cluster.writes)
    for seconds, writes in ((100, 0), (200, 1)):
        since = datetime.now(UTC) - timedelta(seconds=seconds + 0.5)
        running = {**body["status"], "runSince": written_time(since), "duration": "0s"}
        world.cluster.set_status(Kind.DISCOJOB, "ns", "j", running)
        await world.look()
        assert len(world.cluster.writes) == before + writes


@pytest.mark.parametrize("ill", ["no worker comes", "attempts are lost"])
async def test_a_service_that_somebody_deleted_is_made_again_soon_if_the_job_suffers(
    world: World, build: Any, ill: str
) -> None:
    """Workers could not find their coordinator for ten minutes; without the other, a job failed."""
    world.submit()
    await world.look()
    told = build.progress((8, 2, 0), workers=0 if ill == "no worker comes" else 2)
    world.told.news = News(progress=told)
    await world.look()
    world.cluster.remove(Kind.SERVICE, "ns", "j-ps")
    if ill == "attempts are lost":
        world.now = 60
        await world.look()
        assert "j-ps" not in world.cluster.names(Kind.SERVICE), "nothing is wrong with this job"
        told.stages[0].retries += 1
    world.now = 61
    await world.look()
    assert "j-ps" in world.cluster.names(Kind.SERVICE)


@pytest.mark.parametrize(("others", "after_s"), [(0, 31), (200, 101)])
async def test_what_a_silent_coordinator_may_miss_is_made_again_in_turn(
    world: World, build: Any, others: int, after_s: float
) -> None:
    """A network that kept the operator from all coordinators made it flood the API server, too."""
    world.submit()
    await world.look()
    world.crowd(others)
    world.told.news = News(progress=build.progress((8, 2, 0)), silent_s=60.0)
    world.cluster.remove(Kind.SERVICE, "ns", "j-coordinator")
    for now, there in ((after_s - 2, False), (after_s, True)):
        world.now = now
        await world.look()
        assert ("j-coordinator" in world.cluster.names(Kind.SERVICE)) is there


async def test_a_new_operator_does_not_make_everything_again_at_once(world: World) -> None:
    world.submit()
    await world.look()
    world.start_operator()
    world.cluster.remove(Kind.SERVICE, "ns", "j-coordinator")
    await world.look()
    assert "j-coordinator" not in world.cluster.names(Kind.SERVICE)
    world.now = ENSURE_AGAIN_S
    await world.look()
    assert "j-coordinator" in world.cluster.names(Kind.SERVICE)


async def test_looking_again_writes_nothing(world: World, build: Any) -> None:
    world.submit()
    await world.look()
    world.told.news = News(progress=build.progress((8, 2, 0)))
    await world.look()
    before = list(world.cluster.writes)
    for _ in range(3):
        await world.look()
    assert world.cluster.writes == before


async def test_one_status_write_for_each_look(world: World, build: Any) -> None:
    world.submit()
    await world.look()
    for done in range(1, 5):
        before = len(_statuses(world.cluster.writes))
        world.told.news = News(progress=build.progress((10 - done, 0, done)))
        await world.look()
        assert len(_statuses(world.cluster.writes)) == before + 1
    assert world.status["progress"] == "4/10"


@pytest.mark.parametrize("verb", ["create", "apply", "write_status"])
async def test_what_an_unavailable_server_interrupts_is_done_the_next_time(
    world: World, verb: str
) -> None:
    world.submit()
    world.cluster.fail(verb, UnavailableError("503"))
    with pytest.raises(UnavailableError):
        await world.look()
    await world.look()
    await world.look()
    assert world.cluster.names(Kind.STATEFULSET) == ("j-ps",)
    assert world.cluster.names(Kind.DEPLOYMENT) == ("j-coordinator", "j-workers")
    assert len(world.cluster.names(Kind.SECRET)) == 1
    assert world.status["phase"] == "Pending"


async def test_a_namespace_without_rights_is_told_and_asked_again(world: World) -> None:
    world.submit()
    world.cluster.fail("create", ForbiddenError("cannot create configmaps in namespace ns"))
    assert await world.look() is not None
    conditions = {c["type"]: c for c in world.status["conditions"]}
    assert conditions["Running"]["reason"] == "Forbidden"
    assert "cannot create configmaps" in conditions["Running"]["message"]
    assert world.reasons() == ["Started", "Forbidden"]
    await world.look()
    assert world.cluster.names(Kind.DEPLOYMENT) == ("j-coordinator", "j-workers")


async def test_code_in_a_config_map_must_be_there_and_have_the_module(world: World) -> None:
    world.submit(code={"configMap": {"name": "code"}})
    await world.look()
    assert world.reasons() == ["CodeNotFound"]
    config = {"apiVersion": "v1", "kind": "ConfigMap"}
    metadata = {"namespace": "ns", "name": "code"}
    world.cluster.add({**config, "metadata": metadata, "data": {"other.py": "x"}})
    await world.look()
    assert "has no wc.py" in world.cluster.events[-1].message
    world.cluster.add({**config, "metadata": metadata, "data": {"wc.py": "x = 1"}})
    await world.look()
    assert world.reasons()[-1] == "Started"


async def test_a_job_that_is_gone_is_forgotten(world: World) -> None:
    world.submit()
    await world.look()
    assert world.told.followed
    world.cluster.remove(Kind.DISCOJOB, "ns", "j")
    assert await world.look() is None
    assert not world.told.followed
    assert world.numbers.phases == {}
    assert world.cluster.names(Kind.DEPLOYMENT) == ()


async def test_a_job_made_again_under_its_name_starts_anew(world: World) -> None:
    world.submit()
    await world.look()
    first = world.cluster.names(Kind.SECRET)
    world.cluster.remove(Kind.DISCOJOB, "ns", "j")
    world.submit()
    await world.look()
    assert world.cluster.names(Kind.DEPLOYMENT) == ("j-coordinator", "j-workers")
    assert world.cluster.names(Kind.SECRET) != first


async def test_a_service_of_an_earlier_job_is_not_taken_for_ones_own(world: World) -> None:
    """It would be removed with that job a moment later, and nobody could find the coordinator."""
    owner = {"apiVersion": "discoproject.org/v1alpha1", "kind": "DiscoJob", "uid": "earlier"}
    metadata = {"namespace": "ns", "name": "j-ps", "ownerReferences": [{**owner, "name": "j"}]}
    world.cluster.add({"apiVersion": "v1", "kind": "Service", "metadata": metadata})
    world.submit()
    with pytest.raises(UnavailableError, match="earlier job"):
        await world.look()
    world.cluster.remove(Kind.SERVICE, "ns", "j-ps")
    await world.look()
    assert world.cluster.names(Kind.DEPLOYMENT) == ("j-coordinator", "j-workers")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ForbiddenError("no right"), "Forbidden"),
        (QuotaError("exceeded quota: q"), "QuotaExceeded"),
        (InvalidError("containerPort: too large"), "Refused"),
    ],
)
async def test_a_refusal_is_told_once_even_while_workers_are_at_work(
    world: World, build: Any, error: ClusterError, reason: str
) -> None:
    world.submit()
    await world.look()
    world.told.news = News(progress=build.progress((8, 2, 0)))
    await world.look()
    for replicas in (3, 3, 3):
        world.submit(workers={"replicas": replicas})
        world.cluster.fail("scale", error)
        await world.look()
        running = next(c for c in world.status["conditions"] if c["type"] == "Running")
        assert (running["status"], running["reason"]) == ("True", reason)
        assert "2 workers" in running["message"]
        assert str(error) in running["message"]
    assert world.reasons().count(reason) == 1


async def test_a_foreign_object_of_a_childs_name_is_named(world: World) -> None:
    metadata = {"namespace": "ns", "name": "j-ps"}
    world.cluster.add({"apiVersion": "v1", "kind": "Service", "metadata": metadata})
    world.submit()
    await world.look()
    running = next(c for c in world.status["conditions"] if c["type"] == "Running")
    assert running["reason"] == "NameTaken"
    assert "Service j-ps" in running["message"]


async def test_a_spec_too_large_to_be_kept_is_refused_with_the_reason(world: World) -> None:
    """A dozen of them filled the memory of every replica."""
    world.submit(params={"x": [{} for _ in range(60_000)]})
    await world.look()
    accepted = next(c for c in world.status["conditions"] if c["type"] == "Accepted")
    assert accepted["reason"] == "InvalidSpec"
    assert "values" in accepted["message"]
    body = world.cache.job(KEY)
    assert body is not None
    assert body["spec"] == {}


async def test_a_bug_over_one_job_is_told_in_its_status(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise TypeError("unhashable type")

    monkeypatch.setattr("disco_operator.reconcile.decide", broken)
    world.submit()
    with pytest.raises(TypeError):
        await world.look()
    running = next(c for c in world.status["conditions"] if c["type"] == "Running")
    assert running["reason"] == "InternalError"
    assert "unhashable type" in running["message"]


async def test_the_status_of_a_large_job_stays_small(world: World, build: Any) -> None:
    world.submit()
    await world.look()
    names = [f"stage-{index}" for index in range(100)]
    failures = [("USER", "x" * 100_000) for _ in range(20)]
    told = build.progress(*[(0, 0, 1000)] * 100, names=names, failures=failures)
    world.told.news = News(progress=told)
    await world.look()

    assert len(json.dumps(world.status)) < 40_000
