"""What follows from what partition services and readers say about single attempts' outputs."""

from disco_engine.core import label_table
from disco_engine.core.actions import Work
from disco_engine.core.events import Kept, OutputLost, Sealed, SealRefused
from disco_engine.core.job_run import JobRun
from disco_engine.core.model import AttemptResult, Failure, FailureKind, ServiceId
from disco_engine.core.services import Service
from disco_engine.core.stages import StageRun
from disco_engine.core.task_events import Output, Run
from disco_engine.core.task_state import SETTLING
from disco_engine.core.values import MAX_JOB_BYTES

NOWHERE = ServiceId("")
"""Who keeps what plan and commit leave: nobody."""

TOO_MANY_VALUES = (
    f"the job's tasks leave more than {MAX_JOB_BYTES // 1024**2} MiB beside their records (put):"
    " emit what is large as records"
)


def output_of(run: JobRun, stage: StageRun, live: Run, result: AttemptResult) -> Output | Failure:
    """Return what a finished attempt left, or why it is no good after all."""
    service, copy = NOWHERE, None
    if stage.work is Work.PLAN:
        if result.plan is None or not result.plan.stages:
            text = "its plan has no stage: a job needs at least one"
            return Failure(kind=FailureKind.FATAL, message=text)
        run.answer_plan(result.plan)
    elif stage.work is Work.RUN:
        keeper, copier = _keepers(run, live)
        if keeper is None:
            text = "no partition service was there to keep the seal"
            return Failure(kind=FailureKind.INFRASTRUCTURE, message=text)
        if not run.values.room_for(live.id.ref, result.values):
            return Failure(kind=FailureKind.FATAL, message=TOO_MANY_VALUES)
        service, copy = keeper.id, copier.id if copier else None
    return Output(
        id=live.id,
        service=service,
        table=label_table.pack(result.labels) if stage.pushes else label_table.EMPTY,
        records_in=result.records_in,
        bytes_in=result.bytes_in,
        file=result.output_file,
        file_records=result.output_records,
        values=result.values,
        copy=copy,
    )


def _keepers(run: JobRun, live: Run) -> tuple[Service | None, Service | None]:
    """Return who seals a finished attempt, and who keeps a copy of it, if they are there."""
    services = run.services
    if live.service is not None:
        return services.get(live.service), services.get(live.copy) if live.copy else None
    keeper = services.to_seal()  # it has pushed nothing: anybody can
    copier = services.to_copy(keeper) if keeper and run.settings.copies > 1 else None
    return keeper, copier


def sealed(run: JobRun, event: Sealed) -> None:
    """React to a service that has sealed an attempt."""
    attempt = event.id
    stage = run.stage_of(attempt)
    if stage is None or stage.work is not Work.RUN:
        if attempt.epoch == run.epoch:
            run.drop(attempt, event.service)
        return
    output = stage.tasks[attempt.task].output
    if attempt.epoch != run.epoch and not (output and output.is_at(attempt, event.service)):
        run.drop(attempt, event.service)  # a copy that was found here, and given up since
        return
    run.sealed(stage, attempt.task, attempt, event.service)


def kept(run: JobRun, event: Kept) -> None:
    """React to a service that keeps a copy of an attempt."""
    stage = run.own_stage_of(event.id)
    if stage is None or stage.work is not Work.RUN:
        run.drop(event.id, event.service)
    else:
        run.kept(stage, event.id.task, event.id, event.service)


def seal_refused(run: JobRun, event: SealRefused) -> None:
    """React to a service that cannot seal or keep an attempt."""
    attempt = event.id
    stage = run.stage_of(attempt)
    run.services.ended(event.service, attempt)
    output = stage.tasks[attempt.task].output if stage else None
    if stage is None or output is None or output.id != attempt:
        return
    reason = f"partition service {event.service} could not seal it: {event.reason}"
    run.lose_at(stage, attempt, event.service, reason)


def output_lost(run: JobRun, event: OutputLost) -> None:
    """React to a reader that found a sealed output damaged."""
    attempt = event.id
    stage = run.stage_of(attempt)
    task = stage.tasks[attempt.task] if stage else None
    output = task.output if task else None
    if stage is None or task is None:
        run.drop(attempt, event.service)
    elif output is not None and output.has_copy_at(attempt, event.service):
        return  # nobody has read that
    elif output is None or not output.is_at(attempt, event.service):
        run.drop(attempt, event.service)  # somebody read what does not count
    elif task.state in SETTLING:  # sealed already, as it seems; the answer is late
        run.lose_at(stage, attempt, event.service, event.reason)
    elif output.table and attempt.task not in stage.missing:
        text = f"{run.name_of(stage, attempt.task)}: its output is lost: {event.reason}"
        failure = Failure(kind=FailureKind.INFRASTRUCTURE, message=text)
        run.announce("task-failed", text, stage=stage, attempt=attempt, failure=failure)
        run.miss(stage, attempt.task)
        run.reopen_lost(event.reason)
