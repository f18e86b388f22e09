import random

import pytest

from disco_operator.model import JobKey
from disco_operator.schedule import BACKOFF_MOST_S, SPACING_S, Schedule

A, B, C = (JobKey("ns", name) for name in "abc")


def test_the_first_look_is_immediate() -> None:
    schedule = Schedule()
    schedule.add(A, 10.0)
    assert schedule.start(10.0) == A
    assert schedule.start(10.0) is None


def test_the_job_that_is_due_longest_is_first() -> None:
    schedule = Schedule()
    schedule.add(A, 10.0, delay_s=3.0)
    schedule.add(B, 10.0, delay_s=1.0)
    schedule.add(C, 10.0, delay_s=2.0)
    assert [schedule.start(20.0) for _ in range(4)] == [B, C, A, None]


def test_a_job_is_looked_at_once_however_often_it_changes_before() -> None:
    schedule = Schedule()
    for _ in range(5):
        schedule.add(A, 10.0)
    assert [schedule.start(10.0), schedule.start(10.0)] == [A, None]


def test_a_job_is_never_looked_at_twice_at_once() -> None:
    schedule = Schedule()
    schedule.add(A, 10.0)
    schedule.start(10.0)
    schedule.add(A, 15.0)
    assert schedule.start(20.0) is None
    schedule.done(A, 20.0, again_in_s=None)
    assert schedule.start(20.0) == A


def test_a_job_is_looked_at_once_a_second_at_most() -> None:
    schedule = Schedule()
    schedule.add(A, 10.0)
    schedule.start(10.0)
    schedule.add(A, 10.1)
    schedule.done(A, 10.2, again_in_s=None)
    schedule.add(A, 10.3)
    assert schedule.start(10.9) is None
    assert schedule.next_due() == 11.0
    assert schedule.start(11.0) == A


def test_a_look_that_asks_for_another_gets_it() -> None:
    schedule = Schedule()
    schedule.add(A, 10.0)
    schedule.start(10.0)
    schedule.done(A, 10.2, again_in_s=30.0)
    assert schedule.start(40.0) is None
    assert schedule.start(40.2) == A


def test_a_change_comes_before_the_look_that_was_asked_for() -> None:
    schedule = Schedule()
    schedule.add(A, 10.0)
    schedule.start(10.0)
    schedule.done(A, 10.2, again_in_s=30.0)
    schedule.add(A, 20.0)
    assert schedule.start(20.0) == A
    schedule.done(A, 20.1, again_in_s=None)
    assert schedule.start(50.0) is None  # the later wish was for the state before


def test_looks_that_fail_are_repeated_ever_more_slowly() -> None:
    schedule = Schedule()
    now, pauses = 0.0, []
    schedule.add(A, now)
    for _ in range(9):
        assert schedule.start(now) == A
        pauses.append(schedule.failed(A, now, jitter=0.0))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("jitter", [0.0, 0.3, 1.0])
def test_jitter_shortens_a_back_off_by_at_most_half_and_never_below_a_second(jitter: float) -> None:
    schedule = Schedule()
    schedule.add(A, 0.0)
    now = 0.0
    for failures in range(10):
        schedule.start(now)
        full = min(BACKOFF_MOST_S, 2.0**failures)
        pause = schedule.failed(A, now, jitter=jitter)
        assert max(1.0, full / 2) <= pause <= full
        now += pause


def test_a_change_is_worth_a_look_in_spite_of_a_back_off() -> None:
    schedule = Schedule()
    schedule.add(A, 0.0)
    for now in (0.0, 1.0, 3.0, 7.0):
        assert schedule.start(now) == A
        schedule.failed(A, now, jitter=0.0)
    schedule.add(A, 9.0)
    assert schedule.start(9.0) == A


def test_a_success_ends_the_back_off() -> None:
    schedule = Schedule()
    schedule.add(A, 0.0)
    schedule.start(0.0)
    schedule.failed(A, 0.0, jitter=0.0)
    schedule.start(1.0)
    schedule.done(A, 1.0, again_in_s=1.0)
    schedule.start(2.0)
    assert schedule.failed(A, 2.0, jitter=0.0) == 1.0


def test_nothing_is_remembered_of_jobs_that_wait_for_nothing() -> None:
    schedule = Schedule()
    for number in range(1000):
        key = JobKey("ns", f"job-{number}")
        schedule.add(key, float(number))
        assert schedule.start(float(number)) == key
        schedule.done(key, number + 0.5, again_in_s=None)
    assert len(schedule) <= 3


def test_waiting_and_oldest_wait_leave_out_what_is_running_or_not_due() -> None:
    schedule = Schedule()
    assert (schedule.waiting(0.0), schedule.oldest_wait_s(0.0)) == (0, 0.0)
    schedule.add(A, 0.0)
    schedule.add(B, 1.0)
    schedule.add(C, 1.0, delay_s=100.0)
    assert schedule.start(1.0) == A
    assert schedule.waiting(5.0) == 1
    assert schedule.oldest_wait_s(5.0) == 4.0


@pytest.mark.parametrize("seed", range(20))
def test_no_wish_is_lost_and_no_rule_is_broken_in_random_order(seed: int) -> None:
    rng = random.Random(seed)
    schedule = Schedule()
    keys = [JobKey("ns", str(number)) for number in range(5)]
    wanted: dict[JobKey, float] = {}  # since when a change has not been looked at
    began: dict[JobKey, float] = {}
    running: set[JobKey] = set()
    now = 0.0
    for _ in range(2000):
        now += rng.random() * 0.3
        action = rng.random()
        if action < 0.4:
            key = rng.choice(keys)
            schedule.add(key, now)
            wanted.setdefault(key, now)
        elif action < 0.7:
            started = schedule.start(now)
            if started is not None:
                assert started not in running
                assert now - began.get(started, -9.0) >= SPACING_S
                running.add(started)
                began[started] = now
                wanted.pop(started, None)
        elif running:
            key = rng.choice(sorted(running))
            running.discard(key)
            if rng.random() < 0.3:
                schedule.failed(key, now, jitter=rng.random())
            else:
                schedule.done(key, now, again_in_s=rng.choice([None, 0.0, 2.0]))
    for key in sorted(running):
        schedule.done(key, now, again_in_s=None)
    now += 100.0
    while (last := schedule.start(now)) is not None:
        wanted.pop(last, None)
    assert not wanted
