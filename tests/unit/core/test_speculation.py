"""Which slow attempts get a rival, when, and where; and what becomes of the two."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco_engine.core.actions import (
    Action,
    Announce,
    Assign,
    CancelAttempt,
    Discard,
    HandBack,
    Seal,
    StageCounts,
    Work,
)
from disco_engine.core.events import (
    AttemptFailed,
    AttemptFinished,
    AttemptReturned,
    AttemptsProgressed,
    CreditGranted,
    Event,
    PlanRecorded,
    Sealed,
    ServiceAttached,
    ServiceFull,
    Tick,
    WorkerDraining,
    WorkerJoined,
    WorkerLost,
)
from disco_engine.core.job import JobMachine
from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Failure,
    FailureKind,
    Grouping,
    NodeName,
    Plan,
    ServiceId,
    Stage,
    TaskInput,
    Totals,
    WorkerId,
)
from disco_engine.core.settings import JobSettings
from disco_engine.core.speculation import FEW, MIN_RUN_S
from disco_engine.core.yardstick import Yardstick

from .stories import only

PS0, PS1 = ServiceId("ps-0"), ServiceId("ps-1")
SETTINGS = JobSettings(speculation_multiplier=2.0, speculation_quantile=0.75, worker_lease_s=1000.0)
BOOM = Failure(kind=FailureKind.USER, message="boom")
LEFT = Failure(kind=FailureKind.INFRASTRUCTURE, message="the worker is draining")


class Crowd:
    """A job of one stage, whose every task runs on a worker of its own.

    Worker number *i* is on node number *i* modulo *nodes*; the first two nodes have a service.
    """

    def __init__(
        self,
        tasks: int,
        *,
        workers: int | None = None,
        nodes: int = 4,
        slots: int = 1,
        settings: JobSettings = SETTINGS,
        grouping: Grouping = Grouping.SPLIT,
        refuse: frozenset[int] = frozenset(),
    ) -> None:
        self.now = 0.0
        self.assigned: dict[int, Assign] = {}
        self.machine = JobMachine(settings, epoch=1, has_output=False, services=(PS0, PS1), now=0.0)
        for i, service in enumerate((PS0, PS1)):
            self.tell(ServiceAttached(service=service, node=NodeName(f"n{i}"), now=0.0))
        for i in range(tasks if workers is None else workers):
            self.join(i, nodes, slots, refused={"map"} if i in refuse else set())
        plan = Plan(
            stages=(Stage(name="map", grouping=grouping),),
            inputs=tuple(TaskInput(urls=(f"in-{i}",)) for i in range(tasks)),
        )
        attempt = AttemptId(0, 0, 1, 1)
        name = WorkerId("w0")
        result = AttemptResult(plan=plan)
        self.tell(AttemptFinished(id=attempt, worker=name, result=result, now=0.0))
        self.tell(CreditGranted(worker=name, tasks=1, now=0.0))
        self.tell(PlanRecorded())

    def join(self, number: int, nodes: int, slots: int = 1, refused: Iterable[str] = ()) -> None:
        name = WorkerId(f"w{number}")
        self.tell(
            WorkerJoined(
                worker=name,
                node=NodeName(f"n{number % nodes}"),
                slots=slots,
                except_stages=frozenset(refused),
                now=self.now,
            ),
            CreditGranted(worker=name, tasks=slots, now=self.now),
        )

    def tell(self, *events: Event) -> list[Action]:
        actions = [action for event in events for action in self.machine.handle(event)]
        for assign in only(actions, Assign):
            if assign.work is Work.RUN and assign.id.attempt == 1:
                self.assigned[assign.id.task] = assign
        return actions

    def tick(self, seconds: float = 0.0) -> list[Assign]:
        """Let time pass and return the rivals that are started."""
        self.now += seconds
        actions = self.tell(Tick(now=self.now))
        rivals = only(actions, Assign)
        assert len(only(actions, Announce)) == len(rivals)
        return rivals

    def finish(self, *tasks: int, records: int = 0) -> list[Action]:
        """Let the first attempts at tasks finish and be sealed."""
        return [a for task in tasks for a in self.win(self.assigned[task], records)]

    def win(self, assign: Assign, records: int = 0) -> list[Action]:
        result = AttemptResult(records_in=records, labels={0: Totals(1, 1, 10)})
        worker = assign.worker
        actions = self.tell(
            AttemptFinished(id=assign.id, worker=worker, result=result, now=self.now),
            CreditGranted(worker=worker, tasks=1, now=self.now),
        )
        for seal in only(actions, Seal):
            actions += self.tell(Sealed(id=seal.id, service=seal.service))
        return actions

    def fail(self, assign: Assign, failure: Failure = BOOM) -> list[Action]:
        failed = AttemptFailed(id=assign.id, worker=assign.worker, failure=failure, now=self.now)
        return self.tell(failed, CreditGranted(worker=assign.worker, tasks=1, now=self.now))

    def node_of(self, assign: Assign) -> int:
        return int(assign.worker[1:]) % 4

    def counts(self) -> StageCounts:
        (counts,) = self.machine.stage_counts()
        return counts


def after(seconds: float, *, done: int, of: int, **more: object) -> Crowd:
    """Return a crowd of which the first *done* have finished after *seconds*."""
    crowd = Crowd(of, **more)  # type: ignore[arg-type]
    crowd.now = seconds
    crowd.finish(*range(done))
    return crowd


# --- when -------------------------------------------------------------------------------------


def test_a_slow_attempt_near_the_end_gets_a_rival_on_another_node() -> None:
    crowd = after(10.0, done=7, of=8)
    assert crowd.tick(9.0) == []
    (rival,) = crowd.tick(2.0)
    assert (rival.id, rival.inputs) == (AttemptId(1, 7, 1, 2), crowd.assigned[7].inputs)
    assert crowd.node_of(rival) != crowd.node_of(crowd.assigned[7])
    assert crowd.tick(100.0) == []  # one is enough
    assert (crowd.counts().rivals, crowd.counts().retries) == (1, 0)


def test_it_is_said_who_is_slow_by_what_measure_and_who_tries_too() -> None:
    crowd = after(10.0, done=7, of=8)
    crowd.now += 12.0
    (said,) = only(crowd.tell(Tick(now=crowd.now)), Announce)
    assert (said.kind, said.stage_name, said.worker) == ("speculated", "map", "w0")
    assert said.text == (
        "stage map, task 7 has run for 22.0 s on worker w7 on n3, where others took about 9.9 s;"
        " worker w0 on n0 tries, too"
    )


@pytest.mark.parametrize(
    ("done", "of", "rivals"),
    [(5, 8, 0), (6, 8, 2), (1, 2, 1), (0, 1, 0), (0, 2, 0), (2, 3, 1), (74, 100, 0), (75, 100, 10)],
)
def test_most_of_the_stage_must_be_done_before(done: int, of: int, rivals: int) -> None:
    assert len(after(10.0, done=done, of=of).tick(50.0)) == rivals


def test_nobody_gets_a_rival_unless_that_is_asked_for() -> None:
    settings = replace(SETTINGS, speculation_multiplier=0.0)
    assert JobSettings().speculation_multiplier == 0.0
    assert after(10.0, done=7, of=8, settings=settings).tick(900.0) == []


def test_an_attempt_that_is_short_all_the_same_gets_none() -> None:
    crowd = after(0.01, done=7, of=8)
    assert crowd.tick(MIN_RUN_S - 0.02) == []
    assert len(crowd.tick(0.02)) == 1


def test_as_long_as_a_task_waits_for_a_worker_no_other_gets_a_second() -> None:
    crowd = Crowd(4, workers=2, nodes=1, settings=replace(SETTINGS, speculation_quantile=0.5))
    crowd.now = 1.0
    crowd.finish(1, 2)
    crowd.fail(crowd.assigned[3])  # it waits a while for another worker than this one
    crowd.now = 4.0
    assert crowd.tick() == []
    (again,) = crowd.tick(5.0)
    assert (again.id.task, crowd.counts().rivals) == (3, 0)
    crowd.win(again)
    (rival,) = crowd.tick()
    assert (rival.id.task, crowd.counts().rivals) == (0, 1)


def two_with_a_queue() -> Crowd:
    """Return a job whose worker w0 runs task 2 and has task 3 waiting; w1 has done the others."""
    crowd = Crowd(20, workers=2, nodes=2)
    crowd.now = 1.0
    crowd.tell(CreditGranted(worker=WorkerId("w0"), tasks=1, now=1.0))
    crowd.finish(0)
    assert [crowd.assigned[task].worker for task in (1, 2, 3)] == ["w1", "w0", "w0"]
    for task in (1, *range(4, 20)):
        crowd.finish(task)
        crowd.now += 1.0
    assert crowd.counts().running == 2
    return crowd


def test_what_waits_in_a_worker_for_its_first_attempt_goes_first() -> None:
    """A free slot that is meant for an attempt that comes back is not given to a rival."""
    crowd = two_with_a_queue()
    (asked,) = crowd.tell(Tick(now=crowd.now))
    assert asked == HandBack(worker=WorkerId("w0"), tasks=1, stages=(1,))
    returned = AttemptReturned(id=crowd.assigned[3].id, worker=WorkerId("w0"), now=crowd.now)
    (again,) = only(crowd.tell(returned), Assign)
    assert (again.id.task, again.worker) == (3, "w1")
    crowd.win(again)
    (rival,) = crowd.tick()
    assert (rival.id.task, rival.worker) == (2, "w1")


def test_time_in_a_worker_s_queue_is_not_time_that_an_attempt_takes() -> None:
    crowd = two_with_a_queue()
    crowd.finish(2)
    assert crowd.tick(1.5) == []
    (rival,) = crowd.tick(1.0)
    assert rival.id.task == 3


# --- who --------------------------------------------------------------------------------------


def test_the_slowest_come_first_and_no_more_than_a_few_at_once() -> None:
    crowd = after(10.0, done=60, of=80)
    rivals = crowd.tick(50.0)
    assert len(rivals) == FEW
    assert crowd.tick(1.0) == []
    crowd.win(rivals[0])
    assert len(crowd.tick(1.0)) == 1


def test_where_many_run_a_tenth_of_them_may_have_rivals() -> None:
    crowd = after(10.0, done=600, of=800)
    assert len(crowd.tick(50.0)) == 20


def test_an_attempt_that_only_has_more_to_read_goes_on_alone() -> None:
    crowd = Crowd(8)
    crowd.now = 10.0
    crowd.finish(*range(6), records=1000)  # 100 records in a second
    for seconds in (15.0, 25.0, 60.0):
        crowd.now = seconds
        for task, rate in ((6, 90), (7, 40)):
            name, attempt = crowd.assigned[task].worker, crowd.assigned[task].id
            records = {attempt: int(rate * seconds)}
            crowd.tell(AttemptsProgressed(worker=name, records=records, now=seconds))
    (rival,) = crowd.tick()
    assert rival.id.task == 7


def test_an_attempt_that_has_read_what_others_read_and_hangs_is_slow_however_fast_it_read() -> None:
    """What its worker told last may be from long ago."""
    crowd = Crowd(8)
    crowd.now = 10.0
    crowd.finish(*range(7), records=1000)
    last = crowd.assigned[7]
    crowd.tell(AttemptsProgressed(worker=last.worker, records={last.id: 1000}, now=5.0))
    (rival,) = crowd.tick(10.5)
    assert rival.id.task == 7


def test_a_large_attempt_that_was_fast_and_hangs_now_is_found_out() -> None:
    crowd = Crowd(8)
    crowd.now = 10.0
    crowd.finish(*range(7), records=1000)
    last = crowd.assigned[7]
    for seconds in range(15, 60, 5):
        crowd.now = seconds
        told = AttemptsProgressed(worker=last.worker, records={last.id: 3000}, now=crowd.now)
        crowd.tell(told)
        rivals = crowd.tick()
        assert bool(rivals) == (3000 / seconds < 75), seconds
        if rivals:
            return
    raise AssertionError("nobody noticed")


def test_a_task_whose_failures_are_nearly_used_up_gets_no_rival_that_could_end_the_job() -> None:
    crowd = after(10.0, done=7, of=8, settings=replace(SETTINGS, max_attempts=2))
    (rival,) = crowd.tick(20.0)
    crowd.fail(rival)
    assert crowd.machine.outcome is None
    assert crowd.tick(100.0) == []
    crowd.finish(7)
    assert crowd.machine.phase != "failed"


def test_with_a_single_attempt_allowed_there_are_no_rivals() -> None:
    settings = replace(SETTINGS, max_attempts=1)
    assert after(10.0, done=7, of=8, settings=settings).tick(100.0) == []


# --- where ------------------------------------------------------------------------------------


def test_where_there_is_one_node_another_worker_does() -> None:
    (rival,) = after(10.0, done=7, of=8, nodes=1).tick(20.0)
    assert rival.worker != "w7"


def test_where_there_is_one_worker_there_is_no_rival() -> None:
    assert after(10.0, done=7, of=8, workers=1, slots=8).tick(100.0) == []


def test_an_idle_worker_on_the_same_node_does_not_do_while_there_are_other_nodes() -> None:
    crowd = Crowd(6, workers=3, nodes=2)  # w0 and w2 on one node, w1 on the other
    crowd.now = 10.0
    crowd.finish(0, 2)
    assert [crowd.assigned[task].worker for task in (3, 4)] == ["w0", "w2"]
    crowd.now = 39.0
    crowd.finish(1, 3)
    assert crowd.assigned[5].worker == "w1"
    assert crowd.tick() == []  # w0 is idle, but where w2 is slow
    crowd.finish(5)
    (rival,) = crowd.tick()
    assert (rival.id.task, rival.worker) == (4, "w1")


def test_who_refuses_the_stage_or_has_no_credit_is_no_rival() -> None:
    crowd = after(10.0, done=2, of=3, workers=4, refuse=frozenset({3}))
    crowd.tell(WorkerDraining(worker=WorkerId("w0")))
    (rival,) = crowd.tick(30.0)
    assert rival.worker == "w1"
    crowd = after(10.0, done=2, of=3)
    for name in ("w0", "w1"):
        # Their credit begins from nothing when they say hello again.
        joined = WorkerJoined(worker=WorkerId(name), node=NodeName("n9"), slots=1, now=crowd.now)
        crowd.tell(joined)
    assert crowd.tick(30.0) == []


def test_a_worker_that_is_slow_itself_is_the_last_choice() -> None:
    crowd = Crowd(8, workers=4, slots=2)
    crowd.now = 10.0
    slow = [t for t, a in crowd.assigned.items() if a.worker in ("w2", "w3")][:2]
    crowd.finish(*(task for task in range(8) if task not in slow))
    for rival in crowd.tick(30.0):
        assert rival.worker not in {crowd.assigned[task].worker for task in slow}


def test_a_rival_pushes_to_the_service_of_its_own_node() -> None:
    crowd = after(10.0, done=7, of=8, nodes=2)
    (rival,) = crowd.tick(20.0)
    assert {crowd.assigned[7].push_to, rival.push_to} == {PS0, PS1}


def test_while_no_disk_has_room_there_are_no_rivals() -> None:
    crowd = after(10.0, done=7, of=8)
    crowd.tell(*(ServiceFull(service=name, full=True) for name in (PS0, PS1)))
    assert crowd.tick(20.0) == []


# --- what becomes of them ---------------------------------------------------------------------


@pytest.mark.parametrize("rival_wins", [True, False])
def test_the_first_to_be_sealed_wins_and_the_other_is_stopped_and_discarded(
    rival_wins: bool,
) -> None:
    crowd = after(10.0, done=7, of=8, nodes=2)
    (rival,) = crowd.tick(20.0)
    winner, loser = (rival, crowd.assigned[7])[:: 1 if rival_wins else -1]
    actions = crowd.win(winner)
    assert [seal.id for seal in only(actions, Seal)] == [winner.id]
    assert [(stop.worker, stop.id) for stop in only(actions, CancelAttempt)] == [
        (loser.worker, loser.id)
    ]
    assert [(gone.service, gone.id) for gone in only(actions, Discard)] == [
        (loser.push_to, loser.id)
    ]
    # Whatever the loser says now changes nothing, and is nobody's failure.
    late = AttemptResult(labels={0: Totals(1, 1, 10)})
    crowd.tell(AttemptFinished(id=loser.id, worker=loser.worker, result=late, now=crowd.now))
    assert crowd.fail(loser) == []
    counts = crowd.counts()
    assert (counts.done, counts.rivals, counts.retries) == (8, 1, 0)


def test_a_rival_that_is_handed_back_or_lost_may_be_replaced() -> None:
    crowd = after(10.0, done=7, of=8)
    (rival,) = crowd.tick(20.0)
    crowd.tell(
        AttemptReturned(id=rival.id, worker=rival.worker, now=crowd.now),
        CreditGranted(worker=rival.worker, tasks=1, now=crowd.now),
    )
    (second,) = crowd.tick(1.0)
    crowd.tell(WorkerLost(worker=second.worker, reason="gone"))
    (third,) = crowd.tick(1.0)
    assert [rival.id.attempt, second.id.attempt, third.id.attempt] == [2, 3, 4]
    assert (crowd.counts().rivals, crowd.counts().retries) == (3, 0)


def test_a_slow_attempt_that_is_lost_leaves_its_task_to_the_rival() -> None:
    crowd = after(10.0, done=7, of=8)
    (rival,) = crowd.tick(20.0)
    actions = crowd.tell(WorkerLost(worker=crowd.assigned[7].worker, reason="gone"))
    assert only(actions, Assign) == []
    crowd.win(rival)
    assert (crowd.counts().done, crowd.counts().retries) == (8, 0)


def test_a_rival_whose_worker_drains_costs_the_task_nothing() -> None:
    crowd = after(10.0, done=7, of=8)
    (rival,) = crowd.tick(20.0)
    crowd.fail(rival, LEFT)
    (task,) = (t for t in crowd.machine._run.stages[1].tasks if t.ref.task == 7)
    assert (task.failures, len(task.live)) == (0, 1)


def test_plan_and_commit_tasks_have_no_rivals() -> None:
    settings = replace(SETTINGS, speculation_quantile=0.0)
    machine = JobMachine(settings, epoch=1, has_output=True, services=[PS0], now=0.0)
    attached = ServiceAttached(service=PS0, node=NodeName("n0"), now=0.0)
    joins = [
        WorkerJoined(worker=WorkerId(f"w{i}"), node=NodeName(f"n{i}"), slots=1, now=0.0)
        for i in range(2)
    ]
    credits = [CreditGranted(worker=WorkerId(f"w{i}"), tasks=9, now=0.0) for i in range(2)]
    events: list[Event] = [attached, *joins, *credits, Tick(now=10.0), Tick(now=14.0)]
    given = [a for event in events for a in only(machine.handle(event), Assign)]
    assert [assign.work for assign in given] == [Work.PLAN]


# --- the measure ------------------------------------------------------------------------------


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60))
def test_the_median_is_known_to_a_few_percent(durations: list[float]) -> None:
    measure = Yardstick()
    for seconds in durations:
        measure.add(seconds, 1)
    median = measure.median_s()
    exact = sorted(durations)[(len(durations) - 1) // 2]
    assert median == pytest.approx(exact, rel=0.03)


def test_a_million_durations_take_no_more_room_than_some_hundred() -> None:
    measure = Yardstick()
    for number in range(100_000):
        measure.add(0.001 * 1.0001**number, 0)
    assert len(measure._buckets) < 300
    assert measure.count == 100_000


def test_without_records_there_is_no_rate() -> None:
    measure = Yardstick()
    assert (measure.median_s(), measure.records_per_s) == (None, 0.0)
    measure.add(2.0, 10)
    assert measure.records_per_s == 5.0
