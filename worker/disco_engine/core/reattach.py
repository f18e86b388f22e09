"""What follows when a partition service attaches or is lost: its word on what it holds is final.

What the job believed to be sealed there and is not, is missing: it is read from its copy, if it has
one, or made again. What is there and the job did not know of (it was sealed for an earlier
coordinator, or while the service counted as lost), a task may adopt; else it is dropped, because
readers would see it. Copies are compared in the same way, and sealed only when they are needed.
"""

from collections.abc import Iterator, Sequence

from disco_engine.core.actions import JobPhase, Outcome, RecordPlan
from disco_engine.core.events import ServiceAttached
from disco_engine.core.inventory import Found, PlansDifferError, found
from disco_engine.core.job_run import JobRun
from disco_engine.core.model import AttemptId, Plan, ServiceId
from disco_engine.core.stages import StageRun
from disco_engine.core.task_events import Output
from disco_engine.core.task_state import TaskState


def service_attached(run: JobRun, event: ServiceAttached) -> None:
    """React to a service that told what it has."""
    name = event.service
    known = run.services.knows(name)
    restarted = run.services.attach(name, event.node, event.incarnation)
    run.wake_all = True
    run.inventory.forget(name)
    holdings = {sealed.id: found(sealed, name) for sealed in event.sealed}
    holdings |= {copy.id: found(copy, name, copy=True) for copy in event.copies}
    if known and restarted:
        text = f"partition service {name} is back with {len(event.sealed)} sealed attempts"
        run.announce("service-back", text)
    if not run.started:
        _keep(run, event.plan, holdings, name)
        start_if_settled(run)
        return
    if not _agree_on_plan(run, event.plan, holdings, name):
        return
    service = run.services.get(name)
    unsealed = list(service.unsealed) if service else []  # what is asked of it now, comes after
    _compare_copies(run, name, holdings)
    sealed_anew = _compare_sealed(run, name, holdings)
    _compare_unsealed(run, name, holdings, unsealed, restarted=restarted)
    for attempt, item in holdings.items():
        _offer(run, attempt, item)
    run.audited(name, again=sealed_anew)


def service_lost(run: JobRun, name: ServiceId, reason: str) -> None:
    """React to a service that is gone with all it had."""
    service = run.services.lose(name)
    run.inventory.forget(name)
    run.wake_all = True
    if service is not None:
        why = f"partition service {name} was lost: {reason}"
        for stage, _, output in _copied_to(run, name):
            run.lose_at(stage, output.id, name, why)
        lost = [
            (stage, index, output)
            for stage, index, output in _sealed_at(run, name)
            if output.table and index not in stage.missing
        ]
        copies = sum(1 for _, _, output in lost if output.copy is not None)
        text = f"partition service {name} on {service.node}: {reason}"
        if copies:
            text += f"; it had {len(lost)} outputs, and of {copies} there are copies"
        run.announce("service-lost", text)
        for stage, index, _ in lost:
            run.miss(stage, index)
        run.reopen_lost(why)
        for attempt in service.unsealed:
            stage_of_it = run.stage_of(attempt)
            if stage_of_it is not None:
                run.lose_at(stage_of_it, attempt, name, why)
        run.audited(name)
    start_if_settled(run)


def start_if_settled(run: JobRun) -> None:
    """Start the job once it is known which services it has, with the plan they have, if any."""
    if run.started or not run.services.settled:
        return
    run.started = True
    try:
        plan = run.inventory.plan()
    except PlansDifferError as error:
        run.end(Outcome.FAILED, str(error))
        return
    if plan is None:
        run.start_planning()
        return
    if not run.inventory.all_have_plan(service.id for service in run.services):
        run.emit(RecordPlan(plan=plan))
    run.begin(plan, adopted=True)


def _keep(
    run: JobRun, plan: Plan | None, holdings: dict[AttemptId, Found], name: ServiceId
) -> None:
    if plan is not None:
        run.inventory.note_plan(name, plan)
    for item in holdings.values():
        run.inventory.keep(item)


def _agree_on_plan(
    run: JobRun, plan: Plan | None, holdings: dict[AttemptId, Found], name: ServiceId
) -> bool:
    """Bring the job's and the service's plan together.

    Returns:
        Whether *holdings* are still to be compared with what the job believes.
    """
    ours = run.plan_to_record()
    if plan is None:
        if ours is not None:
            run.emit(RecordPlan(plan=ours))
        return True
    if ours is None:  # the service counted as lost when the job began to plan anew
        _keep(run, plan, holdings, name)
        run.emit(RecordPlan(plan=plan))
        run.begin(plan, adopted=True)
        return False
    if plan != ours:
        run.end(Outcome.FAILED, str(PlansDifferError([name])))
    return plan == ours


def _compare_copies(run: JobRun, name: ServiceId, holdings: dict[AttemptId, Found]) -> None:
    """Find out which copies that the job counts on are there; takes them out of *holdings*."""
    for stage, index, output in _copied_to(run, name):
        if stage.tasks[index].state is TaskState.KEEPING:
            continue  # it may not be there yet
        item = holdings.get(output.id)
        there = item is not None and item.copy and item.output.table == output.table
        if there and not run.was_dropped(output.id, name):
            del holdings[output.id]
        else:
            run.lose_at(stage, output.id, name, f"partition service {name} no longer has it")


def _compare_sealed(run: JobRun, name: ServiceId, holdings: dict[AttemptId, Found]) -> bool:
    """Find out which outputs that the job counts on are there; takes them out of *holdings*.

    Returns:
        Whether the service was asked to seal one anew, which it has not written down yet.
    """
    sealed_anew = False
    uncommitted = run.phase is JobPhase.RUNNING
    for stage, index, output in _sealed_at(run, name):
        item = holdings.pop(output.id, None)
        if not output.table:
            # There is a note only, for the next coordinator. The service can make it again, unless
            # it was of an older epoch: then a file that the output wants is made again.
            gone = item is None or item.copy
            if gone and (item is not None or output.id.epoch == run.epoch):
                run.seal(stage, index, output)
                sealed_anew = True
            elif gone and output.file and index not in stage.missing and uncommitted:
                run.miss(stage, index)
        elif item is not None and item.copy and not run.was_dropped(output.id, name):
            # The service was killed before it had written down that this copy is read now.
            if index not in stage.missing:
                stage.miss(index)
            run.adopt(item)
        elif item is None or item.output.table != output.table or run.was_dropped(output.id, name):
            if index not in stage.missing:
                run.miss(stage, index)
        elif index in stage.missing:
            run.found_again(stage, index)
    run.reopen_lost(f"partition service {name} no longer has it")
    return sealed_anew


def _compare_unsealed(
    run: JobRun,
    name: ServiceId,
    holdings: dict[AttemptId, Found],
    unsealed: Sequence[AttemptId],
    *,
    restarted: bool,
) -> None:
    """Find out what became of attempts that were being pushed, kept or sealed there."""
    for attempt in unsealed:
        stage = run.stage_of(attempt)
        if stage is None:
            continue
        output = stage.tasks[attempt.task].output
        settling = output if output is not None and output.id == attempt else None
        item = holdings.get(attempt)
        if settling is not None and item is not None and item.output.table == settling.table:
            if settling.copy == name and item.copy:
                del holdings[attempt]
                run.kept(stage, attempt.task, attempt, name)
            elif settling.service == name and not item.copy:
                del holdings[attempt]
                run.sealed(stage, attempt.task, attempt, name)
            elif settling.service == name:
                del holdings[attempt]  # a copy that is to be read: its seal is asked for
        elif restarted and (settling is None or settling.table):
            # (A seal without data goes on: it is asked for until it is answered.)
            run.lose_at(stage, attempt, name, f"partition service {name} restarted without it")


def _offer(run: JobRun, attempt: AttemptId, item: Found) -> None:
    """Find the place of a sealed attempt that the job does not know of."""
    stage = run.stages[attempt.stage] if attempt.stage < len(run.stages) else None
    if run.plan is None or (stage is not None and not stage.planned):
        run.inventory.keep(item)
    else:
        run.adopt(item)


def _sealed_at(run: JobRun, name: ServiceId) -> list[tuple[StageRun, int, Output]]:
    return [
        (stage, index, output)
        for stage, index, output in _outputs(run)
        if output.service == name and stage.tasks[index].state is TaskState.DONE
    ]


def _copied_to(run: JobRun, name: ServiceId) -> list[tuple[StageRun, int, Output]]:
    return [found for found in _outputs(run) if found[2].copy == name]


def _outputs(run: JobRun) -> Iterator[tuple[StageRun, int, Output]]:
    for stage in run.plan_stages:
        for index, task in enumerate(stage.tasks):
            if task.output is not None:
                yield stage, index, task.output
