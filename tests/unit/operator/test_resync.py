import asyncio
from collections.abc import Sequence

import pytest

from disco_operator.cache import Cache
from disco_operator.cluster import ForbiddenError, Kind, UnavailableError
from disco_operator.fake_cluster import FakeCluster
from disco_operator.model import API_VERSION, JobKey, Json
from disco_operator.resync import PERIOD_S, Resync, ScopeChangedError


def job(name: str, namespace: str = "ns") -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "DiscoJob",
        "metadata": {"namespace": namespace, "name": name},
    }


def pod(name: str, of: str, manager: str = "disco-operator") -> Json:
    labels = {"app.kubernetes.io/managed-by": manager, "discoproject.org/job": of}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "ns", "name": name, "labels": labels},
    }


class Story:
    """A resync over a fake cluster, and what it asked for."""

    def __init__(self, *, namespaces: Sequence[str | None] = (None,), nodes: bool = False) -> None:
        self.cluster = FakeCluster()
        self.cache = Cache()
        self.looks: dict[JobKey, float] = {}
        self.missed: list[int] = []
        self.now = 0.0
        self.rounds = 0
        self.resync = Resync(
            self.cluster,
            self.cache,
            namespaces=namespaces,
            nodes=nodes,
            look=self.looks.__setitem__,
            done=self.missed.append,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.rounds -= 1
        if self.rounds < 0:
            raise asyncio.CancelledError

    async def go(self, rounds: int) -> None:
        self.looks.clear()
        self.rounds = rounds
        with pytest.raises(asyncio.CancelledError):
            await self.resync.run()


async def test_the_first_one_has_every_job_looked_at_at_once() -> None:
    story = Story()
    story.cluster.add(job("a"))
    story.cluster.add(job("b"))
    story.cluster.add(pod("p", "a"))
    await story.resync.first()
    assert story.looks == {JobKey("ns", "a"): 0.0, JobKey("ns", "b"): 0.0}
    assert [len(story.cache.children(JobKey("ns", name))) for name in "ab"] == [1, 0]
    assert story.missed == [0]


async def test_the_first_one_is_tried_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    story.rounds = 5
    story.cluster.add(job("a"))
    for _ in range(3):
        story.cluster.fail("list", UnavailableError("no such kind"), kind=Kind.DISCOJOB)
    await story.resync.first()
    assert len(story.cache.jobs()) == 1
    assert len(caplog.records) == 3


async def test_a_namespace_without_rights_keeps_nobody_from_the_others() -> None:
    """One of several namespaces was deleted, and the operator went deaf for all of them."""
    story = Story(namespaces=("gone", "ns"))
    story.cluster.add(job("a"))
    story.cluster.fail("list", ForbiddenError("no right"), kind=Kind.DISCOJOB)
    await story.resync.first()
    assert story.resync.readable == ("ns",)
    assert story.cache.jobs() == (JobKey("ns", "a"),)


async def test_rights_that_come_back_begin_everything_anew() -> None:
    story = Story(namespaces=("away", "ns"))
    story.cluster.fail("list", ForbiddenError("no right"), kind=Kind.DISCOJOB)
    await story.resync.first()
    story.rounds = 5
    with pytest.raises(ScopeChangedError, match="away, ns"):
        await story.resync.run()


async def test_later_ones_spread_the_looks_over_the_time_until_the_next() -> None:
    story = Story()
    for name in "abcd":
        story.cluster.add(job(name))
    await story.resync.first()
    await story.go(1)
    assert sorted(story.looks.values()) == [0.0, PERIOD_S / 4, PERIOD_S / 2, PERIOD_S * 3 / 4]


async def test_what_changed_unheard_is_looked_at_first() -> None:
    story = Story()
    for name in "abcd":
        story.cluster.add(job(name))
    await story.resync.first()
    story.cluster.add(pod("p", "d"))
    await story.go(1)
    assert story.looks[JobKey("ns", "d")] == 0.0


async def test_what_the_watch_does_not_tell_within_a_minute_is_missed_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story()
    await story.resync.first()
    story.cluster.add(job("a"))
    await story.go(3)
    assert story.missed == [0, 0, 1, 0]
    assert [record.message for record in caplog.records] == ["watch missed changes"]


async def test_what_the_watch_tells_in_time_is_not_missed() -> None:
    story = Story()
    await story.resync.first()
    body = story.cluster.add(job("a"))
    await story.go(1)
    story.cache.heard(Kind.DISCOJOB, "ADDED", body)
    await story.go(1)
    assert story.missed == [0, 0, 0]


async def test_only_the_namespaces_served_are_read_and_only_our_children() -> None:
    story = Story(namespaces=("ns", "home"))
    story.cluster.add(job("a"))
    story.cluster.add(job("b", namespace="elsewhere"))
    story.cluster.add(pod("ours", "a"))
    story.cluster.add(pod("theirs", "a", manager="somebody"))
    await story.resync.first()
    assert story.cache.jobs() == (JobKey("ns", "a"),)
    assert len(story.cache.children(JobKey("ns", "a"))) == 1


async def test_nodes_are_read_if_they_may_be() -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    for nodes in (True, False):
        story = Story(nodes=nodes)
        story.cluster.add(node)
        await story.resync.first()
        assert story.cache.node_ready("n1") is (True if nodes else None)


async def test_a_list_that_fails_is_logged_and_the_next_one_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story()
    await story.resync.first()
    story.cluster.add(job("a"))
    story.cluster.fail("list", UnavailableError("timed out"))
    await story.go(2)
    assert story.missed == [0, 0]
    assert JobKey("ns", "a") in story.looks
    assert [record.message for record in caplog.records] == ["cluster not listed"]
