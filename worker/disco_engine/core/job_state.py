"""The state of one job while it runs.

The moves of ``core.job_run`` and ``core.job_attempts`` change it. Here is what there is, how it is
found, and how the user is told of it.
"""

from collections.abc import Collection

from disco_engine.core.actions import Action, Announce, FinishJob, JobPhase, Work
from disco_engine.core.dispatch import Dispatcher
from disco_engine.core.inventory import Inventory
from disco_engine.core.model import AttemptId, Failure, Plan, ServiceId, WorkerId
from disco_engine.core.pauses import Pauses
from disco_engine.core.recalls import Recalls
from disco_engine.core.services import ServicePool
from disco_engine.core.settings import JobSettings
from disco_engine.core.speculation import Speculation
from disco_engine.core.stages import StageRun
from disco_engine.core.task_state import Limits
from disco_engine.core.values import ValueBook
from disco_engine.core.workers import WorkerPool


class JobState:
    """One job while it runs: what is known of it.

    Attributes:
        now: The newest time any event told, on the coordinator's clock.
        phase: How far the job is.
        values: What the tasks that are done left beside their records.
        plan: The plan in force; None until it is recorded or found.
        finish: How the job ended; None while it runs.
        actions: What the shell must do, in order; whoever takes it leaves an empty list.
        stages: The plan stage; once the plan is known, its stages; the commit stage, if any.
        started: It is known which services there are, so the job has begun.
        wake_all: Something changed that may give any worker a task.
        wake: A worker that may be given a task.
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
        self.settings = settings
        self.epoch = epoch
        self.has_output = has_output
        self.now = now
        self.phase = JobPhase.PLANNING
        self.plan: Plan | None = None
        self.finish: FinishJob | None = None
        self.actions: list[Action] = []
        self.workers = WorkerPool(settings.worker_lease_s, settings.exclude_after_failures)
        self.services = ServicePool(services)
        self.inventory = Inventory()
        self.values = ValueBook()
        self.started = False
        self.wake_all = False
        self.wake: WorkerId | None = None
        self._limits = Limits(settings.max_attempts, settings.max_consecutive_losses)
        self.stages = [StageRun(0, Work.PLAN, "plan", limits=self._limits, values=self.values)]
        self.dispatcher = Dispatcher(
            epoch, self.stages, self.workers, self.services, copies=settings.copies
        )
        self.recalls = Recalls(self.stages, self.workers, self.services)
        self.speculation = Speculation(
            settings, self.stages, self.workers, self.services, self.recalls
        )
        # What the plan task answered, while the services are asked to record it.
        self._answered: Plan | None = None
        self._plan_adopted = False
        self._pauses = Pauses()
        # The plan's last stage is complete; these have not written down their part of it yet.
        self._to_audit: set[ServiceId] = set()
        # What a service was told to forget, sealed, copy or neither: it never counts again there.
        self._dropped: set[tuple[AttemptId, ServiceId]] = set()

    # --- finding things -----------------------------------------------------------------------

    @property
    def plan_stages(self) -> list[StageRun]:
        """The stages of the plan, in order; empty until it is known."""
        return [stage for stage in self.stages if stage.work is Work.RUN]

    def stage_of(self, attempt: AttemptId) -> StageRun | None:
        """Return the stage in which *attempt*'s task exists (now); None: there is no such task."""
        if not 0 <= attempt.stage < len(self.stages):
            return None
        stage = self.stages[attempt.stage]
        return stage if 0 <= attempt.task < len(stage.tasks) else None

    def own_stage_of(self, attempt: AttemptId) -> StageRun | None:
        """Return the same, but only for attempts that this coordinator started."""
        return self.stage_of(attempt) if attempt.epoch == self.epoch else None

    def name_of(self, stage: StageRun, index: int) -> str:
        """Return what to call a task in a sentence."""
        if stage.work is Work.RUN:
            return f"stage {stage.name}, task {index}"
        return f"the {stage.name} task"

    # --- telling ------------------------------------------------------------------------------

    def emit(self, action: Action) -> None:
        """Have the shell do something."""
        if self.finish is None:
            self.actions.append(action)

    def announce(
        self,
        kind: str,
        text: str,
        *,
        stage: StageRun | None = None,
        attempt: AttemptId | None = None,
        worker: WorkerId | None = None,
        failure: Failure | None = None,
    ) -> None:
        """Tell the user something."""
        name = stage.name if stage else ""
        self.emit(
            Announce(
                kind=kind, text=text, stage_name=name, id=attempt, worker=worker, failure=failure
            )
        )
