"""Outputs that two services keep: what becomes of them when one is lost, restarts or comes back."""

from dataclasses import replace

from disco_engine.core.actions import Action, Announce, Assign, Discard, Drop, Seal
from disco_engine.core.events import (
    AttemptFinished,
    CreditGranted,
    Event,
    Kept,
    OutputLost,
    PlanRecorded,
    Sealed,
    SealRefused,
    ServiceAttached,
    ServiceFull,
    ServiceLost,
    WorkerJoined,
)
from disco_engine.core.job import JobMachine
from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Group,
    Grouping,
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

from .stories import only

PS0, PS1, PS2 = (ServiceId(f"ps-{index}") for index in range(3))
W0 = WorkerId("w0")
PART = Totals(1, 2, 30)
PLAN = Plan(
    stages=(
        Stage(name="map", grouping=Grouping.SPLIT),
        Stage(name="reduce", grouping=Grouping.GROUP_ALL),
    ),
    inputs=(TaskInput(urls=("in-0",)),),
)


def left(assign: Assign) -> SealedAttempt:
    """What a service tells that has all of an attempt."""
    return SealedAttempt(id=assign.id, group=assign.group, labels={0: PART})


class Job:
    """A job with one map and one reduce, a worker beside the first service, and two copies.

    With an output it has the map only.
    """

    def __init__(self, services: int = 2, epoch: int = 1, *, has_output: bool = False) -> None:
        self.plan = replace(PLAN, stages=PLAN.stages[:1]) if has_output else PLAN
        self.starts = [1] * services
        names = [ServiceId(f"ps-{index}") for index in range(services)]
        settings = JobSettings(copies=2)
        self.machine = JobMachine(
            settings, epoch=epoch, has_output=has_output, services=names, now=0.0
        )

    def tell(self, *events: Event) -> list[Action]:
        return [action for event in events for action in self.machine.handle(event)]

    def attach(
        self,
        service: ServiceId,
        *sealed: SealedAttempt,
        copies: tuple[SealedAttempt, ...] = (),
        plan: Plan | None = None,
        restarted: bool = False,
    ) -> list[Action]:
        index = int(service[3:])
        self.starts[index] += restarted
        return self.tell(
            ServiceAttached(
                service=service,
                node=NodeName(f"n{index}"),
                incarnation=str(self.starts[index]),
                sealed=sealed,
                copies=copies,
                plan=plan,
                now=0.0,
            )
        )

    def begin(self) -> Assign:
        """Bring the job to where its map runs."""
        for index in range(len(self.starts)):
            self.attach(ServiceId(f"ps-{index}"))
        (assign,) = only(self.join(), Assign)
        self.report(assign, AttemptResult(plan=self.plan))
        self.tell(PlanRecorded())
        (assign,) = only(self.tell(CreditGranted(worker=W0, tasks=1, now=0.0)), Assign)
        return assign

    def join(self) -> list[Action]:
        join = WorkerJoined(worker=W0, node=NodeName("n0"), slots=1, now=0.0)
        return self.tell(join, CreditGranted(worker=W0, tasks=1, now=0.0))

    def report(self, assign: Assign, result: AttemptResult | None = None) -> list[Action]:
        result = result or AttemptResult(labels={0: PART})
        return self.tell(AttemptFinished(id=assign.id, worker=W0, result=result, now=0.0))

    def answer(self, *seals: Seal) -> list[Action]:
        return self.tell(
            *(
                Kept(id=seal.id, service=seal.service)
                if seal.copy
                else Sealed(id=seal.id, service=seal.service)
                for seal in seals
            )
        )

    def mapped(self) -> Assign:
        """Bring the job to where its map is done, and kept twice."""
        assign = self.begin()
        (keep,) = only(self.report(assign), Seal)
        (seal,) = only(self.answer(keep), Seal)
        self.answer(seal)
        assert self.state == "done"
        return assign

    @property
    def state(self) -> str:
        return self.machine._run.stages[1].tasks[0].state

    def reader(self) -> Assign:
        """Have the reduce started, and return it."""
        (assign,) = only(self.tell(CreditGranted(worker=W0, tasks=1, now=0.0)), Assign)
        assert assign.id.stage == 2
        return assign


def test_a_copy_is_kept_on_another_node_before_the_output_is_sealed() -> None:
    job = Job()
    assign = job.begin()
    assert (assign.push_to, assign.copy_to) == (PS0, PS1)
    (keep,) = only(job.report(assign), Seal)
    assert (keep.service, keep.copy, keep.expected) == (PS1, True, PART)
    (seal,) = only(job.answer(keep), Seal)
    assert (seal.service, seal.copy, seal.expected) == (PS0, False, PART)
    job.answer(seal)
    assert job.state == "done"
    assert [source.service for source in job.reader().sources] == [PS0]


def test_when_its_service_is_lost_an_output_is_read_from_its_copy_and_not_made_again() -> None:
    job = Job()
    assign = job.mapped()
    actions = job.tell(ServiceLost(service=PS0, reason="its node is gone"))
    (seal,) = only(actions, Seal)
    assert (seal.service, seal.id, seal.copy, seal.expected) == (PS1, assign.id, False, PART)
    assert "of 1 there are copies" in only(actions, Announce)[0].text
    assert job.state == "sealing"  # nobody reads it before
    assert not only(job.tell(CreditGranted(worker=W0, tasks=1, now=0.0)), Assign)
    (reader,) = only(job.answer(seal), Assign)
    assert [source.service for source in reader.sources] == [PS1]
    assert job.machine.stage_counts()[0].retries == 0


def test_a_service_that_comes_back_drops_what_is_read_from_its_copy_by_now() -> None:
    job = Job()
    assign = job.mapped()
    (seal,) = only(job.tell(ServiceLost(service=PS0, reason="silent")), Seal)
    job.answer(seal)
    actions = job.attach(PS0, left(assign), plan=PLAN)
    assert only(actions, Drop) == [Drop(service=PS0, id=assign.id)]
    assert job.state == "done"


def test_a_service_that_restarts_without_an_output_has_it_read_from_its_copy() -> None:
    job = Job()
    job.mapped()
    (seal,) = only(job.attach(PS0, plan=PLAN, restarted=True), Seal)
    assert (seal.service, seal.copy) == (PS1, False)


def test_a_damaged_output_is_read_from_its_copy() -> None:
    job = Job()
    assign = job.mapped()
    actions = job.tell(OutputLost(id=assign.id, service=PS0, reason="bad checksum"))
    assert only(actions, Drop) == [Drop(service=PS0, id=assign.id)]
    assert [(seal.service, seal.copy) for seal in only(actions, Seal)] == [(PS1, False)]


def test_without_its_copy_a_lost_output_is_made_again() -> None:
    job = Job(services=3)
    assign = job.mapped()
    assert assign.copy_to is not None
    assert only(job.tell(ServiceLost(service=assign.copy_to, reason="gone")), Seal) == []
    assert job.state == "done"
    (again,) = only(
        [
            *job.tell(ServiceLost(service=PS0, reason="gone")),
            *job.tell(CreditGranted(worker=W0, tasks=1, now=0.0)),
        ],
        Assign,
    )
    assert again.id == assign.id._replace(attempt=2)


def test_a_copy_that_cannot_be_had_is_gone_without() -> None:
    job = Job()
    assign = job.begin()
    (keep,) = only(job.report(assign), Seal)
    refused = SealRefused(id=assign.id, service=PS1, reason="the push broke")
    (seal,) = only(job.tell(refused), Seal)
    assert (keep.service, seal.service, seal.copy) == (PS1, PS0, False)
    (told,) = [a for a in only(job.answer(seal), Announce) if a.kind == "stage-finished"]
    assert told.text == "1 tasks; the output of 1 of them is kept once only"


def test_a_full_service_gets_no_copies() -> None:
    job = Job()
    for index in range(2):
        job.attach(ServiceId(f"ps-{index}"))
    job.tell(ServiceFull(service=PS1, full=True, reason="the disk is full"))
    (assign,) = only(job.join(), Assign)
    job.report(assign, AttemptResult(plan=PLAN))
    job.tell(PlanRecorded())
    (assign,) = only(job.tell(CreditGranted(worker=W0, tasks=1, now=0.0)), Assign)
    assert (assign.push_to, assign.copy_to) == (PS0, None)


def test_an_output_whose_service_is_lost_before_its_seal_is_sealed_where_its_copy_is() -> None:
    job = Job()
    assign = job.begin()
    job.report(assign)
    (seal,) = only(job.tell(ServiceLost(service=PS0, reason="gone")), Seal)
    assert (seal.service, seal.id, seal.copy) == (PS1, assign.id, False)
    job.answer(seal)
    assert job.state == "done"


def test_a_note_of_a_file_whose_service_is_lost_before_its_seal_is_sealed_where_its_copy_is() -> (
    None
):
    """Nothing was pushed to that service, so nobody knew what its loss meant: the job hung."""
    job = Job(has_output=True)
    assign = job.begin()
    assert assign.push_to is None
    (keep,) = only(job.report(assign, AttemptResult(output_file="file")), Seal)
    other = PS1 if keep.service == PS0 else PS0
    (seal,) = only(job.tell(ServiceLost(service=other, reason="gone")), Seal)
    assert (seal.service, seal.id, seal.copy) == (keep.service, assign.id, False)
    job.answer(seal)
    assert job.state == "done"


def test_a_copy_that_is_lost_while_it_is_sealed_is_made_again() -> None:
    """The answer that it was kept came late, and was taken for the end of all that was asked of it.

    So its service could be lost without a word about it, and the job waited for ever.
    """
    job = Job()
    assign = job.begin()
    (keep,) = only(job.report(assign), Seal)
    (seal,) = only(job.tell(ServiceLost(service=PS0, reason="gone")), Seal)
    job.answer(keep)
    assert (seal.service, job.state) == (PS1, "sealing")
    job.tell(ServiceLost(service=PS1, reason="gone, too"))
    assert job.state == "waiting"


def test_a_lost_service_is_told_to_discard_the_copy_that_is_done_without() -> None:
    job = Job()
    assign = job.begin()
    job.tell(ServiceLost(service=PS1, reason="frozen"))
    actions = job.report(assign)
    (seal,) = only(actions, Seal)
    assert (seal.service, seal.copy) == (PS0, False)
    assert only(actions, Discard) == [Discard(service=PS1, id=assign.id)]


def test_a_copy_that_its_service_does_not_confirm_before_it_is_lost_is_discarded_there() -> None:
    job = Job()
    assign = job.begin()
    job.report(assign)
    actions = job.tell(ServiceLost(service=PS1, reason="frozen"))
    assert only(actions, Discard) == [Discard(service=PS1, id=assign.id)]
    job.answer(*only(actions, Seal))
    assert job.state == "done"


def test_a_new_coordinator_finds_a_copy_and_has_it_sealed() -> None:
    copy = SealedAttempt(id=AttemptId(1, 0, 1, 1), group=Group(origin=0), labels={0: PART})
    job = Job(epoch=2)
    job.attach(PS0, plan=PLAN)
    (seal,) = only(job.attach(PS1, copies=(copy,), plan=PLAN), Seal)
    assert (seal.service, seal.id, seal.copy) == (PS1, copy.id, False)
    job.answer(seal)
    assert job.state == "done"


def test_a_new_coordinator_knows_which_copy_is_of_what_is_sealed() -> None:
    held = SealedAttempt(id=AttemptId(1, 0, 1, 1), group=Group(origin=0), labels={0: PART})
    job = Job(epoch=2)
    job.attach(PS0, held, plan=PLAN)
    assert only(job.attach(PS1, copies=(held,), plan=PLAN), Seal) == []
    assert job.state == "done"
    (seal,) = only(job.tell(ServiceLost(service=PS0, reason="gone")), Seal)
    assert (seal.service, seal.id) == (PS1, held.id)


def test_a_copy_of_what_was_made_again_meanwhile_is_dropped() -> None:
    job = Job()
    assign = job.mapped()
    old = assign.id._replace(attempt=7)
    actions = job.attach(
        PS1,
        copies=(left(assign), SealedAttempt(id=old, group=assign.group, labels={0: PART})),
        plan=PLAN,
        restarted=True,
    )
    assert only(actions, Drop) == [Drop(service=PS1, id=old)]


def test_a_service_that_forgot_that_a_copy_is_read_now_is_told_again() -> None:
    """It was killed before that was written down."""
    job = Job()
    assign = job.mapped()
    (seal,) = only(job.tell(ServiceLost(service=PS0, reason="gone")), Seal)
    job.answer(seal)
    (again,) = only(job.attach(PS1, copies=(left(assign),), plan=PLAN, restarted=True), Seal)
    assert (again.service, again.id, again.copy) == (PS1, assign.id, False)
    job.answer(again)
    assert job.state == "done"
