"""A whole job, told as stories: planning, running, retries, the end."""

from dataclasses import replace

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
    Seal,
    Work,
)
from disco_engine.core.events import (
    CancelRequested,
    CreditGranted,
    PlanRecorded,
    Sealed,
    SealRefused,
    ServiceAttached,
    ServiceLost,
    Tick,
)
from disco_engine.core.job import JobMachine
from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Failure,
    FailureKind,
    Group,
    Grouping,
    Layout,
    NodeName,
    Plan,
    SealedAttempt,
    Stage,
    Totals,
)
from disco_engine.core.settings import JobSettings
from disco_engine.core.task import IllegalTransition

from .stories import BOOM, PS0, PS1, W1, W2, Job, only, plan_of

GONE = Failure(kind=FailureKind.INFRASTRUCTURE, message="ps-0 does not answer")

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
