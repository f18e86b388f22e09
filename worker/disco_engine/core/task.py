"""The life of one task: one pure function, from a task (``core.task_state``) to the next.

::

            Ready            Started             Finished              Sealed
    WAITING -----> READY ----------> RUNNING ------------> SEALING ------------> DONE
     ^ ^ ^ ^         |                 | ^                   | | ^                 |
     | | | +-Unready-+                 | +-- Lost, a rival --+ | +- OutputLost, ---+
     | | |                             |        runs           |    has a copy     |
     | | +-- Failed, Lost, Returned, --+                       |                   |
     | |     none runs                                         |                   |
     | +---- Lost, none runs, no copy -------------------------+                   |
     +------ OutputLost, no copy --------------------------------------------------+

    Each way back but Returned's may lead to FAILED instead: out of attempts, lost too often, or
    fatal. Adopted leads from WAITING, READY and RUNNING to DONE, CopyFound to SEALING; Cancelled
    from all but DONE and FAILED to CANCELLED.

An attempt whose output is to be kept twice passes through KEEPING on its way to SEALING: the copy
comes first, so what is sealed has one. Kept or CopyLost ends that. If what is being sealed, or is
sealed, is lost and there is a copy, the copy is sealed instead, which makes it readable.

A task may have several live attempts: rivals. The first that is reported finished is sealed; when
its seal is confirmed, the rivals are stopped and what they wrote is discarded. So at most one
attempt is ever asked to be sealed at a time, and a second one only after the first was given up.

Reports come late, twice, and from workers that were given up: an attempt that is no longer live was
decided when it ceased to be, and what it says changes nothing. Two things raise: a report of an
attempt that was never started, and an event that only a bug of the caller can produce.
"""

from dataclasses import replace
from typing import TypeAlias

from disco_engine.core.model import AttemptId, Failure, FailureKind, ServiceId
from disco_engine.core.pauses import pause_after_failures, pause_after_losses
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
from disco_engine.core.task_state import SETTLING, Task, TaskState

Decision: TypeAlias = tuple[Task, list[Action]]

_ENDED = frozenset({TaskState.FAILED, TaskState.CANCELLED})


class IllegalTransition(Exception):
    """An event that cannot happen in the task's state: a bug in the caller."""

    def __init__(self, task: Task, event: Event) -> None:
        super().__init__(
            f"stage {task.ref.stage}, task {task.ref.task} is {task.state} after {task.started}"
            f" attempts, which does not accept {event}"
        )


# --- the machine ------------------------------------------------------------------------------


def step(task: Task, event: Event) -> Decision:
    """Return the task after *event*, and what must be done about it, in that order.

    Raises:
        IllegalTransition: The event cannot happen in this state; the task is unchanged.
    """
    if task.state in _ENDED:
        return task, []
    match event:
        case Started(run):
            return _started(task, event, run)
        case Finished(output):
            return _finished(task, event, output)
        case Sealed(attempt, service):
            return _sealed(task, event, attempt, service)
        case Ready(renewed):
            if task.state is not TaskState.WAITING:
                raise IllegalTransition(task, event)
            losses = 0 if renewed else task.losses
            return task._replace(state=TaskState.READY, losses=losses), []
        case Unready():
            if task.state is not TaskState.READY:
                raise IllegalTransition(task, event)
            return task._replace(state=TaskState.WAITING), []
        case Failed(attempt, failure, blameless):
            return _failed(task, event, attempt, failure, blameless)
        case Returned(attempt):
            return _returned(task, event, attempt)
        case Lost(attempt, failure):
            return _lost(task, attempt, failure)
        case OutputLost(attempt, reason):
            return _output_lost(task, attempt, reason)
        case Kept(attempt, service):
            return _kept(task, attempt, service)
        case CopyLost(attempt, service):
            return _copy_lost(task, attempt, service)
        case Adopted(output):
            return _adopted(task, output)
        case CopyFound(output):
            return _copy_found(task, output)
        case Cancelled(reason):
            if task.state is TaskState.DONE:
                return task, []
            ended = task._replace(state=TaskState.CANCELLED, live=(), output=None)
            return ended, [*_end_all(task.live, reason), *_discard_output(task)]


def _started(task: Task, event: Event, run: Run) -> Decision:
    legal = task.state is TaskState.READY or task.state is TaskState.RUNNING
    stage, index, _, number = run.id
    if not legal or (stage, index) != task.ref or number != task.started + 1:
        raise IllegalTransition(task, event)
    live = (*task.live, run)
    return task._replace(state=TaskState.RUNNING, started=number, live=live), []


def _finished(task: Task, event: Event, output: Output) -> Decision:
    run = task.run_of(output.id)
    if run is None:
        _check_started(task, event, output.id)
        return task, []
    live = _without(task.live, run)
    if task.state in SETTLING:  # a rival came second
        return task._replace(live=live), _discard(run)
    if output.copy is None:
        sealing, actions = _seal(task._replace(live=live), output)
        # The service that was to have a copy was lost meanwhile; it may come back with blocks.
        return sealing, [*actions, *_discard_at(output.id, run.copy)]
    keeping = task._replace(state=TaskState.KEEPING, live=live, output=output)
    return keeping, [KeepOutput(output)]


def _kept(task: Task, attempt: AttemptId, service: ServiceId) -> Decision:
    output = task.output
    if output is not None and output.has_copy_at(attempt, service):
        return _seal(task, output) if task.state is TaskState.KEEPING else (task, [])
    if output is not None and output.is_at(attempt, service):
        return task, []  # its seal is on the way
    return task, [DiscardRun(attempt, service)]  # given up before the service's answer came


def _copy_lost(task: Task, attempt: AttemptId, service: ServiceId) -> Decision:
    output = task.output
    if output is None or not output.has_copy_at(attempt, service):
        return task, []
    alone = replace(output, copy=None)
    # What had come of it goes; what is sealed there (the copy was to be read) does not.
    forgetting = [] if output.is_at(attempt, service) else _discard_at(attempt, service)
    if task.state is TaskState.KEEPING:
        sealing, actions = _seal(task, alone)
        return sealing, [*forgetting, *actions]
    return task._replace(output=alone), forgetting


def _drop(task: Task, attempt: AttemptId, service: ServiceId) -> Decision:
    """Have a sealed attempt deleted that does not count, also if it was to be our copy."""
    rest, actions = _copy_lost(task, attempt, service)
    return rest, [DropOutput(attempt, service), *actions]


def _seal(task: Task, output: Output) -> Decision:
    return task._replace(state=TaskState.SEALING, output=output), [SealOutput(output)]


def _seal_copy(task: Task, output: Output, copy: ServiceId) -> Decision:
    """Make the copy what is read: what it was a copy of is gone."""
    return _seal(task, replace(output, service=copy, copy=None))


def _sealed(task: Task, event: Event, attempt: AttemptId, service: ServiceId) -> Decision:
    output = task.output
    if output is None or not output.is_at(attempt, service):
        # Given up before the service's answer came; whatever replaces it must not meet it.
        _check_started(task, event, attempt)
        return _drop(task, attempt, service)
    if task.state is TaskState.DONE:
        return task, []
    done = task._replace(state=TaskState.DONE, live=(), losses=0)
    return done, _end_all(task.live, "another attempt at this task was faster")


def _failed(
    task: Task, event: Event, attempt: AttemptId, failure: Failure, blameless: bool
) -> Decision:
    run = task.run_of(attempt)
    if run is None:
        _check_started(task, event, attempt)
        return task, []
    rest = task._replace(live=_without(task.live, run))
    actions = _discard(run)
    if failure.kind is FailureKind.FATAL:
        return _give_up(rest, actions, f"can never work: {failure.message}", failure)
    if task.state in SETTLING:  # a rival of one that has finished: it matters no more
        return rest, actions
    if failure.kind is FailureKind.INFRASTRUCTURE:
        return _after_loss(rest, actions, failure, 0 if blameless else 1)
    failures = task.failures + 1
    rest = rest._replace(failures=failures)
    if failures >= task.limits.max_attempts:
        times = f"{failures} times" if failures > 1 else "once"
        reason = f"failed {times}; the last time: {failure.message}"
        return _give_up(rest, actions, reason, failure)
    return _again(rest, actions, pause_after_failures(failures))


def _returned(task: Task, event: Event, attempt: AttemptId) -> Decision:
    run = task.run_of(attempt)
    if run is None:
        _check_started(task, event, attempt)
        return task, []
    rest = task._replace(live=_without(task.live, run), returned=task.returned + 1)
    if task.state in SETTLING:
        return rest, _discard(run)
    return _again(rest, _discard(run), 0.0)


def _lost(task: Task, attempt: AttemptId, failure: Failure) -> Decision:
    run = task.run_of(attempt)
    if run is not None:
        rest = task._replace(live=_without(task.live, run))
        actions = _end(run, failure.message)
        if task.state in SETTLING:
            return rest, actions
        return _after_loss(rest, actions, failure, 1)
    output = task.output
    if task.state in SETTLING and output is not None and output.id == attempt:
        if output.copy is not None:
            moved, actions = _seal_copy(task, output, output.copy)
            return moved, [DiscardRun(attempt, output.service), *actions]
        return _after_loss(task._replace(output=None), _discard_output(task), failure, 1)
    return task, []


def _output_lost(task: Task, attempt: AttemptId, reason: str) -> Decision:
    output = task.output
    if task.state is not TaskState.DONE or output is None or output.id != attempt:
        return task, []
    if output.copy is not None:
        return _seal_copy(task, output, output.copy)
    lost = task.outputs_lost + 1
    again = task._replace(state=TaskState.WAITING, output=None, outputs_lost=lost)
    if lost > task.limits.max_consecutive_losses:
        failure = Failure(kind=FailureKind.INFRASTRUCTURE, message=reason)
        return _give_up(again, [], _losses_text("its output", lost, failure), failure)
    return again, [Retry(0.0)]


def _adopted(task: Task, output: Output) -> Decision:
    if task.output is not None:
        if task.output.is_at(output.id, output.service):
            return task, []
        return _drop(task, output.id, output.service)
    done = task._replace(state=TaskState.DONE, live=(), output=output, losses=0)
    return done, _end_all(task.live, "a sealed attempt at this task was found")


def _copy_found(task: Task, output: Output) -> Decision:
    mine = task.output
    if mine is None:
        return _seal(task, output)  # those that run are its rivals until it is sealed
    if mine.has_copy_at(output.id, output.service):
        return task, []
    if mine.id == output.id and mine.copy is None:
        if task.state in SETTLING and mine.service == output.service:
            return task, []  # its seal is on the way
        return task._replace(output=replace(mine, copy=output.service)), []
    return task, [DropOutput(output.id, output.service)]


def _after_loss(task: Task, actions: list[Action], failure: Failure, losses: int) -> Decision:
    """Decide about a task one of whose attempts went away; *task* no longer has it."""
    in_a_row = task.losses + losses
    task = task._replace(losses=in_a_row)
    if in_a_row > task.limits.max_consecutive_losses:
        reason = _losses_text("its worker or partition service", in_a_row, failure, " in a row")
        return _give_up(task, actions, reason, failure)
    return _again(task, actions, pause_after_losses(in_a_row) if losses else 0.0)


def _again(task: Task, actions: list[Action], pause_s: float) -> Decision:
    if task.live:
        return task._replace(state=TaskState.RUNNING), actions
    return task._replace(state=TaskState.WAITING), [*actions, Retry(pause_s)]


def _give_up(task: Task, actions: list[Action], reason: str, failure: Failure) -> Decision:
    actions = [*actions, *_end_all(task.live, "the job failed"), *_discard_output(task)]
    failed = task._replace(state=TaskState.FAILED, live=(), output=None)
    return failed, [*actions, GiveUp(reason, failure)]


def _losses_text(what: str, times: int, failure: Failure, in_a_row: str = "") -> str:
    return (
        f"lost {what} {times} times{in_a_row}; the last time: {failure.message}; find out what ends"
        " these processes (memory, disk, evictions), or raise max_consecutive_losses"
    )


def _check_started(task: Task, event: Event, attempt: AttemptId) -> None:
    stage, index, _, number = attempt
    if (stage, index) != task.ref or not 0 < number <= task.started:
        raise IllegalTransition(task, event)


def _without(live: tuple[Run, ...], gone: Run) -> tuple[Run, ...]:
    return tuple(run for run in live if run is not gone) if len(live) > 1 else ()


def _discard(run: Run) -> list[Action]:
    return _discard_at(run.id, run.service, run.copy)


def _discard_output(task: Task) -> list[Action]:
    output = task.output
    if output is None or task.state not in SETTLING:
        return []
    return _discard_at(output.id, output.service, output.copy)


def _discard_at(attempt: AttemptId, *services: ServiceId | None) -> list[Action]:
    return [DiscardRun(attempt, service) for service in services if service is not None]


def _end(run: Run, reason: str) -> list[Action]:
    return [StopRun(run, reason), *_discard(run)]


def _end_all(live: tuple[Run, ...], reason: str) -> list[Action]:
    return [action for run in live for action in _end(run, reason)]
