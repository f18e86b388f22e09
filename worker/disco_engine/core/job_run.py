"""The moves that one job can make; ``core.job`` decides which event makes which.

A move changes the state (``core.job_state``) and appends to its ``actions`` what the shell must do.
After the job has finished, nothing is appended any more. Here are those from the plan through the
stages to the end; those about single attempts are in ``core.job_attempts``.
"""

from disco_engine.core.actions import Audit, JobPhase, Outcome, Work
from disco_engine.core.grouping import UNKNOWN_NODE
from disco_engine.core.inventory import Found
from disco_engine.core.job_attempts import JobAttempts
from disco_engine.core.model import AttemptId, Plan, ServiceId
from disco_engine.core.pipeline import stages_of
from disco_engine.core.stages import StageRun
from disco_engine.core.task_events import Adopted, CopyFound, Finished, Output, Sealed
from disco_engine.core.task_state import SETTLING, TaskState


class JobRun(JobAttempts):
    """One job while it runs, and what can be done with it."""

    # --- the plan -----------------------------------------------------------------------------

    def start_planning(self) -> None:
        """Let a worker make the plan."""
        self.stages[0].plan()
        self.stages[0].open_inputs(renewed=False)
        self.wake_all = True

    def answer_plan(self, plan: Plan) -> None:
        """Remember what the plan task answered, to be recorded next."""
        self._answered = plan

    def plan_to_record(self) -> Plan | None:
        """Return the plan that a newly attached service must keep; None: there is none yet."""
        return self.plan or self._answered

    def plan_recorded(self) -> None:
        """Start with the plan that was answered; every service has it now."""
        stage = self.stages[0]
        output = stage.tasks[0].output if stage.tasks else None
        if self.plan is None and self._answered is not None and output is not None:
            self.carry_out(stage, 0, stage.apply(0, Sealed(output.id, output.service)))
            self.begin(self._answered, adopted=False)

    def begin(self, plan: Plan, *, adopted: bool) -> None:
        """Start the first stage of *plan*.

        Args:
            plan: What to do.
            adopted: An earlier coordinator made it, so what was sealed for it is still good.
        """
        planning = self.stages[0]
        if planning.planned and not planning.complete:
            nobody = Output(AttemptId(0, 0, 0, 0), ServiceId(""))
            self.carry_out(planning, 0, planning.apply(0, Adopted(nobody)))
        self.plan = plan
        self._plan_adopted = adopted
        self.phase = JobPhase.RUNNING
        self.stages += stages_of(plan, self._limits, self.values, has_output=self.has_output)
        if not adopted:
            for item in self.inventory.take_all():
                self.drop(item.output.id, item.output.service)
        self._plan_stage(self.stages[1])
        self._advance(self.stages[1])

    # --- attempts that may complete a stage ---------------------------------------------------

    def finished(self, stage: StageRun, output: Output) -> None:
        """Take over that an attempt ended well, and left *output*."""
        index = output.id.task
        self.carry_out(stage, index, stage.apply(index, Finished(output)))
        if stage.work is Work.COMMIT:  # nobody has to seal anything
            self.sealed(stage, index, output.id, output.service)

    def sealed(self, stage: StageRun, index: int, attempt: AttemptId, service: ServiceId) -> None:
        """Take over that a service sealed an attempt."""
        before, first = stage.tasks[index].state, not stage.any_done
        self.services.ended(service, attempt)
        self.carry_out(stage, index, stage.apply(index, Sealed(attempt, service)))
        self.wake_all |= first and stage.any_done  # workers may queue its tasks from now on
        if before in SETTLING and self._counted_in(stage, index, service):
            self._advance(stage)

    def adopt(self, item: Found) -> None:
        """Take over what a service was found to have of an attempt, or have it dropped."""
        stage = self.stage_of(item.output.id)
        if self._adopt(item) and stage is not None:
            self._advance(stage)

    def _adopt(self, item: Found) -> bool:
        attempt, service = item.output.id, item.output.service
        stage = self.stage_of(attempt)
        if stage is None or not self._may_adopt(stage, item):
            self.drop(attempt, service)
            return False
        before = stage.tasks[attempt.task].state
        told = CopyFound(item.output) if item.copy else Adopted(item.output)
        self.carry_out(stage, attempt.task, stage.apply(attempt.task, told))
        if before is TaskState.DONE or before in SETTLING:
            return False
        return self._counted_in(stage, attempt.task, service)

    def _may_adopt(self, stage: StageRun, item: Found) -> bool:
        attempt = item.output.id
        if stage.work is not Work.RUN or self.was_dropped(attempt, item.output.service):
            return False
        # What an earlier coordinator did is worth nothing under another plan than its own.
        same_plan = self._plan_adopted or attempt.epoch == self.epoch
        same_task = same_plan and stage.groups[attempt.task] == item.group
        return same_task and self.values.room_for(attempt.ref, item.output.values)

    def _counted_in(self, stage: StageRun, index: int, service: ServiceId) -> bool:
        """Count a task in if its last step made it done; return whether it did."""
        if stage.tasks[index].state is not TaskState.DONE:
            return False
        home = self.services.get(service)
        stage.count_in(index, home.node if home else UNKNOWN_NODE)
        return True

    # --- from stage to stage ------------------------------------------------------------------

    def _plan_stage(self, stage: StageRun) -> None:
        stage.plan()
        self.announce("stage-started", f"{len(stage.tasks)} tasks", stage=stage)
        for item in self.inventory.take(stage.number):
            self._adopt(item)
        stage.open_inputs(renewed=False)
        self.wake_all = True

    def _advance(self, stage: StageRun) -> None:
        """Go on with the next stage, and the next, as far as they are complete."""
        while stage.complete and self.finish is None:
            stage.finished_s = self.now
            if stage.started_s is None:
                stage.started_s = self.now
            if stage.work is Work.RUN:
                self.announce("stage-finished", self._what_is_done(stage), stage=stage)
                if stage.number == len(self.plan_stages) and self._write_down(stage):
                    return
            following = self._go_on_after(stage)
            if following is None:
                return
            stage = following

    def _what_is_done(self, stage: StageRun) -> str:
        text = f"{len(stage.tasks)} tasks"
        if self.settings.copies > 1 and (alone := stage.without_copy()):
            text += f"; the output of {alone} of them is kept once only"
        return text

    def _go_on_after(self, stage: StageRun) -> StageRun | None:
        """Begin or continue the stage after a complete one, and return it; None: nothing to do."""
        if stage.number + 1 == len(self.stages):
            self.end(Outcome.SUCCEEDED)
            return None
        following = self.stages[stage.number + 1]
        if following.complete:  # it had read what it needed before that was lost and made again
            following.open_inputs(renewed=True)
            return None
        self._go_on_to(following)
        return following

    def _go_on_to(self, stage: StageRun) -> None:
        """Plan or continue a stage whose inputs are complete (again)."""
        if stage.work is Work.COMMIT:
            self.phase = JobPhase.COMMITTING
        if not stage.planned:
            self._plan_stage(stage)
            return
        if stage.extend():
            self.reopen_lost("a task that was not foreseen reads it")
        if stage.before is None or stage.before.complete:
            stage.open_inputs(renewed=True)
            self.wake_all = True

    # --- the last stage -----------------------------------------------------------------------

    def _write_down(self, last: StageRun) -> bool:
        """Have those who hold the result of *last* write it down; return whether there are any.

        If it is in files, they know which of them won. A coordinator that came after the commit
        and did not find that would have the files made again, where they are no longer expected.
        """
        keepers = {output.service for _, output in last.done_outputs() if output.table}
        if self.has_output:
            keepers = {output.service for _, output in last.done_outputs()}
            keepers &= {service.id for service in self.services}
        self._to_audit = keepers | self._keepers_of_values()
        for service in sorted(self._to_audit):
            self.emit(Audit(service=service))
        return bool(self._to_audit)

    def _keepers_of_values(self) -> set[ServiceId]:
        """Return the services that can be asked now, and hold what is read by name afterwards."""
        if not self.values.size:
            return set()
        outputs = (task.output for stage in self.plan_stages for task in stage.tasks)
        keepers = {output.service for output in outputs if output and output.values}
        return {service.id for service in self.services if service.id in keepers}

    def audited(self, service: ServiceId, *, again: bool = False) -> None:
        """Note that a service has told what it holds, and that it is written down; or is gone.

        If something of the result was missing, its tasks run again, and the end comes later.

        Args:
            service: Which.
            again: It was asked to seal something anew: that has to be written down, too.
        """
        if service not in self._to_audit:
            return
        if again:
            self.emit(Audit(service=service))
            return
        self._to_audit.discard(service)
        last = self.plan_stages[-1]
        if not self._to_audit and last.complete and self.finish is None:
            following = self._go_on_after(last)
            if following is not None:
                self._advance(following)
