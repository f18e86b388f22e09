"""How a job ends, by itself or because somebody cancels it, and begins once more."""

from typing import Any

import pytest

from disco.v1 import coordinator_pb2
from disco_operator.cluster import ForbiddenError, Kind, UnavailableError
from disco_operator.following import NOTHING, News

from .world import KEY, World


async def test_a_retry_makes_what_was_removed_at_the_end(world: World, build: Any) -> None:
    """Without its Service nobody finds the coordinator of the second run."""
    world.submit()
    await world.look()
    world.told.news = News(progress=build.progress((0, 0, 9), phase="FAILED", message="broke"))
    await world.look()
    await world.look()
    assert "j-coordinator" not in world.cluster.names(Kind.SERVICE)
    world.told.news = NOTHING
    world.submit(retry=1)
    await world.look()
    assert world.cluster.names(Kind.SERVICE) == ("j-coordinator", "j-ps")


async def test_what_could_not_be_removed_at_the_end_is_removed_later(
    world: World, build: Any
) -> None:
    world.submit(output={"url": "/out"})
    await world.look()
    told = build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")
    world.told.news = News(progress=told)
    await world.look()
    world.cluster.fail("delete", ForbiddenError("rights were taken away"))
    await world.look()
    assert world.cluster.names(Kind.SECRET) != ()
    await world.look()
    for kind in (Kind.SERVICE, Kind.SECRET, Kind.CONFIGMAP, Kind.NETWORKPOLICY):
        assert world.cluster.names(kind) == (), kind


async def test_a_retry_needs_no_config_map_that_was_packed_before(world: World, build: Any) -> None:
    """The code was packed at the start; without its Service the second run is found by nobody."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"wc.py": "x = 1"}}
    world.cluster.add({**config, "metadata": {"namespace": "ns", "name": "code"}})
    code = {"configMap": {"name": "code"}}
    world.submit(code=code)
    await world.look()
    world.told.news = News(progress=build.progress((0, 0, 9), phase="FAILED", message="broke"))
    await world.look()
    await world.look()
    world.cluster.remove(Kind.CONFIGMAP, "ns", "code")
    world.told.news = NOTHING
    world.submit(code=code, retry=1)
    await world.look()
    assert world.cluster.names(Kind.SERVICE) == ("j-coordinator", "j-ps")


async def test_cancelling_asks_the_coordinator(world: World, build: Any) -> None:
    world.submit()
    await world.look()
    world.told.news = News(progress=build.progress((8, 2, 0)))
    world.submit(cancel=True)
    await world.look()
    assert world.told.cancelled == ["cancelled: spec.cancel was set"]


async def test_who_cancels_may_say_why(world: World, build: Any) -> None:
    world.submit()
    await world.look()
    body = world.job()
    assert body is not None
    body["metadata"]["annotations"] = {"discoproject.org/cancelled-because": "wrong input"}
    body["spec"]["cancel"] = True
    world.cluster.add(body)
    world.told.news = News(progress=build.progress((8, 2, 0)))
    await world.look()
    assert world.told.cancelled == ["cancelled: wrong input"]


async def test_what_has_ended_lets_go_of_what_is_not_watched(world: World, build: Any) -> None:
    world.submit(output={"url": "/out"})
    await world.look()
    told = build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")
    world.told.news = News(progress=told)
    assert await world.look() is not None
    assert world.cluster.names(Kind.DEPLOYMENT) == ()
    await world.look()
    for kind in (Kind.DEPLOYMENT, Kind.STATEFULSET, Kind.SERVICE, Kind.SECRET, Kind.CONFIGMAP):
        assert world.cluster.names(kind) == (), kind
    assert world.status["phase"] == "Succeeded"
    before = list(world.cluster.writes)
    await world.look()
    assert world.cluster.writes == before


async def test_that_a_job_is_over_is_written_before_its_pods_are_removed(
    world: World, build: Any
) -> None:
    """Else an operator that is killed in between leaves a running job without pods to the next,
    which runs it again: seen once, when a job that had succeeded failed over its own output."""
    world.submit(output={"url": "/out"})
    await world.look()
    told = build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")
    world.told.news = News(progress=told)
    world.cluster.fail("delete", UnavailableError("killed here"))
    with pytest.raises(UnavailableError):
        await world.look()
    assert world.status["phase"] == "Succeeded"
    assert world.cluster.names(Kind.DEPLOYMENT) != ()
    world.told.news = NOTHING
    await world.look()
    assert world.status["phase"] == "Succeeded"
    assert world.cluster.names(Kind.DEPLOYMENT) == ()


async def test_what_the_coordinator_told_is_kept_before_the_status_says_that_it_is_over(
    world: World, build: Any
) -> None:
    world.submit()
    await world.look()
    world.told.news = News(progress=build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED"))
    world.told.events = coordinator_pb2.WatchReply(
        events=[coordinator_pb2.JobEvent(number=1, kind="output", text="hello")]
    )
    before = len(world.cluster.writes)
    await world.look()
    written = world.cluster.writes[before:]
    assert written[0].startswith("create configmaps ns/j-events-")
    assert written[1].startswith("write_status")


@pytest.mark.parametrize("phase", ["SUCCEEDED", "FAILED", "CANCELLED"])
async def test_a_job_whose_events_cannot_be_kept_ends_all_the_same(
    world: World, build: Any, phase: str
) -> None:
    world.submit()
    await world.look()
    world.told.news = News(progress=build.progress((0, 0, 10), (0, 0, 2), phase=phase))
    world.told.events = None
    await world.look()
    assert world.status["phase"] == phase.capitalize()
    assert "EventsNotKept" in world.reasons()


async def test_a_job_that_nobody_heard_of_has_nothing_to_keep(world: World) -> None:
    world.submit(cancel=True)
    world.told.events = None
    await world.look()
    assert world.status["phase"] == "Cancelled"
    assert "EventsNotKept" not in world.reasons()


async def test_what_was_written_is_known_before_the_watch_tells_it(
    world: World, build: Any
) -> None:
    """A pod's event may come before that of our own write, which would be decided about again."""
    world.submit(output={"url": "/out"})
    await world.look()
    told = build.progress((0, 0, 10), (0, 0, 2), phase="SUCCEEDED")
    world.told.news = News(progress=told)
    await world.look()
    world.told.news = NOTHING
    await world.reconciler.reconcile(KEY)
    assert world.cluster.names(Kind.DEPLOYMENT) == ()
    assert world.status["phase"] == "Succeeded"
