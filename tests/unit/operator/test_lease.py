"""Several replicas share one fake Lease and one fake clock; each test tells one story of them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from disco_operator.cluster import UnavailableError
from disco_operator.lease import DURATION_S, GIVE_UP_AFTER_S, Leadership, LeadershipLostError, Lease


class Clock:
    """Time that passes only when somebody sleeps, or when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.alarms: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        for alarm in [alarm for alarm in self.alarms if alarm[0] <= self.now]:
            self.alarms.remove(alarm)
            alarm[1]()
        await asyncio.sleep(0)

    def at(self, when: float, what: Callable[[], None]) -> None:
        self.alarms.append((when, what))


class FakeLeases:
    """The API server's Lease, with the compare-and-swap that everything rests on."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.version = 0
        self.down = False
        self.lose_answers = 0
        self.during_write: Callable[[], None] = lambda: None

    async def read(self, *, timeout_s: float) -> Lease | None:
        if self.down:
            raise UnavailableError("connection refused")
        return self.lease

    async def write(self, lease: Lease, *, timeout_s: float) -> Lease | None:
        if self.down:
            raise UnavailableError("connection refused")
        if lease.version != (self.lease.version if self.lease else ""):
            return None
        self.version += 1
        self.lease = replace(lease, version=str(self.version))
        self.during_write()
        if self.lose_answers:
            self.lose_answers -= 1
            raise UnavailableError("timed out")
        return self.lease

    def rewrite(self) -> None:
        """Renew as the present holder would."""
        assert self.lease is not None
        self.version += 1
        self.lease = replace(self.lease, version=str(self.version))


def replica(leases: FakeLeases, name: str, clock: Clock) -> Leadership:
    return Leadership(leases, name, clock=clock, sleep=clock.sleep)


async def holds_until_lost(leadership: Leadership) -> str:
    with pytest.raises(LeadershipLostError) as lost:
        await leadership.hold()
    return str(lost.value)


async def test_the_first_replica_leads_at_once() -> None:
    leases, clock = FakeLeases(), Clock()
    first = replica(leases, "a", clock)
    await first.acquire()
    assert first.held()
    assert first.leader == "a"
    assert clock.now == 1000.0


async def test_a_replica_follows_for_as_long_as_the_lease_changes() -> None:
    leases, clock = FakeLeases(), Clock()
    await replica(leases, "a", clock).acquire()
    for seconds in range(2, 62, 2):
        clock.at(1000.0 + seconds, leases.rewrite)
    second = replica(leases, "b", clock)
    following = asyncio.create_task(second.acquire())
    await asyncio.sleep(0)
    assert second.leader == "a"
    await following
    assert clock.now >= 1060.0 + DURATION_S
    assert second.leader == "b"


async def test_a_dead_leader_is_replaced_within_fifteen_seconds() -> None:
    leases, clock = FakeLeases(), Clock()
    await replica(leases, "a", clock).acquire()
    second = replica(leases, "b", clock)
    await second.acquire()
    assert clock.now - 1000.0 <= 15.0


async def test_a_released_lease_is_taken_without_waiting() -> None:
    leases, clock = FakeLeases(), Clock()
    first, second = replica(leases, "a", clock), replica(leases, "b", clock)
    await first.acquire()
    await first.release()
    assert not first.held()
    await second.acquire()
    assert second.held()
    assert clock.now == 1000.0


async def test_times_in_the_lease_of_a_machine_with_another_clock_do_not_matter() -> None:
    leases, clock = FakeLeases(), Clock()
    await replica(leases, "a", clock).acquire()
    assert leases.lease is not None
    leases.lease = replace(leases.lease, renewed=leases.lease.renewed - timedelta(days=9_999))
    second = replica(leases, "b", clock)
    await second.acquire()
    assert clock.now >= 1000.0 + DURATION_S


async def test_a_leader_that_was_frozen_may_not_write_when_it_wakes_up() -> None:
    leases, clock = FakeLeases(), Clock()
    first = replica(leases, "a", clock)
    await first.acquire()
    assert first.allowance_s() == DURATION_S
    clock.now += 3600.0
    assert not first.held()
    assert first.allowance_s() == 0.0
    assert "not renewed" in await holds_until_lost(first)


async def test_a_leader_frozen_while_it_renewed_holds_nothing_when_it_wakes_up() -> None:
    leases, clock = FakeLeases(), Clock()
    first = replica(leases, "a", clock)
    await first.acquire()

    def freeze() -> None:
        clock.now += 60.0

    leases.during_write = freeze
    assert "not renewed" in await holds_until_lost(first)
    assert not first.held()


async def test_a_replica_frozen_while_it_took_the_lease_never_holds_it() -> None:
    leases, clock = FakeLeases(), Clock()
    first = replica(leases, "a", clock)

    def freeze() -> None:
        clock.now += 60.0

    leases.during_write = freeze
    await first.acquire()
    assert not first.held()


async def test_a_leader_renews_for_hours() -> None:
    leases, clock = FakeLeases(), Clock()
    first = replica(leases, "a", clock)
    await first.acquire()
    held = []
    for hour in range(1, 4):
        clock.at(1000.0 + 3600 * hour, lambda: held.append(first.held()))

    def end() -> None:
        leases.lease = None

    clock.at(1000.0 + 4 * 3600, end)
    assert "nobody" in await holds_until_lost(first)
    assert held == [True] * 3


async def test_a_leader_without_an_api_server_gives_up_before_its_lease_runs_out() -> None:
    leases, clock = FakeLeases(), Clock()
    first = replica(leases, "a", clock)
    await first.acquire()
    leases.down = True
    await holds_until_lost(first)
    assert GIVE_UP_AFTER_S <= clock.now - 1000.0 < DURATION_S


async def test_a_short_outage_of_the_api_server_does_not_cost_the_lease() -> None:
    leases, clock = FakeLeases(), Clock()
    first = replica(leases, "a", clock)
    await first.acquire()
    held = []

    def outage(down: bool) -> Callable[[], None]:
        return lambda: setattr(leases, "down", down)

    clock.at(1001.0, outage(True))
    clock.at(1005.0, outage(False))
    clock.at(1030.0, lambda: held.append(first.held()))
    clock.at(1040.0, outage(True))
    await holds_until_lost(first)
    assert held == [True]


async def test_a_renewal_whose_answer_was_lost_counts_as_soon_as_the_lease_is_read() -> None:
    leases, clock = FakeLeases(), Clock()
    first = replica(leases, "a", clock)
    await first.acquire()
    leases.lose_answers = 2
    held = []
    clock.at(1030.0, lambda: held.append(first.held()))
    clock.at(1040.0, lambda: setattr(leases, "down", True))
    await holds_until_lost(first)
    assert held == [True]


async def test_a_leader_whose_lease_was_taken_stops_at_once() -> None:
    leases, clock = FakeLeases(), Clock()
    first = replica(leases, "a", clock)
    await first.acquire()

    def usurp() -> None:
        assert leases.lease is not None
        leases.rewrite()
        leases.lease = replace(leases.lease, holder="b")

    clock.at(1002.0, usurp)
    assert "held by b" in await holds_until_lost(first)
    assert clock.now == 1002.0


async def test_of_two_replicas_that_find_no_leader_one_leads() -> None:
    leases, clock = FakeLeases(), Clock()
    both = [replica(leases, name, clock) for name in "ab"]
    first, *rest = asyncio.as_completed([one.acquire() for one in both])
    await first
    assert [one.held() for one in both].count(True) == 1
    leases.lease = None  # lets the other end
    for other in rest:
        await other


async def test_a_replica_that_cannot_reach_the_api_server_goes_on_trying(
    caplog: pytest.LogCaptureFixture,
) -> None:
    leases, clock = FakeLeases(), Clock()
    leases.down = True
    clock.at(1030.0, lambda: setattr(leases, "down", False))
    first = replica(leases, "a", clock)
    await first.acquire()
    assert first.held()
    assert first.idle_s() == 0.0
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_idle_time_grows_while_nothing_is_tried() -> None:
    clock = Clock()
    first = replica(FakeLeases(), "a", clock)
    clock.now += 90.0
    assert first.idle_s() == 90.0
