"""Decides how many worker processes each job has: values in, decisions out, no clock, no I/O.

What a job should have and what it can be given at once are two things: workers that are told to end
first finish what they run. Until they have, their places are taken, and nobody gets them.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias


class Policy(StrEnum):
    """Who gets the workers when there are not enough."""

    FAIR = "fair"  # users share equally, and so do each user's jobs
    FIFO = "fifo"  # who came first gets all he asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A job that runs or waits.

    Attributes:
        job: Unique.
        user: Whose it is.
        asked: The most workers that it can use, at least 1.
        keeps: Workers that it has and that have not been told to end; 0: the job waits.
        leaving: Workers that it has and that have been told to end, but have not yet.
    """

    job: str
    user: str
    asked: int
    keeps: int = 0
    leaving: int = 0


class Start(NamedTuple):
    """Start a job that waits, with so many workers."""

    job: str
    workers: int


class Resize(NamedTuple):
    """Let a running job keep, or have, so many workers."""

    job: str
    workers: int


Decision: TypeAlias = Start | Resize


def decide(
    capacity: int, demands: Sequence[Demand], policy: Policy, *, taken: int = 0
) -> list[Decision]:
    """Return what to do now: who must give workers back first, then who gets some.

    A running job always keeps a worker. When nobody is about to leave, no worker is left over that
    a job could use, and whoever waits does so because all workers are given to others.

    Args:
        capacity: Workers that there may be at the same time.
        demands: All jobs, in the order in which they came.
        policy: Who comes first.
        taken: Workers that belong to no job any more, but have not ended.
    """
    given = [min(1, demand.keeps) for demand in demands]
    left = capacity - sum(given)
    order = _fair(demands, given) if policy is Policy.FAIR else _first_come(demands, given)
    free = capacity - taken - sum(demand.keeps + demand.leaving for demand in demands)
    now = [min(1, demand.keeps) for demand in demands]
    for _, position in zip(range(left), order, strict=False):
        given[position] += 1
        if given[position] <= demands[position].keeps:
            now[position] = given[position]
        elif free > 0:
            free -= 1
            now[position] = given[position]
    return list(_decisions(demands, now))


def line(demands: Sequence[Demand], policy: Policy) -> list[str]:
    """Return the jobs that wait, in the order in which they start when workers become free."""
    given = [min(1, demand.keeps) for demand in demands]
    order = _fair(demands, given) if policy is Policy.FAIR else _first_come(demands, given)
    waiting: dict[str, None] = {}
    for position in order:
        if demands[position].keeps == 0:
            waiting.setdefault(demands[position].job)
    return list(waiting)


def _fair(demands: Sequence[Demand], given: Sequence[int]) -> Iterator[int]:
    """Yield who gets the next worker: a job of the user with the fewest, his with the fewest."""
    jobs: dict[str, list[tuple[int, int]]] = {}
    totals: dict[str, int] = {}
    for position, demand in enumerate(demands):
        totals[demand.user] = totals.get(demand.user, 0) + given[position]
        if given[position] < demand.asked:
            jobs.setdefault(demand.user, []).append((given[position], position))
    for of_user in jobs.values():
        heapq.heapify(of_user)
    users = [(totals[user], of_user[0][1], user) for user, of_user in jobs.items()]
    heapq.heapify(users)
    while users:
        total, _, user = heapq.heappop(users)
        of_user = jobs[user]
        has, position = heapq.heappop(of_user)
        yield position
        if has + 1 < demands[position].asked:
            heapq.heappush(of_user, (has + 1, position))
        if of_user:
            heapq.heappush(users, (total + 1, of_user[0][1], user))


def _first_come(demands: Sequence[Demand], given: Sequence[int]) -> Iterator[int]:
    """Yield who gets the next worker: the job that came first, until it has all it asks for."""
    for position, demand in enumerate(demands):
        for _ in range(demand.asked - given[position]):
            yield position


def _decisions(demands: Sequence[Demand], now: Sequence[int]) -> Iterator[Decision]:
    pairs = list(zip(demands, now, strict=True))
    for demand, workers in pairs:
        if workers < demand.keeps:
            yield Resize(demand.job, workers)
    for demand, workers in pairs:
        if demand.keeps == 0 and workers:
            yield Start(demand.job, workers)
        elif workers > demand.keeps:
            yield Resize(demand.job, workers)
