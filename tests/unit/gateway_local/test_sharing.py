"""How workers are shared, on single cases and in random lives of many jobs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco_gateway.local.sharing import Decision, Demand, Policy, Resize, Start, decide


def waiting(job: str, user: str = "ann", asked: int = 9) -> Demand:
    return Demand(job=job, user=user, asked=asked)


def running(job: str, keeps: int, user: str = "ann", asked: int = 9, leaving: int = 0) -> Demand:
    return Demand(job=job, user=user, asked=asked, keeps=keeps, leaving=leaving)


def fair(capacity: int, *demands: Demand, taken: int = 0) -> list[Decision]:
    return decide(capacity, demands, Policy.FAIR, taken=taken)


def fifo(capacity: int, *demands: Demand) -> list[Decision]:
    return decide(capacity, demands, Policy.FIFO)


def test_a_job_alone_gets_all_it_asks_for() -> None:
    assert fair(4, waiting("a", asked=3)) == [Start("a", 3)]
    assert fair(4, waiting("a", asked=9)) == [Start("a", 4)]


def test_users_share_equally_however_many_jobs_each_has() -> None:
    jobs = (waiting("a1"), waiting("a2"), waiting("b1", "bob"))

    assert fair(8, *jobs) == [Start("a1", 2), Start("a2", 2), Start("b1", 4)]


def test_what_a_user_cannot_use_goes_to_the_others() -> None:
    jobs = (waiting("a", "ann", asked=1), waiting("b", "bob"), waiting("c", "cy"))

    assert fair(7, *jobs) == [Start("a", 1), Start("b", 3), Start("c", 3)]


def test_who_has_more_than_a_share_gives_back_before_another_starts() -> None:
    assert fair(4, running("a", 4), waiting("b", "bob")) == [Resize("a", 2)]
    assert fair(4, running("a", 2, leaving=2), waiting("b", "bob")) == []
    assert fair(4, running("a", 2, leaving=1), waiting("b", "bob")) == [Start("b", 1)]
    assert fair(4, running("a", 2), running("b", 1, "bob")) == [Resize("b", 2)]


def test_a_running_job_keeps_one_worker_and_others_wait_their_turn() -> None:
    jobs = (running("a1", 1), running("a2", 1), waiting("b1", "bob"), waiting("a3"))

    assert fair(2, *jobs) == []
    assert fair(2, *jobs[1:]) == [Start("b1", 1)]


def test_workers_of_an_ended_job_are_not_given_away_before_they_are_gone() -> None:
    assert fair(2, waiting("b"), taken=2) == []
    assert fair(2, waiting("b"), taken=1) == [Start("b", 1)]


def test_first_come_first_served() -> None:
    assert fifo(4, waiting("a", asked=3), waiting("b", "bob")) == [Start("a", 3), Start("b", 1)]
    assert fifo(4, running("a", 4), waiting("b", "bob")) == []
    assert fifo(4, running("b", 1, "bob"), waiting("c")) == [Resize("b", 4)]


@dataclass
class World:
    """Jobs that come and end, and workers that take their time to leave."""

    capacity: int
    policy: Policy
    chance: random.Random
    demands: list[Demand] = field(default_factory=list)
    taken: int = 0

    def act(self) -> list[Decision]:
        decisions = decide(self.capacity, self.demands, self.policy, taken=self.taken)
        told = {decision.job: decision.workers for decision in decisions}
        for decision in decisions:
            known = next(demand for demand in self.demands if demand.job == decision.job)
            assert isinstance(decision, Start) == (known.keeps == 0)
            assert decision.workers >= 1
        self.demands = [self._after(demand, told) for demand in self.demands]
        assert self.taken + sum(d.keeps + d.leaving for d in self.demands) <= self.capacity
        assert all(demand.keeps <= demand.asked for demand in self.demands)
        return decisions

    def _after(self, demand: Demand, told: dict[str, int]) -> Demand:
        keeps = told.get(demand.job, demand.keeps)
        return Demand(
            job=demand.job,
            user=demand.user,
            asked=demand.asked,
            keeps=keeps,
            leaving=demand.leaving + max(0, demand.keeps - keeps),
        )

    def come(self, demand: Demand) -> None:
        self.demands.append(demand)

    def end(self, position: int) -> None:
        ended = self.demands.pop(position)
        self.taken += ended.keeps + ended.leaving

    def leave(self, *, all_of_them: bool) -> None:
        keep = self.chance.randint(0, self.taken) if not all_of_them else 0
        self.taken = keep
        self.demands = [
            Demand(
                job=demand.job,
                user=demand.user,
                asked=demand.asked,
                keeps=demand.keeps,
                leaving=0 if all_of_them else self.chance.randint(0, demand.leaving),
            )
            for demand in self.demands
        ]

    def settle(self) -> None:
        """Let all who were told to leave do so, until nobody is told anything any more."""
        for _ in range(self.capacity + 2):
            self.leave(all_of_them=True)
            if not self.act():
                return
        raise AssertionError("it never comes to rest")

    @property
    def keeps(self) -> Sequence[int]:
        return [demand.keeps for demand in self.demands]


worlds = st.builds(
    World,
    capacity=st.integers(1, 8),
    policy=st.sampled_from(Policy),
    chance=st.randoms(use_true_random=False),
)


@given(world=worlds, steps=st.lists(st.sampled_from(["come", "end", "leave"]), max_size=40))
def test_never_more_workers_than_there_may_be_and_none_idle_that_a_job_could_use(
    world: World, steps: list[str]
) -> None:
    for number, step in enumerate(steps):
        if step == "come":
            user, asked = world.chance.choice("abc"), world.chance.randint(1, 9)
            world.come(waiting(f"job-{number}", user, asked))
        elif step == "end" and world.demands:
            world.end(world.chance.randrange(len(world.demands)))
        else:
            world.leave(all_of_them=False)
        world.act()

    world.settle()

    wanted = sum(demand.asked for demand in world.demands)
    assert sum(world.keeps) == min(world.capacity, wanted)


@given(world=worlds, users=st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_nobody_waits_for_ever_as_long_as_jobs_end(world: World, users: list[str]) -> None:
    for number, user in enumerate(users):
        world.come(waiting(f"job-{number}", user, world.chance.randint(1, 9)))
    last, started = f"job-{len(users) - 1}", list[str]()
    # Whatever others do, one of a user's jobs ends each time that all which run have ended.
    for newcomer in range(world.capacity * (len(users) + 1)):
        world.settle()
        at = {demand.job: at for at, demand in enumerate(world.demands) if demand.keeps}
        started += [job for job in at if job not in started]
        if last in started:
            return
        world.end(at[started[newcomer]])  # they end in the order in which they started
        # Others never stop coming.
        world.come(waiting(f"new-{newcomer}", world.chance.choice("abc"), 9))
    raise AssertionError("a job waits although all that run end, one after the other")


@given(capacity=st.integers(3, 12), asked=st.lists(st.integers(1, 12), min_size=3, max_size=3))
def test_users_differ_by_one_worker_at_most_unless_they_ask_for_less(
    capacity: int, asked: list[int]
) -> None:
    demands = [waiting(user, user, most) for user, most in zip("abc", asked, strict=True)]
    got = {decision.job: decision.workers for decision in fair(capacity, *demands)}

    most = max(got.values())
    for demand in demands:
        assert got[demand.job] >= min(demand.asked, most - 1)


@pytest.mark.parametrize("policy", list(Policy))
def test_a_thousand_waiting_jobs_start_in_the_order_in_which_they_came(policy: Policy) -> None:
    demands = [waiting(f"job-{number}", asked=1) for number in range(1000)]

    decisions = decide(64, demands, policy)

    assert decisions == [Start(f"job-{number}", 1) for number in range(64)]
