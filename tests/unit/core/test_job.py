"""A whole job, told as stories: planning, running, retries, workers, the end."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import pytest

from disco_engine.core.actions import (
    Action,
    Announce,
    Assign,
    Audit,
    CancelAttempt,
    Discard,
    Drop,
    FinishJob,
    JobPhase,
    Outcome,
    RecordPlan,
    Seal,
    Work,
)
from disco_engine.core.disks import FULL_PATIENCE_S
from disco_engine.core.events import (
    AttemptFailed,
    AttemptFinished,
    CancelRequested,
    CreditGranted,
    Event,
    PlanRecorded,
    Sealed,
    SealRefused,
    ServiceAttached,
    ServiceFull,
    ServiceLost,
    Tick,
    WorkerDraining,
    WorkerHeard,
    WorkerJoined,
    WorkerLost,
)
from disco_engine.core.exclusion import EXCLUDED_S
from disco_engine.core.job import JobMachine
from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Failure,
    FailureKind,
    Group,
    Grouping,
    Label,
    Layout,
    NodeName,
    Plan,
    SealedAttempt,
    ServiceId,
    Stage,
    TaskInput,
    Totals,
    WorkerId,
)
from disco_engine.core.settings import JobSettings
from disco_engine.core.task import IllegalTransition

PS0, PS1 = ServiceId("ps-0"), ServiceId("ps-1")
W1, W2 = WorkerId("w1"), WorkerId("w2")
BOOM = Failure(kind=FailureKind.USER, message="ZeroDivisionError: division by zero")
GONE = Failure(kind=FailureKind.INFRASTRUCTURE, message="ps-0 does not answer")
Some = TypeVar("Some", bound=Action)


def only(actions: Iterable[Action], kind: type[Some]) -> list[Some]:
    return [action for action in actions if isinstance(action, kind)]


def plan_of(*groupings: Grouping, inputs: int = 2) -> Plan:
    return Plan(
        stages=tuple(Stage(name=f"s{i}", grouping=g) for i, g in enumerate(groupings, 1)),
        inputs=tuple(TaskInput(urls=(f"in-{i}",)) for i in range(inputs)),
    )


class Job:
    """A machine, and short names for what happens to it."""

    def __init__(
        self,
        *,
        has_output: bool = False,
        services: tuple[ServiceId, ...] = (PS0,),
        settings: JobSettings | None = None,
    ) -> None:
        self.now = 0.0
        self.held: dict[ServiceId, dict[AttemptId, SealedAttempt]] = {n: {} for n in services}
        self.pushed: dict[AttemptId, dict[Label, Totals]] = {}
        self.machine = JobMachine(
            settings or JobSettings(),
            epoch=1,
            has_output=has_output,
            services=services,
            now=0.0,
        )

    def tell(self, *events: Event) -> list[Action]:
        return [action for event in events for action in self.machine.handle(event)]

    def attach(self, service: ServiceId = PS0, node: str = "n1") -> list[Action]:
        """Have a service tell all that was sealed there."""
        return self.tell(
            ServiceAttached(
                service=service,
                node=NodeName(node),
                incarnation="first",
                sealed=tuple(self.held[service].values()),
                now=self.now,
            )
        )

    def join(self, worker: WorkerId = W1, credit: int = 10, node: str = "n1") -> list[Action]:
        join = WorkerJoined(worker=worker, node=NodeName(node), slots=10, now=self.now)
        return self.tell(join, CreditGranted(worker=worker, tasks=credit, now=self.now))

    def finish(self, assign: Assign, labels: Iterable[Label] = (0,)) -> list[Action]:
        result = AttemptResult(labels={label: Totals(1, 2, 30) for label in labels})
        return self.result(assign, result)

    def result(self, assign: Assign, result: AttemptResult) -> list[Action]:
        self.pushed[assign.id] = dict(result.labels)
        return self.tell(
            AttemptFinished(id=assign.id, worker=assign.worker, result=result, now=self.now)
        )

    def fail(self, assign: Assign, failure: Failure = BOOM) -> list[Action]:
        return self.tell(
            AttemptFailed(id=assign.id, worker=assign.worker, failure=failure, now=self.now)
        )

    def sealed(self, actions: Iterable[Action]) -> list[Action]:
        """Have all seals that were asked for answered, and audits too."""
        answers = self.only_sealed(actions)
        for audit in only(answers, Audit):
            answers += self.attach(audit.service)
        return answers

    def only_sealed(self, actions: Iterable[Action]) -> list[Action]:
        """Have all seals that were asked for answered."""
        answers = []
        for seal in only(actions, Seal):
            labels = self.pushed[seal.id]
            self.held[seal.service][seal.id] = SealedAttempt(
                id=seal.id, group=seal.group, labels=labels
            )
            answers += self.tell(Sealed(id=seal.id, service=seal.service))
        return answers

    def after(self, seconds: float) -> list[Action]:
        self.now += seconds
        heard = [WorkerHeard(worker=w, now=self.now) for w in (W1, W2)]
        return self.tell(*heard, Tick(now=self.now))

    def planned(self, plan: Plan) -> list[Assign]:
        """Join a worker, let it make *plan*, and return what is assigned then."""
        (assign,) = only([*self.attach(), *self.join()], Assign)
        assert assign.work is Work.PLAN
        (record,) = only(self.result(assign, AttemptResult(plan=plan)), RecordPlan)
        assert record.plan == plan
        return only(self.tell(PlanRecorded()), Assign)


# --- from the start to the end ----------------------------------------------------------------


def test_a_job_that_nothing_disturbs_runs_stage_after_stage() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, Grouping.GROUP_LABEL))
    assert [(a.id, a.group, a.push_to, a.layout) for a in first] == [
        (AttemptId(1, i, 1, 1), Group(origin=i), PS0, Layout.BY_LABEL) for i in range(2)
    ]
    assert [a.inputs[0].urls for a in first] == [("in-0",), ("in-1",)]
    assert not only(job.sealed(job.finish(first[0], [7, 3])), Assign)
    second = only(job.sealed(job.finish(first[1], [3])), Assign)
    assert [(a.group.label, a.stage_name, a.layout) for a in second] == [
        (3, "s2", Layout.BY_TASK),
        (7, "s2", Layout.BY_TASK),
    ]
    assert second[0].sources[0].expected == Totals(2, 4, 60)
    job.sealed(job.finish(second[0]))
    (end,) = only(job.sealed(job.finish(second[1])), FinishJob)
    assert (end.outcome, job.machine.phase) == (Outcome.SUCCEEDED, JobPhase.SUCCEEDED)
    assert [(part.stage, part.task) for part in job.machine.results()] == [(2, 0), (2, 1)]
    assert job.tell(Tick(now=99.0), CancelRequested(reason="late")) == []


def test_nothing_starts_before_every_service_was_heard_or_lost() -> None:
    job = Job(services=(PS0, PS1))
    assert not only(job.join(), Assign)
    assert not only(job.attach(PS0), Assign)
    assert only(job.attach(PS1), Assign)


def test_the_job_says_in_numbers_how_far_it_is() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, Grouping.GROUP_ALL, inputs=3))
    job.sealed(job.finish(first[0], [5, 6]))
    stage, later = job.machine.stage_counts()
    assert (stage.total, stage.waiting, stage.running, stage.done) == (3, 0, 2, 1)
    assert (stage.records_out, stage.bytes_out) == (4, 60)
    assert stage.largest_labels == ((5, Totals(1, 2, 30)), (6, Totals(1, 2, 30)))
    assert (later.name, later.total, later.started_s) == ("s2", 0, None)


def test_a_job_without_input_succeeds_with_nothing() -> None:
    job = Job()
    job.attach()
    (assign,) = only(job.join(), Assign)
    job.result(assign, AttemptResult(plan=plan_of(Grouping.SPLIT, Grouping.GROUP_ALL, inputs=0)))
    (end,) = only(job.tell(PlanRecorded()), FinishJob)
    assert end.outcome is Outcome.SUCCEEDED
    assert job.machine.results() == []


def test_a_stage_that_runs_even_if_empty_has_its_task_after_stages_without_any() -> None:
    last = Stage(name="last", grouping=Grouping.GROUP_ALL, even_if_empty=True)
    plan = plan_of(Grouping.SPLIT, Grouping.SPLIT, inputs=0)
    job = Job()
    (task,) = job.planned(replace(plan, stages=(*plan.stages, last)))
    assert (task.stage_name, task.inputs, task.sources) == ("last", (), ())
    (end,) = only(job.sealed(job.finish(task)), FinishJob)
    assert end.outcome is Outcome.SUCCEEDED
    assert [(part.stage, part.task) for part in job.machine.results()] == [(3, 0)]


def test_output_files_are_committed_in_part_order_before_the_job_succeeds() -> None:
    job = Job(has_output=True)
    first = job.planned(plan_of(Grouping.SPLIT))
    assert all(a.write_output and a.push_to is None for a in first)
    for assign in reversed(first):
        name = f"file-{assign.id.task}"
        seals = only(job.result(assign, AttemptResult(output_file=name)), Seal)
        assert [seal.output_file for seal in seals] == [name]
        commits = only(job.sealed(seals), Assign)
    assert job.machine.phase is JobPhase.COMMITTING
    assert [(a.work, a.output_files) for a in commits] == [(Work.COMMIT, ("file-0", "file-1"))]
    again = only([*job.fail(commits[0]), *job.after(1.0)], Assign)
    (end,) = only(job.result(again[0], AttemptResult()), FinishJob)
    assert (end.outcome, end.remove_output) == (Outcome.SUCCEEDED, False)


def test_which_files_won_is_written_down_before_they_are_committed() -> None:
    """Else the next coordinator would have them made again, in a directory that is finished."""
    job = Job(has_output=True)
    first = job.planned(plan_of(Grouping.SPLIT))
    answers: list[Action] = []
    for assign in first:
        result = AttemptResult(output_file=f"file-{assign.id.task}")
        answers += job.only_sealed(job.result(assign, result))
    assert only(answers, Audit) == [Audit(service=PS0)]
    assert not only(answers, Assign)
    (commit,) = only(job.attach(), Assign)
    assert commit.work is Work.COMMIT


def test_what_had_to_be_sealed_anew_is_written_down_before_the_commit_as_well() -> None:
    """The service was killed before it had written down what it was asked to."""
    job = Job(has_output=True)
    first = job.planned(plan_of(Grouping.SPLIT))
    for assign in first:
        job.only_sealed(job.result(assign, AttemptResult(output_file=f"file-{assign.id.task}")))
    job.held[PS0].clear()
    anew = job.attach()
    assert {seal.id for seal in only(anew, Seal)} == {assign.id for assign in first}
    assert only(anew, Audit) == [Audit(service=PS0)]
    assert not only([*anew, *job.only_sealed(anew)], Assign)
    (commit,) = only(job.attach(), Assign)
    assert commit.work is Work.COMMIT


def test_files_whose_notes_are_gone_and_of_an_older_epoch_are_made_again() -> None:
    """A service that had lost its volume refused to seal them, and was asked again for ever."""
    job = Job(has_output=True)
    job.machine = JobMachine(JobSettings(), epoch=2, has_output=True, services=(PS0,), now=0.0)
    old = tuple(
        SealedAttempt(
            id=AttemptId(1, task, 1, 1),
            group=Group(origin=task),
            labels={},
            output_file=f"file-{task}",
        )
        for task in range(2)
    )
    found = job.tell(
        ServiceAttached(
            service=PS0,
            node=NodeName("n1"),
            incarnation="first",
            sealed=old,
            plan=plan_of(Grouping.SPLIT),
            now=0.0,
        )
    )
    assert only(found, Audit) == [Audit(service=PS0)]
    job.join()
    empty = job.attach()
    assert not only(empty, Audit)
    again = only([*empty, *job.after(1.0)], Assign)
    assert [(assign.work, assign.id) for assign in again] == [
        (Work.RUN, AttemptId(1, task, 2, 1)) for task in range(2)
    ]


def test_a_job_whose_output_is_found_complete_has_succeeded_whoever_finds_it() -> None:
    complete = AttemptResult(output_complete=True)
    planning = Job(has_output=True)
    planning.attach()
    (plan,) = only(planning.join(), Assign)
    (end,) = only(planning.result(plan, complete), FinishJob)
    assert (end.outcome, end.remove_output) == (Outcome.SUCCEEDED, False)

    running = Job(has_output=True)
    finder, other = running.planned(plan_of(Grouping.SPLIT))
    actions = running.result(finder, complete)
    assert [action.id for action in only(actions, CancelAttempt)] == [other.id]
    (end,) = only(actions, FinishJob)
    assert end.outcome is Outcome.SUCCEEDED
    assert "output is complete already" in end.message


def test_a_job_does_not_wait_for_what_a_lost_service_would_write_down() -> None:
    job = Job(has_output=True, services=(PS0, PS1))
    job.attach(PS1)
    first = job.planned(plan_of(Grouping.SPLIT))
    answers: list[Action] = []
    for assign in first:
        answers += job.only_sealed(job.result(assign, AttemptResult(output_file="file")))
    assert len(only(answers, Audit)) == 2
    assert not only(job.attach(PS1), Assign)
    lost = job.tell(ServiceLost(service=PS0, reason="its node is gone"))
    assert [assign.work for assign in only(lost, Assign)] == [Work.COMMIT]


def test_cancelling_stops_all_attempts_and_removes_output() -> None:
    job = Job(has_output=True)
    first = job.planned(plan_of(Grouping.SPLIT))
    actions = job.tell(CancelRequested(reason="changed my mind"))
    assert {a.id for a in only(actions, CancelAttempt)} == {a.id for a in first}
    assert isinstance(actions[-1], FinishJob)
    assert (actions[-1].outcome, actions[-1].message, actions[-1].remove_output) == (
        Outcome.CANCELLED, "changed my mind", True,
    )  # fmt: skip


def test_a_job_that_runs_past_its_deadline_fails() -> None:
    job = Job(settings=JobSettings(deadline_s=60.0))
    job.planned(plan_of(Grouping.SPLIT))
    assert not only(job.after(60.0), FinishJob)
    (end,) = only(job.after(0.1), FinishJob)
    assert end.message == "the job ran longer than its deadline of 60 s; raise deadline_s"


# --- failures ---------------------------------------------------------------------------------


def test_a_failed_task_is_tried_again_after_a_pause() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, inputs=1))
    actions = job.fail(first[0])
    assert only(actions, Discard) == [Discard(service=PS0, id=first[0].id)]
    assert [a.kind for a in only(actions, Announce)] == ["task-failed"]
    assert not only(actions, Assign)
    assert not only(job.after(0.05), Assign)
    actions = job.after(0.1)
    assert [a.id.attempt for a in only(actions, Assign)] == [2]
    assert [a.kind for a in only(actions, Announce)] == ["task-retried"]


def test_out_of_attempts_the_job_fails_with_the_user_s_error() -> None:
    job = Job(has_output=True)
    assigned = job.planned(plan_of(Grouping.SPLIT, inputs=1))
    for _ in range(3):
        job.fail(assigned[0])
        assigned = only(job.after(20.0), Assign)
    (end,) = only(job.fail(assigned[0]), FinishJob)
    text = "stage s1, task 0 failed 4 times; the last time: ZeroDivisionError: division by zero"
    assert (end.outcome, end.message, end.failure) == (Outcome.FAILED, text, BOOM)
    assert end.remove_output


def test_a_fatal_failure_ends_the_job_at_once() -> None:
    job = Job()
    job.attach()
    (assign,) = only(job.join(), Assign)
    failure = Failure(kind=FailureKind.FATAL, message="no module named 'numpy'")
    (end,) = only(job.fail(assign, failure), FinishJob)
    assert end.message == "the plan task can never work: no module named 'numpy'"


def test_a_plan_without_stages_fails_the_job() -> None:
    job = Job()
    job.attach()
    (assign,) = only(job.join(), Assign)
    (end,) = only(job.result(assign, AttemptResult(plan=Plan(stages=(), inputs=()))), FinishJob)
    assert "at least one" in end.message


def test_a_failed_task_goes_to_another_worker_if_there_is_one() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, inputs=1))
    job.join(W2, node="n2")
    job.fail(first[0])
    assert [a.worker for a in only(job.after(1.0), Assign)] == [W2]


def test_a_failed_task_goes_to_the_same_worker_if_the_other_stays_busy() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, inputs=1))
    job.join(W2, credit=0)
    job.fail(first[0])
    assert not only(job.after(1.0), Assign)
    assert [a.worker for a in only(job.after(6.0), Assign)] == [W1]


def test_losses_in_a_row_are_bounded_and_say_what_to_do() -> None:
    job = Job(settings=JobSettings(max_consecutive_losses=2))
    assigned = job.planned(plan_of(Grouping.SPLIT, inputs=1))
    for _ in range(2):
        job.fail(assigned[0], GONE)
        assigned = only(job.after(10.0), Assign)
    (end,) = only(job.fail(assigned[0], GONE), FinishJob)
    assert end.message.startswith(
        "stage s1, task 0 lost its worker or partition service 3 times in a row;"
        " the last time: ps-0 does not answer;"
    )


def test_a_report_of_an_attempt_that_never_was_is_a_bug() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    with pytest.raises(IllegalTransition):
        job.tell(Sealed(id=first[0].id._replace(attempt=5), service=PS0))


def test_reports_of_another_epoch_are_ignored() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    old = first[0].id._replace(epoch=7)
    assert job.tell(SealRefused(id=old, service=PS0, reason="")) == []
    # Readers would see it, and nobody counts on it.
    assert job.tell(Sealed(id=old, service=PS0)) == [Drop(service=PS0, id=old)]


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


# --- size -------------------------------------------------------------------------------------


def test_fifty_thousand_tasks_are_all_done_exactly_once() -> None:
    tasks = 50_000
    job = Job()
    todo = job.planned(plan_of(Grouping.SPLIT, Grouping.GROUP_LABEL, inputs=tasks))
    credit = CreditGranted(worker=W1, tasks=1, now=0.0)
    started = set()
    while todo:
        assign = todo.pop()
        assert assign.id not in started
        started.add(assign.id)
        labels = [assign.id.task % 10] if assign.id.stage == 1 else []
        actions = [*job.sealed(job.finish(assign, labels)), *job.tell(credit)]
        todo += only(actions, Assign)
    assert job.machine.phase is JobPhase.SUCCEEDED
    assert [stage.done for stage in job.machine.stage_counts()] == [tasks, 10]
    assert job.machine.stage_counts()[0].records_out == 2 * tasks
    assert len(started) == tasks + 10
