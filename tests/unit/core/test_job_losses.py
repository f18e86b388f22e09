"""Partition services that die, restart or come back, and coordinators that take over."""

import pytest

from disco_engine.core.actions import (
    Action,
    Announce,
    Assign,
    Audit,
    CancelAttempt,
    Drop,
    FinishJob,
    JobPhase,
    Outcome,
    RecordPlan,
    Seal,
)
from disco_engine.core.events import (
    AttemptFailed,
    AttemptFinished,
    CreditGranted,
    Event,
    OutputLost,
    PlanRecorded,
    Sealed,
    SealRefused,
    ServiceAttached,
    ServiceLost,
    Tick,
    WorkerJoined,
)
from disco_engine.core.job import JobMachine
from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Failure,
    FailureKind,
    Group,
    Grouping,
    Label,
    NodeName,
    Plan,
    SealedAttempt,
    ServiceId,
    Totals,
    WorkerId,
)
from disco_engine.core.settings import JobSettings

from .stories import only, plan_of

PS0, PS1 = ServiceId("ps-0"), ServiceId("ps-1")
N0, N1 = NodeName("n0"), NodeName("n1")
NODES = {PS0: N0, PS1: N1}
W0, W1 = WorkerId("w0"), WorkerId("w1")
PART = Totals(1, 2, 30)
GONE = Failure(kind=FailureKind.INFRASTRUCTURE, message="ps-0 does not answer")


def sealed(stage: int, task: int, group: Group, *labels: Label, epoch: int = 1) -> SealedAttempt:
    attempt = AttemptId(stage, task, epoch, 1)
    return SealedAttempt(id=attempt, group=group, labels=dict.fromkeys(labels, PART))


class Job:
    """A machine with two services and a worker on the node of each."""

    def __init__(self, *, epoch: int = 1, settings: JobSettings | None = None) -> None:
        self.now = 0.0
        self.starts = {PS0: 1, PS1: 1}
        self.machine = JobMachine(
            settings or JobSettings(),
            epoch=epoch,
            has_output=False,
            services=(PS0, PS1),
            now=0.0,
        )

    def tell(self, *events: Event) -> list[Action]:
        return [action for event in events for action in self.machine.handle(event)]

    def attach(
        self, service: ServiceId, *held: SealedAttempt, plan: Plan | None = None
    ) -> list[Action]:
        return self.tell(
            ServiceAttached(
                service=service,
                node=NODES[service],
                incarnation=str(self.starts[service]),
                sealed=held,
                plan=plan,
                now=self.now,
            )
        )

    def restart(
        self, service: ServiceId, *held: SealedAttempt, plan: Plan | None = None
    ) -> list[Action]:
        self.starts[service] += 1
        return self.attach(service, *held, plan=plan)

    def lose(self, service: ServiceId) -> list[Action]:
        return self.tell(ServiceLost(service=service, reason="its node is gone"))

    def join(self, worker: WorkerId, node: NodeName, credit: int = 1) -> list[Action]:
        join = WorkerJoined(worker=worker, node=node, slots=1, now=self.now)
        return self.tell(join, CreditGranted(worker=worker, tasks=credit, now=self.now))

    def finish(self, assign: Assign, *labels: Label) -> list[Action]:
        """Finish an attempt and have it sealed; its worker takes another."""
        result = AttemptResult(labels=dict.fromkeys(labels, PART))
        events: list[Event] = [
            AttemptFinished(id=assign.id, worker=assign.worker, result=result, now=self.now),
            CreditGranted(worker=assign.worker, tasks=1, now=self.now),
        ]
        actions = self.tell(*events)
        seals = only(actions, Seal)
        return actions + self.tell(*(Sealed(id=s.id, service=s.service) for s in seals))

    def fail(self, assign: Assign, failure: Failure = GONE) -> list[Action]:
        return self.tell(
            AttemptFailed(id=assign.id, worker=assign.worker, failure=failure, now=self.now),
            CreditGranted(worker=assign.worker, tasks=1, now=self.now),
        )

    def tick(self) -> list[Assign]:
        self.now += 1.0
        return only(self.tell(Tick(now=self.now)), Assign)

    def planned(self, plan: Plan) -> dict[WorkerId, Assign]:
        """Bring the job to where each of two workers runs a task of the first stage."""
        self.attach(PS0)
        self.attach(PS1)
        (assign,) = only(self.join(W0, N0), Assign)
        result = AttemptResult(plan=plan)
        self.tell(AttemptFinished(id=assign.id, worker=W0, result=result, now=0.0))
        self.tell(PlanRecorded())
        first = only(self.tell(CreditGranted(worker=W0, tasks=1, now=0.0)), Assign)
        return {a.worker: a for a in [*first, *only(self.join(W1, N1), Assign)]}

    def states(self, stage: int) -> list[str]:
        return [task.state for task in self.machine._run.stages[stage].tasks]


def second_stage(job: Job, grouping: Grouping) -> dict[WorkerId, Assign]:
    """Bring a job to its second stage: task i of the first is on ps-i, with labels 0 and 1."""
    first = job.planned(plan_of(Grouping.SPLIT, grouping))
    assert (first[W0].push_to, first[W1].push_to) == (PS0, PS1)
    job.finish(first[W0], 0, 1)
    actions = [*job.finish(first[W1], 0, 1), *job.tell(Tick(now=0.0))]
    return {assign.worker: assign for assign in only(actions, Assign) if assign.id.stage == 2}


# --- lost outputs -----------------------------------------------------------------------------


def test_a_lost_output_that_is_still_needed_is_made_again_and_nothing_else() -> None:
    job = Job()
    second = second_stage(job, Grouping.GROUP_LABEL)
    actions = job.lose(PS0)
    assert [a.kind for a in only(actions, Announce)] == ["service-lost"]
    assert job.states(1) == ["ready", "done"]
    # One reader pushed to the lost service; the other reads from it, and fails by itself.
    assert job.states(2) == ["waiting", "running"]
    (again,) = only(job.fail(second[W1]), Assign)
    assert (again.id[:2], again.push_to) == ((1, 0), PS1)
    assert job.machine._run.stages[2].tasks[1].losses == 0
    third = only(job.finish(again, 0, 1), Assign)
    assert third[0].sources[0].expected == Totals(2, 4, 60)
    assert {source.service for assign in third for source in assign.sources} == {PS1}


def test_readers_wait_while_their_inputs_are_made_again() -> None:
    job = Job(settings=JobSettings(max_consecutive_losses=1))
    second = second_stage(job, Grouping.GROUP_LABEL)
    job.lose(PS0)
    job.fail(second[W1])
    for _ in range(5):
        assert {assign.id.stage for assign in job.tick()} <= {1}
    assert job.machine.phase is JobPhase.RUNNING


def test_a_lost_output_that_nobody_needs_is_not_made_again() -> None:
    job = Job()
    second = second_stage(job, Grouping.SPLIT)
    # Four readers; those of task 0 run first.
    todo = list(second.values())
    while todo:
        assign = todo.pop()
        if assign.group.origin == 0:
            todo += only(job.finish(assign, 5), Assign)
    done = [task.output for task in job.machine._run.stages[2].tasks if task.output]
    assert len(done) == 2
    lost = AttemptId(1, 0, 1, 1)
    actions = job.tell(OutputLost(id=lost, service=PS0, reason="bad checksum"))
    assert only(actions, Drop) == [Drop(service=PS0, id=lost)]
    assert job.states(1) == ["done", "done"]


def test_what_a_lost_result_needs_is_made_again_too() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT, Grouping.SPLIT, Grouping.SPLIT, inputs=1))
    ((worker, assign),) = first.items()
    (second,) = only([*job.finish(assign, 0), *job.tell(Tick(now=0.0))], Assign)
    third = only([*job.finish(second, 0), *job.tell(Tick(now=0.0))], Assign)
    assert third[0].id.stage == 3
    # Nobody needs the first output any more; then the second is lost, which was made from it.
    job.tell(OutputLost(id=assign.id, service=PS0, reason="bad checksum"))
    assert job.states(1) == ["done"]
    service = third[0].sources[0].service
    job.tell(OutputLost(id=second.id, service=service, reason="bad checksum"))
    assert (job.states(1)[0], job.states(2)[0]) != ("done", "done")
    assert job.states(2) == ["waiting"]
    assert worker in (W0, W1)


def test_a_stage_that_groups_by_node_starts_over_when_its_input_is_made_again() -> None:
    job = Job()
    second = second_stage(job, Grouping.GROUP_NODE)
    assert {assign.group.node for assign in second.values()} == {N0, N1}
    done = second[W1]
    job.finish(done, 4)
    # What n0 held is made again on n1, where the task has read already: it must read again.
    actions = job.lose(PS0)
    assert done.id in {drop.id for drop in only(actions, Drop)}
    assert job.machine.stage_counts()[1].total == 0
    (again,) = only(actions, Assign)
    assert again.id == AttemptId(1, 0, 1, 2)
    (third,) = only(job.finish(again, 0, 1), Assign)
    assert (third.group.node, third.id.attempt) == (N1, 2)
    assert third.group.arrangement != done.group.arrangement
    assert [source.expected for source in third.sources] == [Totals(2, 4, 60)] * 2


def test_a_label_that_nobody_foresaw_gets_a_task() -> None:
    job = Job()
    second_stage(job, Grouping.GROUP_LABEL)
    job.lose(PS0)
    (again,) = [a for a in [*job.tick(), *job.join(W0, N0, 3)] if isinstance(a, Assign)]
    job.finish(again, 0, 1, 9)
    groups = job.machine._run.stages[2].groups
    assert groups == [Group(label=0), Group(label=1), Group(label=9)]


# --- restarts of services ---------------------------------------------------------------------


def test_a_service_that_restarts_loses_what_was_being_pushed_and_sealed() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    result = AttemptResult(labels={0: PART})
    job.tell(AttemptFinished(id=first[W1].id, worker=W1, result=result, now=0.0))
    assert job.states(1) == ["running", "sealing"]
    job.restart(PS1, plan=plan_of(Grouping.SPLIT))
    assert job.states(1) == ["running", "waiting"]
    actions = job.restart(PS0, plan=plan_of(Grouping.SPLIT))
    assert [a.id for a in only(actions, CancelAttempt)] == [first[W0].id]
    assert job.states(1) == ["waiting", "waiting"]


def test_the_same_process_that_attaches_again_loses_nothing() -> None:
    job = Job()
    job.planned(plan_of(Grouping.SPLIT))
    job.attach(PS0, plan=plan_of(Grouping.SPLIT))
    assert job.states(1) == ["running", "running"]


def test_a_seal_that_was_kept_although_its_answer_was_lost_counts() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    result = AttemptResult(labels={0: PART})
    job.tell(AttemptFinished(id=first[W0].id, worker=W0, result=result, now=0.0))
    job.restart(PS0, sealed(1, 0, Group(origin=0), 0), plan=plan_of(Grouping.SPLIT))
    assert job.states(1) == ["done", "running"]


def test_a_service_that_forgot_a_seal_has_its_task_run_again() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    job.finish(first[W0], 0)
    actions = job.restart(PS0, plan=plan_of(Grouping.SPLIT))
    assert job.states(1)[0] != "done"
    # It might still come out with it: what is made again must not meet it.
    assert first[W0].id in {drop.id for drop in only(actions, Drop)}


def test_a_service_that_has_something_else_than_was_sealed_has_its_task_run_again() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    job.finish(first[W0], 0)
    actions = job.attach(PS0, sealed(1, 0, Group(origin=0), 1), plan=plan_of(Grouping.SPLIT))
    assert first[W0].id in {drop.id for drop in only(actions, Drop)}
    assert job.states(1)[0] != "done"


def test_a_seal_without_data_that_was_forgotten_is_only_written_again() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    job.finish(first[W0])
    actions = job.restart(PS0, plan=plan_of(Grouping.SPLIT))
    assert [seal.id for seal in only(actions, Seal)] == [first[W0].id]
    assert job.states(1)[0] == "done"


def test_a_lost_service_that_comes_back_in_time_saves_the_work() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    job.finish(first[W0], 0)
    (again,) = only(job.lose(PS0), Assign)
    assert again.id == AttemptId(1, 0, 1, 2)
    actions = job.restart(PS0, sealed(1, 0, Group(origin=0), 0), plan=plan_of(Grouping.SPLIT))
    assert [a.id for a in only(actions, CancelAttempt)] == [again.id]
    assert job.states(1)[0] == "done"


def test_a_refused_seal_costs_one_more_attempt() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    result = AttemptResult(labels={0: PART})
    job.tell(AttemptFinished(id=first[W0].id, worker=W0, result=result, now=0.0))
    refused = SealRefused(id=first[W0].id, service=PS0, reason="unknown")
    job.tell(refused)
    assert job.states(1) == ["waiting", "running"]
    assert job.tell(refused) == []


def test_a_seal_asks_for_exactly_what_was_reported() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    (seal,) = only(job.finish(first[W0], 0, 7), Seal)
    assert seal.expected == Totals(2, 4, 60)


def test_an_audit_that_finds_the_result_incomplete_has_it_made_again() -> None:
    job = Job()
    first = job.planned(plan_of(Grouping.SPLIT))
    job.finish(first[W0], 0)
    audits = only(job.finish(first[W1], 0), Audit)
    assert [audit.service for audit in audits] == [PS0, PS1]
    assert not only(job.attach(PS0, sealed(1, 0, Group(origin=0), 0)), FinishJob)
    assert not only(job.attach(PS1), FinishJob)
    assert job.states(1)[1] != "done"


# --- a new coordinator ------------------------------------------------------------------------


PLAN = plan_of(Grouping.SPLIT, Grouping.GROUP_LABEL)


def test_a_new_coordinator_goes_on_where_the_old_one_ended() -> None:
    job = Job(epoch=2)
    job.attach(PS0, sealed(1, 0, Group(origin=0), 3), plan=PLAN)
    actions = job.attach(
        PS1, sealed(1, 1, Group(origin=1), 4), sealed(2, 1, Group(label=4)), plan=PLAN
    )
    assert not only(actions, RecordPlan)
    assert job.states(1) == ["done", "done"]
    assert job.states(2) == ["ready", "done"]
    (rest,) = only(job.join(W0, N0, 5), Assign)
    assert (rest.id, rest.group) == (AttemptId(2, 0, 2, 1), Group(label=3))


def test_a_service_without_the_plan_is_given_it() -> None:
    job = Job(epoch=2)
    job.attach(PS0, plan=PLAN)
    assert only(job.attach(PS1), RecordPlan) == [RecordPlan(plan=PLAN)]


def test_of_two_sealed_attempts_of_a_task_the_newest_is_kept() -> None:
    job = Job(epoch=3)
    old = sealed(1, 0, Group(origin=0), 3, epoch=1)
    new = sealed(1, 0, Group(origin=0), 3, epoch=2)
    job.attach(PS0, old, plan=PLAN)
    actions = job.attach(PS1, new, plan=PLAN)
    assert only(actions, Drop) == [Drop(service=PS0, id=old.id)]


def test_sealed_attempts_of_another_group_are_dropped() -> None:
    job = Job(epoch=2)
    strange = sealed(1, 0, Group(origin=1), 3)
    job.attach(PS0, strange, plan=PLAN)
    actions = job.attach(PS1, plan=PLAN)
    assert only(actions, Drop) == [Drop(service=PS0, id=strange.id)]


def test_nothing_is_adopted_under_a_plan_that_is_made_anew() -> None:
    job = Job(epoch=2)
    orphan = sealed(1, 0, Group(origin=0), 3)
    job.attach(PS0, orphan)
    job.attach(PS1)
    (assign,) = only(job.join(W0, N0), Assign)
    result = AttemptResult(plan=PLAN)
    job.tell(AttemptFinished(id=assign.id, worker=W0, result=result, now=0.0))
    actions = job.tell(PlanRecorded())
    assert only(actions, Drop) == [Drop(service=PS0, id=orphan.id)]
    assert job.states(1) == ["ready", "ready"]


def test_tasks_grouped_by_node_are_adopted_unless_their_input_was_made_again() -> None:
    """A task of the same node, but of another arrangement, has read something else.

    It was found by the random test: a service came back with what it had read before an output
    moved, to a new coordinator, which adopted it beside the task that read the moved output.
    """
    first = Job()
    second = second_stage(first, Grouping.GROUP_NODE)
    plan = plan_of(Grouping.SPLIT, Grouping.GROUP_NODE)
    ones = [sealed(1, task, Group(origin=task), 0, 1) for task in (0, 1)]
    old = sealed(2, 0, second[W0].group, 4)
    job = Job(epoch=2)
    job.attach(PS0, ones[0], old, plan=plan)
    job.attach(PS1, ones[1], plan=plan)
    assert job.states(2) == ["done", "ready"]
    job = Job(epoch=2)
    job.attach(PS0, ones[0], old, plan=plan)
    job.attach(PS1, plan=plan)  # it has lost what task 1 left
    (again,) = only(job.join(W0, N0, 1), Assign)
    assert again.id == AttemptId(1, 1, 2, 1)
    assert old.id in {drop.id for drop in only(job.finish(again, 0, 1), Drop)}


def test_services_with_different_plans_fail_the_job() -> None:
    job = Job(epoch=2)
    job.attach(PS0, plan=PLAN)
    (end,) = only(job.attach(PS1, plan=plan_of(Grouping.SPLIT)), FinishJob)
    assert end.outcome is Outcome.FAILED
    assert end.message.startswith("the data of partition service ps-0, ps-1 was made with differ")


def test_a_service_that_comes_late_with_another_plan_fails_the_job() -> None:
    job = Job(epoch=2)
    job.attach(PS0, plan=PLAN)
    job.lose(PS1)
    assert job.machine.phase is JobPhase.RUNNING
    (end,) = only(job.attach(PS1, plan=plan_of(Grouping.SPLIT)), FinishJob)
    assert end.outcome is Outcome.FAILED


def test_a_plan_that_is_found_while_it_is_made_anew_is_taken_over() -> None:
    job = Job(epoch=2)
    job.attach(PS0)
    job.lose(PS1)
    (assign,) = only(job.join(W0, N0), Assign)
    actions = job.attach(PS1, sealed(1, 0, Group(origin=0), 3), plan=PLAN)
    assert [a.id for a in only(actions, CancelAttempt)] == [assign.id]
    assert job.machine.plan == PLAN
    assert job.states(1) == ["done", "ready"]


@pytest.mark.parametrize("grouping", list(Grouping))
def test_every_grouping_works_directly_on_the_job_s_inputs(grouping: Grouping) -> None:
    job = Job()
    assigned = list(job.planned(plan_of(grouping)).values())
    read = sorted(url for assign in assigned for item in assign.inputs for url in item.urls)
    assert read == ["in-0", "in-1"]
    assert len(assigned) == (2 if grouping is Grouping.SPLIT else 1)
