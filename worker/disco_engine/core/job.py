"""One whole job: events in, actions out.

``JobMachine`` is what the coordinator runs, and the simulator and the tests with it. It has no
clock, does no I/O and draws no random numbers, so the same events always give the same actions. It
changes itself (copying 50,000 tasks per event would be absurd), but a single task changes through
``core.task.step`` only.

::

    PLANNING --plan recorded or found--> RUNNING --last stage sealed--> COMMITTING --> SUCCEEDED
       |                                    |          (no output: at once SUCCEEDED)
       +------------------------------------+----------------+--> FAILED, CANCELLED

Here is only which event makes which moves. Where to find the rest: ``job_run`` the moves from stage
to stage, ``job_attempts`` those about single attempts, ``task`` the life of a task, ``stage_tasks``
and ``stages`` a stage's tasks and what they left, ``grouping`` which tasks there are and what they
read, ``giving``, ``dispatch``, ``scheduling`` and ``recalls`` who runs what, ``workers``,
``exclusion`` and ``services`` who is there, ``speculation`` and ``yardstick`` which slow attempts
get rivals, ``seals`` what services say about single attempts, ``reattach`` and ``inventory`` what
they were found to hold, ``losses`` what has to be made again, ``disks`` when they are full,
``values`` what tasks leave beside their records.
"""

from collections.abc import Collection
from dataclasses import replace

from disco_engine.core import label_table
from disco_engine.core.actions import (
    Action,
    CancelAttempt,
    FinishJob,
    JobPhase,
    Outcome,
    ResultPart,
    StageCounts,
)
from disco_engine.core.disks import DiskPatience
from disco_engine.core.events import (
    AttemptFailed,
    AttemptFinished,
    AttemptReturned,
    AttemptsProgressed,
    CancelRequested,
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
    Tick,
    WorkerDraining,
    WorkerHeard,
    WorkerJoined,
    WorkerLost,
)
from disco_engine.core.giving import ask_back, assign, start_rivals
from disco_engine.core.job_run import JobRun
from disco_engine.core.model import (
    AttemptId,
    Failure,
    FailureKind,
    Plan,
    ServiceId,
    WorkerId,
)
from disco_engine.core.reattach import service_attached, service_lost
from disco_engine.core.scheduling import AVOID_S, Avoid
from disco_engine.core.seals import NOWHERE, kept, output_lost, output_of, seal_refused, sealed
from disco_engine.core.settings import JobSettings
from disco_engine.core.stages import StageRun
from disco_engine.core.task_events import Failed, Finished, Output, Returned, Run
from disco_engine.core.values import ValueBook
from disco_engine.core.workers import StageFilter

_COUNTED = frozenset({FailureKind.USER, FailureKind.DATA})

OUTPUT_COMPLETE = (
    "the job's output is complete already: it was committed before this coordinator started"
)


class JobMachine:
    """The coordinator's decisions about one job.

    Args:
        settings: Limits of the job.
        epoch: Of this coordinator, at least 1, greater than that of any before it.
        has_output: The last stage writes to the job's output, and a commit task ends the job.
        services: The partition services the job was started with. It waits until each was
            attached or lost before it plans.
        now: Seconds on the coordinator's monotonic clock; the deadline counts from here.
    """

    def __init__(
        self,
        settings: JobSettings,
        *,
        epoch: int,
        has_output: bool,
        services: Collection[ServiceId],
        now: float,
    ) -> None:
        self._settings = settings
        self._run = JobRun(settings, epoch=epoch, has_output=has_output, services=services, now=now)
        self._started_at = now
        self._disks = DiskPatience()

    # --- what the shell may read --------------------------------------------------------------

    @property
    def phase(self) -> JobPhase:
        """How far the job is."""
        return self._run.phase

    @property
    def plan(self) -> Plan | None:
        """The plan in force; None until it is recorded or found."""
        return self._run.plan

    @property
    def outcome(self) -> FinishJob | None:
        """How the job ended; None while it runs."""
        return self._run.finish

    @property
    def worker_count(self) -> int:
        """Workers that are there, draining and excluded ones included."""
        return len(self._run.workers)

    @property
    def slot_count(self) -> int:
        """Slots of those workers."""
        return self._run.workers.slots

    @property
    def values(self) -> ValueBook:
        """What the tasks that are done left beside their records; for reading only."""
        return self._run.values

    @property
    def knows_values(self) -> bool:
        """Whether the services have told what earlier coordinators had sealed, or it is over."""
        return self._run.started or self._run.finish is not None

    def stage_counts(self) -> list[StageCounts]:
        """Return the plan's stages in numbers, in order; empty until there is a plan."""
        takers = self._run.workers.takers
        return [
            replace(stage.counts(), workers=takers(stage.chosen_as).workers)
            for stage in self._run.plan_stages
        ]

    def untaken_stages(self) -> list[str]:
        """Return the stages that have ready tasks, but no worker that may be given them."""
        return [
            stage.name
            for stage in self._run.plan_stages
            if stage.queue and not self._run.workers.takers(stage.chosen_as).workers
        ]

    def results(self) -> list[ResultPart]:
        """Return where the records of the last stage are, in part order.

        Tasks that left nothing in a partition service have no part. Meaningful once the job has
        succeeded.
        """
        stages = self._run.plan_stages
        if not stages:
            return []
        return [
            ResultPart(
                service=output.service,
                stage=stages[-1].number,
                task=index,
                totals=label_table.total(output.table),
            )
            for index, output in stages[-1].done_outputs()
            if output.table
        ]

    # --- events -------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Action]:
        """Return what the shell must do about *event*, in that order.

        After ``FinishJob`` the answer is always empty.

        Raises:
            IllegalTransition: The event speaks of an attempt that never was: a bug.
        """
        run = self._run
        if run.finish is not None:
            return []
        run.now = max(run.now, getattr(event, "now", run.now))
        self._react(event)
        if run.finish is None:
            run.end_pauses()
            assign(run)
            if isinstance(event, Tick):
                start_rivals(run)
        actions, run.actions = run.actions, []
        return actions

    def _react(self, event: Event) -> None:
        run = self._run
        match event:
            case AttemptFinished():
                self._attempt_finished(event)
            case Sealed():
                sealed(run, event)
            case Kept():
                kept(run, event)
            case CreditGranted():
                self._credit_granted(event)
            case WorkerHeard():
                run.workers.heard(event.worker, event.now)
            case AttemptsProgressed():
                run.workers.progressed(event.worker, event.records, event.now)
            case AttemptFailed():
                self._attempt_failed(event)
            case AttemptReturned():
                self._attempt_returned(event)
            case Tick():
                self._tick(event.now)
            case WorkerJoined():
                self._worker_joined(event)
            case WorkerDraining():
                run.workers.drain(event.worker)
                run.wake_all = True  # an exclusion may have been lifted
            case WorkerLost():
                self._worker_lost(event.worker, event.reason)
            case ServiceAttached():
                service_attached(run, event)
            case ServiceLost():
                service_lost(run, event.service, event.reason)
            case ServiceFull():
                run.services.set_full(event.service, event.full, event.reason)
                run.wake_all = True
            case PlanRecorded():
                run.plan_recorded()
            case SealRefused():
                seal_refused(run, event)
            case OutputLost():
                output_lost(run, event)
            case CancelRequested():
                run.end(Outcome.CANCELLED, event.reason or "somebody cancelled the job")

    # --- workers ------------------------------------------------------------------------------

    def _worker_joined(self, event: WorkerJoined) -> None:
        run = self._run
        known = run.workers.get(event.worker)
        stages = StageFilter(event.only_stages, event.except_stages)
        worker = run.workers.join(event.worker, event.node, event.slots, event.now, stages)
        if known is None:
            text = f"{worker.place}, {worker.slots} slots"
            run.announce("worker-joined", text, worker=worker.id)
        for attempt in [live for live in worker.live if live not in event.attempts]:
            self._lose(attempt, f"worker {worker.id} came back without the attempt")
        for attempt in sorted(event.attempts):
            if attempt not in worker.live and not self._is_output(attempt):
                reason = "the attempt was given up while the worker was away"
                run.emit(CancelAttempt(worker=worker.id, id=attempt, reason=reason))
        run.wake_all = True  # shares have changed

    def _credit_granted(self, event: CreditGranted) -> None:
        worker = self._run.workers.get(event.worker)
        if worker is not None:
            worker.credit += event.tasks
            worker.heard = event.now
            self._run.wake = worker.id

    def _worker_lost(self, name: WorkerId, reason: str) -> None:
        run = self._run
        worker = run.workers.lose(name)
        if worker is None:
            return
        text = f"{worker.place} with {len(worker.live)} attempts: {reason}"
        run.announce("worker-lost", text, worker=name)
        for attempt in worker.live:
            self._lose(attempt, f"worker {name} was lost: {reason}")
        run.wake_all = True

    def _lose(self, attempt: AttemptId, reason: str) -> None:
        stage = self._run.own_stage_of(attempt)
        if stage is not None:
            self._run.lose(stage, attempt, reason)

    def _is_output(self, attempt: AttemptId) -> bool:
        stage = self._run.stage_of(attempt)
        output = None if stage is None else stage.tasks[attempt.task].output
        return output is not None and output.id == attempt

    # --- attempts -----------------------------------------------------------------------------

    def _attempt_finished(self, event: AttemptFinished) -> None:
        run, attempt = self._run, event.id
        run.workers.heard(event.worker, event.now)
        run.wake = event.worker
        stage = run.own_stage_of(attempt)
        if stage is None:
            return
        live = stage.tasks[attempt.task].run_of(attempt)
        if live is None:  # decided before; the step only checks that it ever was
            stage.apply(attempt.task, Finished(Output(attempt, NOWHERE)))
            return
        stage.yardstick.add(run.release(live), event.result.records_in)
        if event.result.output_complete:
            run.end(Outcome.SUCCEEDED, OUTPUT_COMPLETE)
            return
        output = output_of(run, stage, live, event.result)
        if isinstance(output, Failure):
            run.carry_out(stage, attempt.task, stage.apply(attempt.task, Failed(attempt, output)))
        else:
            run.finished(stage, output)

    def _attempt_failed(self, event: AttemptFailed) -> None:
        run, attempt, failure = self._run, event.id, event.failure
        run.workers.heard(event.worker, event.now)
        run.wake = event.worker
        stage = run.own_stage_of(attempt)
        if stage is None:
            return
        live = stage.tasks[attempt.task].run_of(attempt)
        if live is None:
            stage.apply(attempt.task, Failed(attempt, failure))
            return
        run.release(live)
        text = f"{run.name_of(stage, attempt.task)}: {failure.message}"
        run.announce(
            "task-failed", text, stage=stage, attempt=attempt, worker=live.worker, failure=failure
        )
        blameless = live.inputs != stage.inputs_version
        if failure.kind in _COUNTED or not blameless:
            self._hold_against(stage, live, failure)
        told = Failed(attempt, failure, blameless)
        run.carry_out(stage, attempt.task, stage.apply(attempt.task, told))

    def _attempt_returned(self, event: AttemptReturned) -> None:
        run, attempt = self._run, event.id
        run.workers.heard(event.worker, event.now)
        run.wake = event.worker
        run.recalls.returned()
        stage = run.own_stage_of(attempt)
        if stage is None:
            return
        live = stage.tasks[attempt.task].run_of(attempt)
        if live is not None:
            run.release(live)
        run.carry_out(stage, attempt.task, stage.apply(attempt.task, Returned(attempt)))

    def _hold_against(self, stage: StageRun, live: Run, failure: Failure) -> None:
        """Have the task avoid where it failed, and the worker avoided if that repeats."""
        run = self._run
        worker = run.workers.get(live.worker)
        node = worker.node if worker and failure.kind is FailureKind.DATA else None
        stage.avoid[live.id.task] = Avoid(live.worker, node, run.now + AVOID_S)
        if failure.kind not in _COUNTED:
            return
        if run.workers.note_failure(live.worker, live.id.ref, run.now, stage.chosen_as):
            text = f"worker {live.worker} gets no tasks for a while: different ones failed on it"
            run.announce("excluded", text, worker=live.worker)
            run.wake_all = True

    # --- time ---------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        run = self._run
        lease = self._settings.worker_lease_s
        for name in run.workers.silent(now):
            self._worker_lost(name, f"nothing was heard of it for {lease:g} s")
        run.workers.end_exclusions(now)
        run.wake_all = True
        ask_back(run)
        deadline = self._settings.deadline_s
        if deadline and now - self._started_at > deadline:
            text = f"the job ran longer than its deadline of {deadline:g} s; raise deadline_s"
            run.end(Outcome.FAILED, text)
        self._disks.check(run, now)
