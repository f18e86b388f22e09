"""The life of one task: stories, and a walk over everything that can happen to it."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from disco_engine.core.model import AttemptId, Failure, FailureKind, ServiceId, TaskRef, WorkerId
from disco_engine.core.task import IllegalTransition, step
from disco_engine.core.task_events import (
    Action,
    Adopted,
    Cancelled,
    CopyFound,
    CopyLost,
    DiscardRun,
    DropOutput,
    Event,
    Failed,
    Finished,
    GiveUp,
    KeepOutput,
    Kept,
    Lost,
    Output,
    OutputLost,
    Ready,
    Retry,
    Returned,
    Run,
    Sealed,
    SealOutput,
    Started,
    StopRun,
    Unready,
)
from disco_engine.core.task_state import SETTLING, Limits, Task, TaskState

S0, S1 = ServiceId("ps-0"), ServiceId("ps-1")
REF = TaskRef(1, 7)


def attempt(number: int, epoch: int = 2) -> AttemptId:
    return AttemptId(1, 7, epoch, number)


def run(number: int, worker: str = "w1") -> Run:
    return Run(attempt(number), WorkerId(worker), S0)


def output(number: int) -> Output:
    return Output(attempt(number), S0)


def failure(kind: FailureKind = FailureKind.USER) -> Failure:
    return Failure(kind=kind, message="KeyError: 'x'")


LOSS = failure(FailureKind.INFRASTRUCTURE)


def after(
    *events: Event, max_attempts: int = 4, max_consecutive_losses: int = 3
) -> tuple[Task, list[Action]]:
    """Return a task after *events*, and what the last of them asked for."""
    task = Task(ref=REF, limits=Limits(max_attempts, max_consecutive_losses))
    actions: list[Action] = []
    for event in events:
        task, actions = step(task, event)
    return task, actions


def running(number: int = 1) -> list[Event]:
    return [Ready(), *(Started(run(n)) for n in range(1, number + 1))]


SEALING: list[Event] = [*running(), Finished(output(1))]
DONE: list[Event] = [*SEALING, Sealed(attempt(1), S0)]


def test_a_task_that_nothing_disturbs_goes_from_waiting_to_done() -> None:
    task, actions = after(*SEALING)
    assert task.state is TaskState.SEALING
    assert actions == [SealOutput(output(1))]
    task, actions = step(task, Sealed(attempt(1), S0))
    assert (task.state, task.output, task.live, actions) == (TaskState.DONE, output(1), (), [])


def test_a_failure_of_the_user_s_code_counts_and_pauses_longer_each_time() -> None:
    task, actions = after(*running(), Failed(attempt(1), failure()))
    assert (task.state, task.failures) == (TaskState.WAITING, 1)
    assert actions == [DiscardRun(attempt(1), S0), Retry(0.1)]
    task, actions = after(
        *running(), Failed(attempt(1), failure()), Ready(), Started(run(2)),
        Failed(attempt(2), failure()),
    )  # fmt: skip
    assert actions[-1] == Retry(0.2)


def test_out_of_attempts_the_task_fails_and_gives_the_user_s_error() -> None:
    task, actions = after(*running(), Failed(attempt(1), failure()), max_attempts=1)
    assert task.state is TaskState.FAILED
    reason = "failed once; the last time: KeyError: 'x'"
    assert actions == [DiscardRun(attempt(1), S0), GiveUp(reason, failure())]


def test_a_fatal_failure_ends_it_at_the_first_attempt() -> None:
    task, actions = after(*running(), Failed(attempt(1), failure(FailureKind.FATAL)))
    assert task.state is TaskState.FAILED
    assert isinstance(actions[-1], GiveUp)


def test_losses_do_not_count_as_failures_but_are_bounded_in_a_row() -> None:
    events: list[Event] = []
    for number in range(1, 5):
        events += [Ready(), Started(run(number)), Lost(attempt(number), LOSS)]
    task, _ = after(*events[:-3])
    assert (task.state, task.failures, task.losses) == (TaskState.WAITING, 0, 3)
    task, actions = after(*events)
    assert task.state is TaskState.FAILED
    assert isinstance(actions[-1], GiveUp)
    assert "4 times in a row" in actions[-1].reason
    assert "max_consecutive_losses" in actions[-1].reason


def test_what_comes_back_unstarted_is_neither_failure_nor_loss_however_often() -> None:
    events: list[Event] = []
    for number in range(1, 50):
        events += [Ready(), Started(run(number)), Returned(attempt(number))]
    task, actions = after(*events)
    assert (task.state, task.failures, task.losses) == (TaskState.WAITING, 0, 0)
    assert (task.started, task.returned) == (49, 49)
    assert actions == [DiscardRun(attempt(49), S0), Retry(0.0)]
    assert step(task, Returned(attempt(1))) == (task, [])  # said twice


def test_a_seal_ends_the_row_of_losses() -> None:
    task, _ = after(
        *running(), Lost(attempt(1), LOSS), Ready(), Started(run(2)), Finished(output(2)),
        Sealed(attempt(2), S0),
    )  # fmt: skip
    assert task.losses == 0


def test_a_reader_whose_inputs_changed_meanwhile_loses_nothing() -> None:
    task, actions = after(*running(), Failed(attempt(1), LOSS, blameless=True))
    assert (task.state, task.losses, task.failures) == (TaskState.WAITING, 0, 0)
    assert actions[-1] == Retry(0.0)


def test_inputs_that_were_made_again_forgive_earlier_losses() -> None:
    task, _ = after(*running(), Failed(attempt(1), LOSS), Ready(renewed=True))
    assert task.losses == 0


def test_the_first_of_two_rivals_to_finish_is_sealed_and_the_other_stopped() -> None:
    task, actions = after(*running(2), Finished(output(2)))
    assert actions == [SealOutput(output(2))]
    task, actions = step(task, Sealed(attempt(2), S0))
    reason = "another attempt at this task was faster"
    assert actions == [StopRun(run(1), reason), DiscardRun(attempt(1), S0)]
    assert step(task, Finished(output(1))) == (task, [])


def test_a_rival_that_finishes_second_is_discarded() -> None:
    task, actions = after(*running(2), Finished(output(2)), Finished(output(1)))
    assert task.state is TaskState.SEALING
    assert actions == [DiscardRun(attempt(1), S0)]


def test_a_refused_seal_lets_the_rival_go_on() -> None:
    task, actions = after(*running(2), Finished(output(2)), Lost(attempt(2), LOSS))
    assert (task.state, task.live) == (TaskState.RUNNING, (run(1),))
    assert actions == [DiscardRun(attempt(2), S0)]


def test_a_report_from_a_worker_that_was_given_up_changes_nothing() -> None:
    task, _ = after(*running(), Lost(attempt(1), LOSS), Ready(), Started(run(2)))
    for late in (Finished(output(1)), Failed(attempt(1), failure()), Lost(attempt(1), LOSS)):
        assert step(task, late) == (task, [])


def test_a_seal_that_comes_after_the_attempt_was_given_up_is_dropped() -> None:
    task, _ = after(*SEALING, Lost(attempt(1), LOSS), Ready(), Started(run(2)))
    assert step(task, Sealed(attempt(1), S0)) == (task, [DropOutput(attempt(1), S0)])


def test_nothing_the_winner_says_later_undoes_the_win() -> None:
    done, _ = after(*DONE)
    for late in (Finished(output(1)), Failed(attempt(1), failure()), Sealed(attempt(1), S0)):
        assert step(done, late) == (done, [])


def test_a_lost_output_opens_the_task_again() -> None:
    task, actions = after(*DONE, OutputLost(attempt(1), "checksum"))
    assert (task.state, task.output, actions) == (TaskState.WAITING, None, [Retry(0.0)])


def test_an_output_that_is_lost_again_and_again_fails_the_job() -> None:
    events: list[Event] = []
    for number in range(1, 5):
        events += [
            Ready(), Started(run(number)), Finished(output(number)), Sealed(attempt(number), S0),
            OutputLost(attempt(number), "checksum"),
        ]  # fmt: skip
    task, actions = after(*events)
    assert task.state is TaskState.FAILED
    assert isinstance(actions[-1], GiveUp)
    assert actions[-1].reason.startswith("lost its output 4 times; the last time: checksum")


def test_a_sealed_attempt_that_is_found_makes_running_ones_superfluous() -> None:
    old = Output(attempt(9, epoch=1), S1)
    task, actions = after(*running(), Adopted(old))
    assert (task.state, task.output) == (TaskState.DONE, old)
    assert actions[1:] == [DiscardRun(attempt(1), S0)]


def test_a_second_sealed_attempt_that_is_found_is_dropped() -> None:
    old = Output(attempt(9, epoch=1), S1)
    for events in (SEALING, DONE):
        task, _ = after(*events)
        assert step(task, Adopted(old)) == (task, [DropOutput(old.id, S1)])


def test_a_task_that_waits_cannot_be_started() -> None:
    with pytest.raises(IllegalTransition, match="task 7 is waiting after 0 attempts"):
        after(Started(run(1)))


def test_a_report_of_an_attempt_that_never_was_is_a_bug() -> None:
    task, _ = after(*running())
    never = attempt(2)
    for event in (
        Finished(output(2)), Failed(never, failure()), Returned(never), Sealed(never, S0)
    ):  # fmt: skip
        with pytest.raises(IllegalTransition):
            step(task, event)


OLD = Output(attempt(1, epoch=1), S1)
Places = frozenset[tuple[AttemptId, ServiceId]]
NUMBERS = (1, 2, 3)
EVENTS: list[Event] = [
    Ready(),
    Ready(renewed=True),
    Unready(),
    Cancelled("enough"),
    Adopted(OLD),
    OutputLost(OLD.id, "disk"),
    Sealed(OLD.id, S1),
    *(Started(run(number)) for number in NUMBERS),
    *(Finished(output(number)) for number in NUMBERS),
    *(Failed(attempt(number), failure(kind)) for number in NUMBERS for kind in FailureKind),
    *(Failed(attempt(number), LOSS, blameless=True) for number in NUMBERS),
    *(Returned(attempt(number)) for number in NUMBERS),
    *(Lost(attempt(number), LOSS) for number in NUMBERS),
    *(Sealed(attempt(number), S0) for number in NUMBERS),
    *(OutputLost(attempt(number), "disk") for number in NUMBERS),
]


COPIED = [replace(output(number), copy=S1) for number in NUMBERS[:2]]
WITH_COPIES: list[Event] = [
    Ready(),
    Unready(),
    Cancelled("enough"),
    Adopted(OLD),
    CopyFound(OLD),
    CopyLost(OLD.id, S1),
    *(Started(replace(run(number), copy=S1)) for number in NUMBERS[:2]),
    *(Finished(one) for one in COPIED),
    *(Lost(one.id, LOSS) for one in COPIED),
    *(Kept(one.id, S1) for one in COPIED),
    *(CopyLost(one.id, S1) for one in COPIED),
    *(CopyFound(replace(one, service=S1, copy=None)) for one in COPIED),
    *(Sealed(one.id, service) for one in COPIED for service in (S0, S1)),
    *(OutputLost(one.id, "disk") for one in COPIED),
]


@pytest.mark.parametrize(
    ("events", "states"),
    [(EVENTS, set(TaskState) - {TaskState.KEEPING}), (WITH_COPIES, set(TaskState))],
    ids=["one copy", "two copies"],
)
def test_no_order_of_events_breaks_a_promise(events: list[Event], states: set[TaskState]) -> None:
    """Walk every task that any sequence of events can produce.

    Beside the task goes what the world holds: what may still be sealed one day, and what services
    keep or were asked to keep as copies, because nobody has stopped or discarded it.
    """
    first = Task(ref=REF, limits=Limits(max_attempts=2, max_consecutive_losses=1))
    todo: list[tuple[Task, Places, Places]] = [(first, frozenset(), frozenset())]
    seen = set(todo)
    while todo:
        task, sealable, copies = todo.pop()
        check(task, sealable, copies)
        for event in events:
            if isinstance(event, CopyFound) and task.run_of(event.output.id):
                continue  # copies are of what has finished
            try:
                new, actions = step(task, event)
            except IllegalTransition:
                continue
            check_step(task, event, new, actions)
            sealed = seals_outstanding(sealable, event, actions)
            now = new, sealed, copies_outstanding(task, copies, event, actions)
            if now not in seen:
                seen.add(now)
                todo.append(now)
    assert {task.state for task, *_ in seen} == states
    assert len(seen) > 250


def check(task: Task, sealable: Places, copies: Places) -> None:
    settling = task.state in SETTLING
    output = task.output
    assert (output is not None) == (settling or task.state is TaskState.DONE)
    if task.state is TaskState.RUNNING:
        assert task.live
    elif not settling:
        assert not task.live
    assert len({live.id for live in task.live}) == len(task.live)
    # Nothing but the one being sealed can be sealed behind the task's back.
    sealing = task.state is TaskState.SEALING and output is not None
    assert sealable == ({(output.id, output.service)} if sealing and output else set())
    # And a copy that nobody counts on is left nowhere, while there is a task that asks.
    if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
        assert copies == ({(output.id, output.copy)} if output and output.copy else set())


def check_step(task: Task, event: Event, new: Task, actions: list[Action]) -> None:
    kinds = [type(action) for action in actions]
    assert (GiveUp in kinds) == (new.state is TaskState.FAILED is not task.state)
    moved = (
        new.output is not None
        and task.output is not None
        and ((new.output.id, new.output.service) != (task.output.id, task.output.service))
    )
    assert kinds.count(SealOutput) == (
        new.state is TaskState.SEALING and (moved or task.state is not TaskState.SEALING)
    )
    # Whoever must be tried again gets a time for it, and nobody else.
    becomes_idle = new.state is TaskState.WAITING and task.state not in (
        TaskState.WAITING,
        TaskState.READY,
    )
    assert (Retry in kinds) == becomes_idle
    # The sealed winner is never touched, except by the loss of its output.
    if task.state is TaskState.DONE and task.output and new.state is TaskState.DONE:
        assert (task.output.id, task.output.service) not in ended_at(actions)
        assert new.output is not None
        assert replace(new.output, copy=None) == replace(task.output, copy=None)
    # Every attempt that ceases to be live is stopped, discarded, or has ended by itself.
    gone = {live.id for live in task.live} - {live.id for live in new.live}
    if isinstance(event, Finished | Failed):
        assert gone <= touched(actions) | {event_id(event)}
    else:
        assert gone <= touched(actions)
    if task.state in (TaskState.FAILED, TaskState.CANCELLED):
        assert (new, actions) == (task, [])


def event_id(event: Finished | Failed) -> AttemptId:
    return event.output.id if isinstance(event, Finished) else event.id


def touched(actions: Iterable[Action]) -> set[AttemptId]:
    return {action.id for action in actions if isinstance(action, DiscardRun | DropOutput)}


def ended_at(actions: Iterable[Action]) -> Places:
    return frozenset(
        (action.id, action.service)
        for action in actions
        if isinstance(action, DiscardRun | DropOutput)
    )


def seals_outstanding(sealable: Places, event: Event, actions: list[Action]) -> Places:
    """Return what a service was asked to seal, and was not told to discard."""
    asked = {(a.output.id, a.output.service) for a in actions if isinstance(a, SealOutput)}
    answered = {(event.id, event.service)} if isinstance(event, Sealed) else set()
    return (sealable | asked) - ended_at(actions) - answered


def copies_outstanding(task: Task, copies: Places, event: Event, actions: list[Action]) -> Places:
    """Return what services have, or were asked to keep, as copies."""
    there = set(copies)
    match event:
        case Finished(Output(id=id)) if any(isinstance(a, KeepOutput) for a in actions):
            there.add((id, S1))
        case Kept(id, service) | CopyFound(Output(id=id, service=service)):
            # Where it is being sealed, or is, it is no copy any more; unless the service has
            # forgotten its seal.
            forgotten = isinstance(event, CopyFound) and task.state is TaskState.DONE
            if forgotten or not (task.output and task.output.is_at(id, service)):
                there.add((id, service))
        case CopyLost(id, service):
            there.discard((id, service))
        case _:
            pass
    sealed = {(a.output.id, a.output.service) for a in actions if isinstance(a, SealOutput)}
    return frozenset(there) - ended_at(actions) - sealed
