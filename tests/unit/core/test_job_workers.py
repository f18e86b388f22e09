"""Who gets the tasks of a job, told as stories: workers, and services whose disks are full."""

from disco_engine.core.actions import Announce, Assign, CancelAttempt, Discard, FinishJob, Seal
from disco_engine.core.disks import FULL_PATIENCE_S
from disco_engine.core.events import (
    CreditGranted,
    PlanRecorded,
    ServiceFull,
    Tick,
    WorkerDraining,
    WorkerJoined,
    WorkerLost,
)
from disco_engine.core.exclusion import EXCLUDED_S
from disco_engine.core.model import AttemptResult, Grouping, NodeName
from disco_engine.core.settings import JobSettings

from .stories import BOOM, PS0, W1, W2, Job, only, plan_of

# --- workers ----------------------------------------------------------------------------------


def test_a_few_tasks_are_spread_over_the_workers() -> None:
    job = Job()
    job.join(W2)
    assigned = job.planned(plan_of(Grouping.SPLIT, inputs=2))
    assert {a.worker for a in assigned} == {W1, W2}


def test_a_worker_never_gets_more_than_its_credit_or_its_share() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, inputs=101))
    assert len(first) == 9  # 10, less the plan's
    job.join(W2, credit=0)
    assert not only(job.sealed(job.finish(first.pop())), Assign)
    assert len(only(job.tell(CreditGranted(worker=W1, tasks=100, now=0.0)), Assign)) == 25 - 8


def test_a_stage_s_first_seal_lets_workers_queue_its_tasks_at_once() -> None:
    """Nobody else would wake those who have credit left: their slots are busy."""
    job = Job()
    job.attach()
    (assign,) = only(job.join(credit=100), Assign)
    job.result(assign, AttemptResult(plan=plan_of(Grouping.SPLIT, inputs=50)))
    first = only(job.tell(PlanRecorded()), Assign)
    assert len(first) == 10  # as many as it has slots
    finished = job.finish(first[0])
    assert len(only(finished, Assign)) == 1  # for the slot that is free
    assert len(only(job.sealed(finished), Assign)) == 50 - 11


def test_silence_for_longer_than_the_lease_loses_a_worker_and_its_attempts_run_again() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, inputs=1))
    job.now = 10.0
    job.join(W2)
    actions = job.tell(Tick(now=16.0))
    assert [a.kind for a in only(actions, Announce)] == ["worker-lost"]
    assert only(actions, Discard) == [Discard(service=PS0, id=first[0].id)]
    actions = job.tell(Tick(now=17.0))
    assert [(a.worker, a.id.attempt) for a in only(actions, Assign)] == [(W2, 2)]
    # The lost worker finishes after all: it was discarded, and the rival goes on.
    assert job.finish(first[0]) == []


def test_a_worker_that_comes_back_keeps_what_it_still_has() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, inputs=4))
    kept, lost = first[0], first[1]
    back = WorkerJoined(
        worker=W1, node=NodeName("n1"), slots=1, attempts=frozenset({kept.id}), now=0.0
    )
    actions = job.tell(back)
    assert lost.id in {a.id for a in only(actions, Discard)}
    assert kept.id not in {a.id for a in only(actions, Discard)}
    assert only(job.finish(kept), Seal)


def test_a_worker_that_comes_back_with_what_was_given_up_is_told_to_stop() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, inputs=1))
    job.tell(WorkerLost(worker=W1, reason="its stream broke"))
    attempts = frozenset({first[0].id})
    back = WorkerJoined(worker=W1, node=NodeName("n1"), slots=1, attempts=attempts, now=0.0)
    assert [a.id for a in only(job.tell(back), CancelAttempt)] == [first[0].id]


def test_a_draining_worker_gets_no_more_tasks() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, inputs=30))
    job.tell(WorkerDraining(worker=W1))
    job.tell(CreditGranted(worker=W1, tasks=5, now=0.0))
    assert not only(job.sealed(job.finish(first[0])), Assign)


def test_credit_of_a_worker_nobody_knows_is_ignored() -> None:
    job = Job()
    job.attach()
    assert job.tell(CreditGranted(worker=W2, tasks=5, now=0.0)) == []


def test_a_worker_on_which_different_tasks_fail_is_excluded_for_a_while() -> None:
    job = Job(settings=JobSettings(exclude_after_failures=3, max_attempts=100))
    assigned = [a for a in job.planned(plan_of(Grouping.SPLIT, inputs=12)) if a.worker == W1]
    job.join(W2, credit=100)
    for assign in assigned[:2]:
        job.fail(assign)
    actions = job.fail(assigned[2])
    assert [a.worker for a in only(actions, Announce) if a.kind == "excluded"] == [W1]
    job.tell(CreditGranted(worker=W1, tasks=10, now=job.now))
    assert {a.worker for a in only(job.after(8.0), Assign)} == {W2}
    for assign in assigned[3:]:
        job.sealed(job.finish(assign))
    back = job.after(EXCLUDED_S)
    assert W1 not in job.machine._run.workers.excluded
    assert not only(back, FinishJob)


def test_failures_of_one_task_exclude_nobody() -> None:
    job = Job(settings=JobSettings(max_attempts=10))
    assigned = job.planned(plan_of(Grouping.SPLIT, inputs=1))
    job.join(W2, credit=0)
    for _ in range(5):
        assert "excluded" not in {a.kind for a in only(job.fail(assigned[0]), Announce)}
        assigned = only([*job.after(10.0), *job.after(10.0)], Assign)


def test_the_only_worker_is_never_excluded_so_the_user_sees_the_own_error() -> None:
    job = Job()
    todo = job.planned(plan_of(Grouping.SPLIT, inputs=6))
    end: list[FinishJob] = []
    while not end:
        end = only([action for assign in todo for action in job.fail(assign)], FinishJob)
        todo = only(job.after(12.0), Assign)
        job.tell(CreditGranted(worker=W1, tasks=6, now=job.now))
    assert end[0].failure == BOOM
    assert "failed 4 times" in end[0].message


def test_an_excluded_worker_is_used_again_when_the_others_are_gone() -> None:
    job = Job(settings=JobSettings(exclude_after_failures=1, max_attempts=10))
    first = job.planned(plan_of(Grouping.SPLIT, inputs=1))
    job.join(W2, credit=1)
    job.fail(first[0])
    assert job.machine._run.workers.excluded == [W1]
    assert [a.worker for a in only(job.after(1.0), Assign)] == [W2]
    job.tell(WorkerLost(worker=W2, reason="gone"))
    assert [a.worker for a in only(job.after(1.0), Assign)] == [W1]


# --- disks ------------------------------------------------------------------------------------


def test_a_full_service_gets_nothing_and_when_all_are_full_the_job_waits_then_fails() -> None:
    job = Job()
    job.attach()
    (assign,) = only(job.join(), Assign)
    job.tell(ServiceFull(service=PS0, full=True, reason="/data has 2 of 2 bytes used"))
    job.result(assign, AttemptResult(plan=plan_of(Grouping.SPLIT)))
    assert not only(job.tell(PlanRecorded()), Assign)
    assert not only(job.after(1.0), FinishJob)
    (end,) = only(job.after(FULL_PATIENCE_S), FinishJob)
    assert end.message == (
        "no partition service takes more output, and nothing runs that could free space"
        " (ps-0: /data has 2 of 2 bytes used)"
    )


def test_a_service_with_space_again_is_used_again() -> None:
    job = Job()
    job.attach()
    (assign,) = only(job.join(), Assign)
    job.tell(ServiceFull(service=PS0, full=True))
    job.result(assign, AttemptResult(plan=plan_of(Grouping.SPLIT)))
    job.tell(PlanRecorded())
    assert len(only(job.tell(ServiceFull(service=PS0, full=False)), Assign)) == 2
