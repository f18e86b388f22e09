"""What the coordinator says to partition services, and what it makes of their answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from disco.v1 import partition_pb2
from disco_engine.coordinator import link
from disco_engine.core.actions import Action, Discard, Drop, RecordPlan, Seal
from disco_engine.core.events import (
    CancelRequested,
    Event,
    Kept,
    PlanRecorded,
    Sealed,
    SealRefused,
    ServiceAttached,
    ServiceFull,
    ServiceLost,
)
from disco_engine.core.model import (
    AttemptId,
    Group,
    Grouping,
    Plan,
    ServiceId,
    Stage,
    TaskInput,
)
from disco_engine.wire import plan_to_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.unit.coordinator.conftest import Coordinator, FakeMachine, FakePartition

PS0 = ServiceId("ps-0")
PLAN = Plan(stages=(Stage(name="map", grouping=Grouping.SPLIT),), inputs=(TaskInput(urls=("/a",)),))
OTHER_PLAN = replace(PLAN, inputs=())


def attempt(task: int, epoch: int = 1) -> AttemptId:
    return AttemptId(1, task, epoch, 1)


def seal(task: int) -> Seal:
    return Seal(service=PS0, id=attempt(task), group=Group())


def discard(task: int) -> Discard:
    return Discard(service=PS0, id=attempt(task))


def on_attach(*actions: Action) -> Callable[[Event], list[Action]]:
    """Return a script that answers the first ServiceAttached with *actions*."""
    left = list(actions)

    def script(event: Event) -> list[Action]:
        if isinstance(event, ServiceAttached):
            now, left[:] = left[:], []
            return now
        return []

    return script


async def test_the_epoch_is_one_more_than_the_newest_that_any_service_has_seen(
    machine: FakeMachine,
    service: FakePartition,
    coordinator: Coordinator,
    start_service: Callable[[str], Awaitable[FakePartition]],
) -> None:
    other = await start_service("ps-1")
    coordinator.services.append(other)
    service.epoch, other.epoch = 3, 8
    await coordinator.start()
    await machine.hears(ServiceAttached, times=2)
    assert machine.epoch == 9
    assert (service.attached, other.attached) == ([0, 9], [0, 9])


@pytest.mark.parametrize(("seen", "epoch"), [(0, 1_000), (7, 1_000), (2_000, 2_001)])
async def test_an_epoch_never_comes_again_when_services_have_lost_what_they_had(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator, seen: int, epoch: int
) -> None:
    """Epochs began at 1 again, so attempts had the names that a coordinator before had given out.

    The new coordinator met reports of attempts that it had never started, and files of old ones
    could be taken for new ones'.
    """
    service.epoch, coordinator.least_epoch = seen, 1_000
    await coordinator.start()
    assert machine.epoch == epoch


async def test_an_attached_service_tells_what_it_has(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    service.verdicts = {attempt(4): 1, attempt(5): 1, attempt(6): 2}
    await coordinator.start()
    event = await machine.hears(ServiceAttached)
    assert [sealed.id for sealed in event.sealed] == [attempt(4), attempt(5)]
    assert (event.service, event.node, event.incarnation) == (PS0, "node of ps-0", "first")


async def test_decisions_are_told_in_order_and_those_made_meanwhile_go_together(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    later: list[list[Action]] = [[seal(2), discard(3)], [seal(4)]]
    attach = on_attach(discard(0), seal(1))

    def script(event: Event) -> list[Action]:
        return later.pop(0) if isinstance(event, CancelRequested) else attach(event)

    machine.script = script
    service.may_decide.clear()
    await coordinator.start()
    await service.until(lambda: service.decisions)
    stub = coordinator.stub()
    for _ in range(2):
        await coordinator.cancel(stub)
    service.may_decide.set()
    await machine.hears(Sealed, times=3)
    assert service.decisions == [
        [("discard", attempt(0)), ("seal", attempt(1))],
        [("seal", attempt(2)), ("discard", attempt(3)), ("seal", attempt(4))],
    ]
    assert [event.id for event in machine.heard(Sealed)] == [attempt(1), attempt(2), attempt(4)]


async def test_what_is_discarded_before_its_seal_was_told_is_not_sealed_any_more(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    """A service that had restarted sealed an output when its copy was sealed elsewhere already."""
    attach = on_attach(seal(1))
    later: list[Action] = [seal(2), seal(3), discard(2)]
    machine.script = lambda event: later if isinstance(event, CancelRequested) else attach(event)
    service.may_decide.clear()
    await coordinator.start()
    await service.until(lambda: service.decisions)
    await coordinator.cancel(coordinator.stub())
    service.may_decide.set()
    await machine.hears(Sealed, times=2)
    assert service.decisions[1:] == [[("seal", attempt(3)), ("discard", attempt(2))]]


async def test_a_copy_is_kept_told_apart_from_what_is_sealed_and_sealed_when_it_is_needed(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    service.verdicts = {attempt(7): partition_pb2.DECISION_RESULT_KEPT}
    copy = replace(seal(1), copy=True)
    machine.script = on_attach(copy, seal(2), seal(7))
    await coordinator.start()
    await machine.hears(Sealed, times=2)
    assert [one.id for one in machine.heard(ServiceAttached)[0].copies] == [attempt(7)]
    assert [event.id for event in machine.heard(Kept)] == [attempt(1)]
    assert [event.id for event in machine.heard(Sealed)] == [attempt(2), attempt(7)]
    told = [("keep", attempt(1)), ("seal", attempt(2)), ("seal", attempt(7))]
    assert service.decisions == [told]


async def test_a_decision_whose_answer_is_lost_is_told_again_and_changes_nothing(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    machine.script = on_attach(seal(1), discard(2))
    service.unanswered_decides = 2
    await coordinator.start()
    await machine.hears(Sealed)
    told = [("seal", attempt(1)), ("discard", attempt(2))]
    assert service.decisions == [told, told, told]
    assert [event.id for event in machine.heard(Sealed)] == [attempt(1)]
    assert service.sealed() == [attempt(1)]


async def test_a_seal_that_the_service_cannot_carry_out_is_refused_with_the_reason(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    service.verdicts = {attempt(1): 2, attempt(2): 3}
    machine.script = on_attach(seal(1), seal(2))
    await coordinator.start()
    await machine.hears(SealRefused, times=2)
    reasons = {event.id: event.reason for event in machine.heard(SealRefused)}
    assert "discarded" in reasons[attempt(1)]
    assert "output" in reasons[attempt(2)]
    assert not machine.heard(Sealed)


async def test_a_discard_that_came_after_the_seal_tells_the_machine_that_it_is_sealed(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    service.verdicts = {attempt(1): 1}
    machine.script = on_attach(discard(1))
    await coordinator.start()
    assert (await machine.hears(Sealed)).id == attempt(1)


async def test_a_drop_keeps_its_place_among_the_decisions(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    machine.script = on_attach(seal(1), Drop(service=PS0, id=attempt(1)), seal(2))
    await coordinator.start()
    await machine.hears(Sealed, times=2)
    assert service.decisions == [[("seal", attempt(1))], [("seal", attempt(2))]]
    assert service.dropped == [[attempt(1)]]
    assert service.sealed() == [attempt(2)]


async def test_a_restarted_service_is_attached_again_and_told_what_it_has_not_answered(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    machine.script = on_attach(seal(1), discard(2))
    service.may_decide.clear()
    await coordinator.start()
    await service.until(lambda: service.decisions)
    await service.stop()
    service.incarnation, service.verdicts = "second", {}
    service.decisions.clear()
    service.may_decide.set()
    await service.start()
    await machine.until(
        lambda: any(e.incarnation == "second" for e in machine.heard(ServiceAttached))
    )
    assert (await machine.hears(Sealed)).id == attempt(1)
    assert service.decisions == [[("seal", attempt(1)), ("discard", attempt(2))]]
    assert machine.heard(ServiceLost) == []
    assert service.epoch == machine.epoch


async def test_a_restarted_service_is_told_again_what_it_has_to_discard(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    """It has no record of that, and a worker that is cut off from us goes on pushing."""
    second: list[Action] = [seal(3)]

    def script(event: Event) -> list[Action]:
        if isinstance(event, ServiceAttached) and event.incarnation == "second":
            return [second.pop()]
        return first(event)

    first = on_attach(discard(0), discard(1), seal(2))
    machine.script = script
    await coordinator.start()
    await machine.hears(Sealed)
    assert service.decisions == [
        [("discard", attempt(0)), ("discard", attempt(1)), ("seal", attempt(2))]
    ]
    service.decisions.clear()
    # What it tells that it holds, the machine decides about.
    service.incarnation = "second"
    service.verdicts = {attempt(1): partition_pb2.DECISION_RESULT_SEALED}
    await machine.until(lambda: len(machine.heard(Sealed)) >= 2)
    assert service.decisions == [[("discard", attempt(0)), ("seal", attempt(3))]]


async def test_an_inventory_does_not_list_what_was_to_be_dropped_before(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    """A machine that is told again of an output it dropped would adopt it again."""
    service.verdicts = {attempt(1): 1}

    def script(event: Event) -> list[Action]:
        return [Drop(service=PS0, id=attempt(1))] if isinstance(event, CancelRequested) else []

    machine.script = script
    await coordinator.start()
    await machine.hears(ServiceAttached)
    service.incarnation = "second"
    await coordinator.cancel(coordinator.stub())
    again = await machine.hears(ServiceAttached, times=2)
    assert again.sealed == ()
    assert service.dropped == [[attempt(1)]]


@pytest.mark.parametrize("reconnect_s", [60.0, 0.0])
async def test_a_silent_service_is_lost_after_its_lease_and_attached_when_it_is_back(
    machine: FakeMachine,
    service: FakePartition,
    coordinator: Coordinator,
    monkeypatch: pytest.MonkeyPatch,
    reconnect_s: float,
) -> None:
    """Over the same channel, and over others, which look its name up again."""
    monkeypatch.setattr(link, "RECONNECT_S", reconnect_s)
    coordinator.settings = replace(coordinator.settings, service_lease_s=1.0)
    await coordinator.start()
    await machine.hears(ServiceAttached)
    await service.stop()
    lost = await machine.hears(ServiceLost)
    assert lost.service == PS0
    assert "has not answered" in lost.reason
    await service.start()
    await machine.hears(ServiceAttached, times=2)
    assert len(machine.heard(ServiceLost)) == 1


async def test_a_service_that_was_lost_is_told_what_it_has_missed_to_discard(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    """It has no other way to know, and would keep the blocks until the job ends."""
    coordinator.settings = replace(coordinator.settings, service_lease_s=1.0)
    first = on_attach(discard(0), seal(1))
    back: list[list[Action]] = [[seal(2)]]

    def script(event: Event) -> list[Action]:
        if isinstance(event, ServiceLost):
            return [discard(3), discard(4)]
        if isinstance(event, ServiceAttached) and machine.heard(ServiceLost):
            return back.pop() if back else []
        return first(event)

    machine.script = script
    service.unanswered_decides = 1_000_000
    await coordinator.start()
    await machine.hears(ServiceLost)
    # What it tells that it holds, the machine decides about.
    service.verdicts = {attempt(4): partition_pb2.DECISION_RESULT_KEPT}
    service.decisions.clear()
    service.unanswered_decides = 0
    await machine.hears(Sealed)
    told = [decision for call in service.decisions for decision in call]
    assert told[-3:] == [("discard", attempt(0)), ("discard", attempt(3)), ("seal", attempt(2))]
    assert ("discard", attempt(4)) not in told


async def test_a_service_that_answers_checks_but_no_decisions_is_lost_too(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    coordinator.settings = replace(coordinator.settings, service_lease_s=1.0)
    machine.script = on_attach(seal(1))
    service.unanswered_decides = 1_000_000
    await coordinator.start()
    await machine.hears(ServiceLost)
    service.unanswered_decides = 0
    await machine.hears(ServiceAttached, times=2)


async def test_a_service_that_never_answered_is_lost_and_the_others_do_the_work(
    machine: FakeMachine,
    coordinator: Coordinator,
    start_service: Callable[[str], Awaitable[FakePartition]],
) -> None:
    absent = await start_service("ps-1")
    await absent.stop()
    coordinator.services.append(absent)
    coordinator.settings = replace(coordinator.settings, service_lease_s=1.0)
    await coordinator.start()
    assert (await machine.hears(ServiceLost)).service == "ps-1"
    assert (await machine.hears(ServiceAttached)).service == PS0


async def test_a_coordinator_without_any_service_says_what_to_do(
    service: FakePartition, coordinator: Coordinator
) -> None:
    await service.stop()
    coordinator.settings = replace(coordinator.settings, service_lease_s=0.3)
    coordinator.begin()
    error = await coordinator.failure()
    assert str(error).startswith("no partition service answered within 0.3 s (ps-0 at 127.0.0.1:")


async def test_a_newer_coordinator_ends_this_one(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    await coordinator.start()
    await machine.hears(ServiceAttached)
    service.epoch = 7
    error = await coordinator.failure()
    assert type(error).__name__ == "FencedError"
    assert "epoch 7" in str(error)


async def test_a_newer_coordinator_is_noticed_at_the_first_decision(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    def script(event: Event) -> list[Action]:
        service.epoch = 7
        return [seal(1)]

    machine.script = lambda event: script(event) if isinstance(event, ServiceAttached) else []
    await coordinator.start()
    assert type(await coordinator.failure()).__name__ == "FencedError"
    assert service.sealed() == []


async def test_the_plan_is_recorded_when_every_attached_service_keeps_it(
    machine: FakeMachine,
    service: FakePartition,
    coordinator: Coordinator,
    start_service: Callable[[str], Awaitable[FakePartition]],
) -> None:
    other = await start_service("ps-1")
    coordinator.services.append(other)
    machine.script = lambda event: (
        [RecordPlan(plan=PLAN)]
        if isinstance(event, ServiceAttached) and len(machine.heard(ServiceAttached)) == 2
        else []
    )
    await coordinator.start()
    await machine.hears(PlanRecorded)
    assert service.plan == other.plan
    assert service.plan is not None
    assert len(machine.heard(PlanRecorded)) == 1


async def test_a_plan_whose_receipt_came_while_its_service_counted_as_lost_is_recorded(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    """The job stood in its planning for ever: all kept the plan, and nobody said so."""
    coordinator.settings = replace(coordinator.settings, service_lease_s=1.0)
    machine.script = on_attach(RecordPlan(plan=PLAN))
    service.may_record.clear()
    await coordinator.start()
    await service.until(lambda: service.plan is not None)
    service.silent = True
    await machine.hears(ServiceLost)
    service.may_record.set()
    service.silent = False
    await machine.hears(PlanRecorded)
    assert len(machine.heard(ServiceAttached)) == 2


async def test_a_service_that_comes_back_without_the_plan_is_given_it_again(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    machine.script = on_attach(RecordPlan(plan=PLAN))
    await coordinator.start()
    await machine.hears(PlanRecorded)
    kept = service.plan
    service.plan, service.incarnation = None, "second"
    await machine.hears(ServiceAttached, times=2)
    await service.until(lambda: service.plan is not None)
    assert service.plan == kept


async def test_a_plan_that_is_kept_already_is_recorded_without_a_word(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    service.plan = plan_to_wire(PLAN).SerializeToString(deterministic=True)
    machine.script = on_attach(RecordPlan(plan=PLAN))
    await coordinator.start()
    assert (await machine.hears(ServiceAttached)).plan == PLAN
    await machine.hears(PlanRecorded)


async def test_a_service_that_keeps_another_plan_ends_the_coordinator(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    """The machine saw that plan when the service attached; whose it is now is a riddle."""
    service.plan = plan_to_wire(OTHER_PLAN).SerializeToString(deterministic=True)
    machine.script = on_attach(RecordPlan(plan=PLAN))
    await coordinator.start()
    assert "another plan is kept" in str(await coordinator.failure())


async def test_a_full_disk_is_told_once_and_so_is_its_end(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    coordinator.settings = replace(coordinator.settings, service_lease_s=0.8)
    service.full = True
    await coordinator.start()
    full = await machine.hears(ServiceFull)
    assert (full.full, full.reason) == (True, "the disk is full: /data")
    service.full = False
    assert not (await machine.hears(ServiceFull, times=2)).full


async def test_a_service_that_is_lost_for_a_full_disk_is_not_called_silent_only(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    """It has nowhere to write down what is sealed, and must before it may be counted on."""
    coordinator.settings = replace(coordinator.settings, service_lease_s=0.8)
    service.cannot_write = True
    await coordinator.start()
    lost = await machine.hears(ServiceLost)
    assert lost.reason.endswith(" s (RESOURCE_EXHAUSTED: the disk is full: /data)")
    service.cannot_write = False
    await machine.hears(ServiceAttached)


async def test_the_end_of_a_full_disk_is_told_also_if_the_service_was_restarted_meanwhile(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    """A service whose disk was full was killed, and came back when there was room again.

    Nobody told the machine: it gave out no task any more that pushes, and failed the job.
    """
    coordinator.settings = replace(coordinator.settings, service_lease_s=0.8)
    service.full = True
    await coordinator.start()
    assert (await machine.hears(ServiceFull)).full
    service.incarnation, service.full = "second", False
    await machine.hears(ServiceAttached, times=2)
    assert not (await machine.hears(ServiceFull, times=2)).full


async def test_a_service_that_refuses_the_token_ends_the_coordinator_with_a_remedy(
    service: FakePartition, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "token", "another token")
    coordinator.begin()
    assert "started with this job's token" in str(await coordinator.failure())


async def test_seals_with_much_beside_their_records_are_told_in_several_calls(
    machine: FakeMachine, service: FakePartition, coordinator: Coordinator
) -> None:
    """Two thousand of them in one call would be more than a message may have."""
    large = (("k", b"x" * link.MAX_VALUE_BYTES_PER_CALL),)
    seals = [seal(0), replace(seal(1), values=large), seal(2), replace(seal(3), values=large)]
    machine.script = on_attach(*seals)
    await coordinator.start()
    await machine.hears(Sealed, times=4)
    told = [[attempt.task for _, attempt in call] for call in service.decisions]
    assert told == [[0], [1, 2], [3]]
