"""What follows, for one job, from what becomes of single attempts.

Outputs are sealed, dropped or missed, tasks tried again or given up; and where one is given up, the
job ends. Whether a stage is complete by that, and what comes then, ``core.job_run`` decides.
"""

from disco_engine.core import label_table
from disco_engine.core.actions import (
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
from disco_engine.core.job_state import JobState
from disco_engine.core.losses import reopen_needed
from disco_engine.core.model import AttemptId, Failure, FailureKind, ServiceId
from disco_engine.core.stages import StageRun
from disco_engine.core.task_events import (
    Action as TaskAction,
)
from disco_engine.core.task_events import (
    Cancelled,
    CopyLost,
    DiscardRun,
    DropOutput,
    GiveUp,
    KeepOutput,
    Kept,
    Lost,
    Output,
    Ready,
    Retry,
    Run,
    SealOutput,
    StopRun,
)
from disco_engine.core.task_state import TaskState

_PHASE_AFTER = {
    Outcome.SUCCEEDED: JobPhase.SUCCEEDED,
    Outcome.FAILED: JobPhase.FAILED,
    Outcome.CANCELLED: JobPhase.CANCELLED,
}


class JobAttempts(JobState):
    """What moves about single attempts change in a job."""

    # --- what follows from a task's step ------------------------------------------------------

    def carry_out(self, stage: StageRun, index: int, actions: list[TaskAction]) -> None:
        """Do what a task's step asked for."""
        for action in actions:
            match action:
                case SealOutput(output):
                    self.seal(stage, index, output)
                case KeepOutput(output):
                    sealer = self.services.get(output.service)
                    if sealer is not None:  # if it is lost before it is asked, that matters, too
                        self.services.assign(sealer, output.id)
                    self._order_seal(stage, index, output, output.copy)
                case StopRun(run, reason):
                    self.release(run)
                    if self.workers.get(run.worker) is not None:
                        self.emit(CancelAttempt(worker=run.worker, id=run.id, reason=reason))
                case DiscardRun(attempt, service):
                    self.services.ended(service, attempt)
                    if self.services.get(service) is not None:
                        self._dropped.add((attempt, service))  # it may be there as a copy
                    if self.services.knows(service):  # a lost one is told if it comes back
                        self.emit(Discard(service=service, id=attempt))
                case DropOutput(attempt, service):
                    self.drop(attempt, service)
                case Retry(after_s):
                    self._pause(stage, index, after_s)
                case GiveUp(reason, failure):
                    self._give_up(stage, index, reason, failure)

    def release(self, run: Run) -> float:
        """Note that an attempt no longer occupies its worker; return for how long it ran."""
        return self.workers.ended(run.worker, run.id, self.now)

    def drop(self, attempt: AttemptId, service: ServiceId) -> None:
        """Have a service delete a sealed attempt, or a copy, that must not be read."""
        if self.services.get(service) is not None:
            self._dropped.add((attempt, service))
            self.emit(Drop(service=service, id=attempt))

    def was_dropped(self, attempt: AttemptId, service: ServiceId) -> bool:
        """Return whether *service* was told to delete *attempt*, and may do so at any time."""
        return (attempt, service) in self._dropped

    def seal(self, stage: StageRun, index: int, output: Output) -> None:
        """Have the output of a finished attempt sealed, or the plan that it made recorded."""
        if stage.work is Work.RUN:
            self._order_seal(stage, index, output, output.service)
        elif stage.work is Work.PLAN and self._answered is not None:
            self.emit(RecordPlan(plan=self._answered))

    def _order_seal(
        self, stage: StageRun, index: int, output: Output, service: ServiceId | None
    ) -> None:
        """Have *service* seal an output, or keep it as a copy if another one seals it."""
        keeper = self.services.get(service) if service is not None else None
        if keeper is None:
            return  # it was lost, and what follows from that has been decided, or soon is
        self.services.assign(keeper, output.id)
        self.emit(
            Seal(
                service=keeper.id,
                id=output.id,
                group=stage.groups[index],
                expected=label_table.total(output.table),
                output_file=output.file,
                output_records=output.file_records,
                records_in=output.records_in,
                bytes_in=output.bytes_in,
                values=output.values,
                copy=keeper.id != output.service,
            )
        )

    def _pause(self, stage: StageRun, index: int, after_s: float) -> None:
        avoid = stage.avoid.get(index)
        if avoid is not None:
            stage.avoid[index] = avoid._replace(until=avoid.until + after_s)
        self._pauses.start(stage.tasks[index].ref, self.now + after_s)

    def end_pauses(self) -> None:
        """Make the tasks ready whose pause is over, if their inputs are complete."""
        for number, index in self._pauses.over(self.now):
            stage = self.stages[number]
            waits = index < len(stage.tasks) and stage.tasks[index].state is TaskState.WAITING
            if waits and stage.open:
                stage.apply(index, Ready())
                self.wake_all = True

    # --- losses -------------------------------------------------------------------------------

    def kept(self, stage: StageRun, index: int, attempt: AttemptId, service: ServiceId) -> None:
        """Take over that a service keeps a copy of an attempt."""
        output = stage.tasks[attempt.task].output
        if output is None or not output.is_at(attempt, service):  # else its seal is on the way
            self.services.ended(service, attempt)
        self.carry_out(stage, index, stage.apply(index, Kept(attempt, service)))

    def lose(self, stage: StageRun, attempt: AttemptId, reason: str) -> None:
        """Give up an attempt that ran or was being sealed."""
        failure = Failure(kind=FailureKind.INFRASTRUCTURE, message=reason)
        self.carry_out(stage, attempt.task, stage.apply(attempt.task, Lost(attempt, failure)))

    def lose_at(self, stage: StageRun, attempt: AttemptId, service: ServiceId, reason: str) -> None:
        """Give up what *service* was to have of an attempt, or had and has not sealed."""
        task = stage.tasks[attempt.task]
        output, live = task.output, task.run_of(attempt)
        if output is not None and output.has_copy_at(attempt, service):
            told = CopyLost(attempt, service)
            self.carry_out(stage, attempt.task, stage.apply(attempt.task, told))
        elif live is not None and live.service != service:
            return  # only its copy was pushed there: it goes on without
        elif live is not None or (output is not None and output.is_at(attempt, service)):
            self.lose(stage, attempt, reason)

    def miss(self, stage: StageRun, index: int) -> None:
        """Note that a sealed output is gone or unusable; ``reopen_lost`` decides what follows."""
        output = stage.tasks[index].output
        if output is not None:
            stage.miss(index)
            self.drop(output.id, output.service)

    def found_again(self, stage: StageRun, index: int) -> None:
        """Note that an output that was missing is there after all."""
        output = stage.tasks[index].output
        home = None if output is None else self.services.get(output.service)
        if home is not None:
            stage.found_again(index, home.node)

    def reopen_lost(self, reason: str) -> None:
        """Have missing outputs that somebody needs read from their copies, or made again."""
        for stage, index, actions in reopen_needed(self.plan_stages, reason):
            self.carry_out(stage, index, actions)

    # --- the end ------------------------------------------------------------------------------

    def _give_up(self, stage: StageRun, index: int, reason: str, failure: Failure) -> None:
        message = f"{self.name_of(stage, index)} {reason}"
        excluded = self.workers.excluded
        if excluded:
            message += (
                f" (different tasks kept failing on {', '.join(excluded)}, so they were given none"
                " for a while)"
            )
        self.end(Outcome.FAILED, message, failure)

    def end(self, outcome: Outcome, message: str = "", failure: Failure | None = None) -> None:
        """End the job: stop whatever runs, then finish."""
        if self.finish is not None:
            return
        unfinished = {attempt for worker in self.workers for attempt in worker.live}
        unfinished.update(attempt for service in self.services for attempt in service.unsealed)
        for attempt in sorted(unfinished):
            stage = self.stage_of(attempt)
            if stage is not None:
                actions = stage.apply(attempt.task, Cancelled(f"the job has {outcome}"))
                self.carry_out(stage, attempt.task, actions)
        self.announce("job-finished", message or f"the job has {outcome}", failure=failure)
        finish = FinishJob(
            outcome=outcome,
            message=message,
            failure=failure,
            remove_output=self.has_output and outcome is not Outcome.SUCCEEDED,
        )
        self.emit(finish)
        self.finish = finish
        self.phase = _PHASE_AFTER[outcome]
