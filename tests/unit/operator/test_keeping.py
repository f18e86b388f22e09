"""What a coordinator had to tell outlives it, and never holds up the end of a job."""

import base64
import random
from typing import Any

import pytest

from disco.v1 import coordinator_pb2
from disco_operator.children.events import events_config_map, packed, run_of, unpacked
from disco_operator.cluster import FencedError, ForbiddenError, Kind, UnavailableError
from disco_operator.fake_cluster import FakeCluster
from disco_operator.keeping import Keeper
from disco_operator.model import DiscoJob


class Told:
    """Stands for a connection to the coordinator."""

    def __init__(self, *texts: str) -> None:
        self.reply: coordinator_pb2.WatchReply | None = told(*texts)

    async def all_events(self, job: DiscoJob) -> coordinator_pb2.WatchReply | None:
        return self.reply


def told(*texts: str, epoch: int = 3) -> coordinator_pb2.WatchReply:
    return coordinator_pb2.WatchReply(
        progress=coordinator_pb2.JobProgress(epoch=epoch, last_event=len(texts), message="late"),
        events=[
            coordinator_pb2.JobEvent(number=number, kind="output", text=text)
            for number, text in enumerate(texts, 1)
        ],
    )


async def test_events_are_kept_with_the_epoch_that_numbers_them(story: Any) -> None:
    cluster = FakeCluster()
    job = story.job
    keeper = Keeper(cluster, Told("one", "two"))  # type: ignore[arg-type]
    assert await keeper.keep(job, run=0) == ()
    found = await cluster.get(Kind.CONFIGMAP, "ns", f"j-events-{job.uid[:8]}")
    assert found is not None
    assert found["immutable"] is True
    assert job.owns(found)
    kept = unpacked(found)
    assert kept is not None
    assert (kept.progress.epoch, kept.progress.last_event) == (3, 2)
    assert [event.text for event in kept.events] == ["one", "two"]


async def test_who_takes_over_in_between_keeps_them_again_and_changes_nothing(story: Any) -> None:
    cluster = FakeCluster()
    await Keeper(cluster, Told("one")).keep(story.job, run=0)  # type: ignore[arg-type]
    before = list(cluster.writes)
    assert await Keeper(cluster, Told("one")).keep(story.job, run=0) == ()  # type: ignore[arg-type]
    assert cluster.writes == before


async def test_those_of_a_retry_replace_those_of_the_run_before(story: Any) -> None:
    cluster = FakeCluster()
    await Keeper(cluster, Told("first run")).keep(story.job, run=0)  # type: ignore[arg-type]
    await Keeper(cluster, Told("second run")).keep(story.job, run=1)  # type: ignore[arg-type]
    (name,) = cluster.names(Kind.CONFIGMAP)
    found = await cluster.get(Kind.CONFIGMAP, "ns", name)
    assert found is not None
    kept = unpacked(found)
    assert kept is not None
    assert [event.text for event in kept.events] == ["second run"]
    assert run_of(found) == 1


async def test_a_coordinator_that_does_not_answer_is_said_and_no_more(story: Any) -> None:
    silent = Told()
    silent.reply = None
    cluster = FakeCluster()
    (said,) = await Keeper(cluster, silent).keep(story.job, run=0)  # type: ignore[arg-type]
    assert said.reason == "EventsNotKept"
    assert "does not answer" in said.message
    assert cluster.writes == []


async def test_a_cluster_that_cannot_now_is_asked_again(story: Any) -> None:
    cluster = FakeCluster()
    cluster.fail("create", UnavailableError("etcd elects"))
    assert await Keeper(cluster, Told("one")).keep(story.job, run=0) == ()  # type: ignore[arg-type]
    assert len(cluster.names(Kind.CONFIGMAP)) == 1


async def test_a_cluster_that_never_can_is_not_asked_for_ever(story: Any) -> None:
    cluster = FakeCluster()
    for _ in range(20):
        cluster.fail("create", UnavailableError("etcd is full"))
    (said,) = await Keeper(cluster, Told("one")).keep(story.job, run=0)  # type: ignore[arg-type]
    assert "etcd is full" in said.message


async def test_a_refusal_is_said_at_once(story: Any) -> None:
    cluster = FakeCluster()
    cluster.fail("create", ForbiddenError("exceeded quota: maps"))
    (said,) = await Keeper(cluster, Told("one")).keep(story.job, run=0)  # type: ignore[arg-type]
    assert "exceeded quota: maps" in said.message


async def test_who_does_not_lead_any_more_ends(story: Any) -> None:
    cluster = FakeCluster()
    cluster.fail("create", FencedError("not us"))
    with pytest.raises(FencedError):
        await Keeper(cluster, Told("one")).keep(story.job, run=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("max_bytes", [200, 5_000, 50_000])
def test_of_more_than_fits_the_newest_are_kept(story: Any, max_bytes: int) -> None:
    noise = random.Random(7)
    events = told(*(noise.randbytes(300).hex() for _ in range(100)))
    data = packed(events, max_bytes=max_bytes)
    assert len(data) <= max_bytes
    manifest = events_config_map(story.job, told(), run=0)
    manifest["binaryData"]["events.pb.zst"] = base64.b64encode(data).decode()
    kept = unpacked(manifest)
    assert kept is not None
    assert list(kept.events) == list(events.events)[100 - len(kept.events) :]
    assert kept.progress.last_event == 100
    assert (len(kept.events) > 0) == (max_bytes > 200)


@pytest.mark.parametrize("data", ["", "%%%", base64.b64encode(b"no zstd").decode(), None])
def test_what_is_not_ours_is_nothing(story: Any, data: str | None) -> None:
    manifest = events_config_map(story.job, told("one"), run=0)
    manifest["binaryData"] = {} if data is None else {"events.pb.zst": data}
    assert unpacked(manifest) is None


def test_a_bomb_is_not_unpacked(story: Any) -> None:
    manifest = events_config_map(story.job, told("x" * 40_000_000), run=0)
    assert unpacked(manifest) is None
