"""When a job gives up because the disks of all its partition services are full."""

from disco_engine.core.actions import Outcome
from disco_engine.core.job_run import JobRun

FULL_PATIENCE_S = 20.0
"""How long a job waits, when all disks are full and nothing runs that could free any."""


class DiskPatience:
    """Since when a job has waited for space that nothing it runs could free."""

    def __init__(self) -> None:
        self._stuck_since: float | None = None

    def check(self, run: JobRun, now: float) -> None:
        """Fail the job if it has waited for too long."""
        waits = any(stage.pushes and stage.queue for stage in run.stages)
        if not (waits and run.services.all_full and not run.workers.live):
            self._stuck_since = None
            return
        if self._stuck_since is None:
            self._stuck_since = now
        if now - self._stuck_since >= FULL_PATIENCE_S:
            full = sorted((service.id, service.full_reason) for service in run.services)
            disks = "; ".join(f"{name}: {reason}" if reason else name for name, reason in full)
            text = "no partition service takes more output, and nothing runs that could free space"
            run.end(Outcome.FAILED, f"{text} ({disks})")
