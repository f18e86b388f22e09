"""Runs jobs on this machine: starts them in their turn, shares the workers, cleans up after them.

Everything here happens on the event loop, and decisions are made without waiting, so nothing needs
a lock. What an engine does, which blocks, happens in threads (``run``).
"""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from disco.v1 import job_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.errors import EngineError
from disco_gateway.local.job import CANCELLED, FAILED, LocalJob
from disco_gateway.local.run import Run, Threads
from disco_gateway.local.sharing import Demand, Policy, Resize, Start, decide, line

log = logging.getLogger(__name__)


class Runner:
    """The jobs that wait and run.

    Args:
        directory: For the files of all jobs; private to this user.
        capacity: Worker processes of all jobs together.
        policy: Who comes first.
        tasks: Owns everything that goes on.
        on_end: Called with each job that has ended.
    """

    def __init__(
        self,
        *,
        directory: Path,
        capacity: int,
        policy: Policy,
        tasks: asyncio.TaskGroup,
        on_end: Callable[[LocalJob], None],
    ) -> None:
        self._directory = directory
        self._capacity = capacity
        self._policy = policy
        self._tasks = tasks
        self._on_end = on_end
        # For each worker, at worst: a job that is followed and cancelled, and one that leaves.
        self._threads = Threads(4 * capacity + 16)
        self._active: dict[str, LocalJob] = {}  # that wait or run, by uid, in their order
        self._runs: dict[Run, LocalJob] = {}  # that have processes
        self._closing = False

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._active) - sum(1 for _ in self._running())

    async def keep(self, job: LocalJob, message: job_pb2.JobSpec) -> None:
        """Write down what a job is started with, which may be large.

        Raises:
            OSError: There is no room for it.
        """
        await self._threads.call(_write, self._file(job), message)

    def enqueue(self, job: LocalJob) -> None:
        """Let a job wait for its turn, which may be now."""
        self._active[job.uid] = job
        self.share()

    def share(self) -> None:
        """Start and resize jobs as they should be now."""
        if self._closing:
            return
        demands = [self._demand(job) for job in self._active.values()]
        current = {job.run for job in self._running()}
        taken = sum(run.holds for run in self._runs if run not in current)
        for decision in decide(self._capacity, demands, self._policy, taken=taken):
            job = self._active[decision.job]
            match decision:
                case Start():
                    self._start(job, decision.workers)
                case Resize():
                    assert job.run is not None
                    resizing = job.run.resize(decision.workers)
                    self._spawn(self._then_share(resizing), f"resize {job.name}")
        self._tell_places()

    def retry(self, job: LocalJob) -> None:
        """Let a job that has failed wait for its turn again, to run from its beginning."""
        if job.run is not None:
            self._spawn(job.run.remove(), f"remove {job.name}")
        job.again()
        self.enqueue(job)

    def cancel(self, job: LocalJob, reason: str) -> None:
        """Have a job end; it may take a moment."""
        if job.over or job.stop_reason:
            return
        job.stop_reason = reason
        if self._is_running(job):
            assert job.run is not None
            self._spawn(job.run.cancel(reason), f"cancel {job.name}")
        else:
            self._active.pop(job.uid)
            job.end(CANCELLED, "Cancelled", reason)
            self._on_end(job)
            self.share()

    def discard(self, job: LocalJob) -> None:
        """Remove what is left of a job that nobody can find any more; stop it if it runs."""
        job.deleted = True
        self.cancel(job, "the job was deleted")
        job.tell()
        self._clear(job)

    def drop_results(self, job: LocalJob, why: str) -> None:
        """Let go of what a job has left to be read."""
        job.lost = why
        job.tell()
        self._clear(job)

    def _clear(self, job: LocalJob) -> None:
        """Remove what is left of a job, unless ``_run`` is about to."""
        if job.run is None or job.run.over:
            self._spawn(self._remove(job, job.run), f"remove {job.name}")

    async def stop(self) -> None:
        """Cancel all jobs, start no more, and return when they are over."""
        self._closing = True
        jobs = list(self._active.values())
        for job in jobs:
            self.cancel(job, "the server has ended")
        for job in jobs:
            while not job.over:
                await job.changed.wait()

    async def close(self) -> None:
        """End everything, and remove all files."""
        await self.stop()
        async with asyncio.TaskGroup() as closing:
            for run in self._runs:
                closing.create_task(run.close())

    def forget(self) -> None:
        """Let go of threads and files, when nothing goes on any more."""
        self._threads.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def kill(self) -> None:
        """End all processes at once."""
        await asyncio.gather(*(asyncio.to_thread(run.kill) for run in self._runs))

    # --- one job ------------------------------------------------------------------------------

    def _start(self, job: LocalJob, workers: int) -> None:
        run = Run(self._threads, partial(self._engine, job), workers)
        self._runs[run] = job
        job.begin(run)
        self._spawn(self._run(job, run), f"run {job.name}")

    def _engine(self, job: LocalJob, workers: int) -> LocalEngine:
        """Return a new engine for a job; blocks."""
        self._values_file(job).unlink(missing_ok=True)  # of a run before this one
        return LocalEngine(
            job_pb2.JobSpec.FromString(self._file(job).read_bytes()),
            workers=workers,
            slots=job.order.slots,
            partition_services=job.order.services,
            values_file=self._values_file(job),
            run_dir=Path(tempfile.mkdtemp(prefix=f"{job.uid}-", dir=self._directory)),
        )

    async def _run(self, job: LocalJob, run: Run) -> None:
        """See a job through one run, and clean up after it."""
        try:
            await self._see_through(job, run)
        except Exception as error:
            log.exception("a job cannot be run", extra={"job": job.name})
            job.end(FAILED, "ServerError", f"the server has a bug: {type(error).__name__}")
        self._active.pop(job.uid, None)
        if not job.deleted:
            self._on_end(job)
        await run.reduced()
        self.share()
        if job.deleted:
            await self._remove(job, run)
        elif not job.holds_results:
            self._runs.pop(run, None)
            await run.close()
        if job.over and job.phase != FAILED:  # else it may be retried, or waits already
            self._file(job).unlink(missing_ok=True)

    async def _see_through(self, job: LocalJob, run: Run) -> None:
        try:
            await run.start()
            await run.follow(job.hear)
        except (OSError, ValueError, EngineError) as error:
            if job.stop_reason:
                job.end(CANCELLED, "Cancelled", job.stop_reason)
            else:
                job.end(FAILED, "EngineFailed", f"the job cannot run here: {error}")

    async def _then_share(self, doing: Coroutine[Any, Any, None]) -> None:
        await doing
        self.share()

    async def _remove(self, job: LocalJob, run: Run | None) -> None:
        if run is not None:
            await run.remove()
            self._runs.pop(run, None)
        self._file(job).unlink(missing_ok=True)
        if job.deleted:
            self._values_file(job).unlink(missing_ok=True)

    # --- all of them --------------------------------------------------------------------------

    def _demand(self, job: LocalJob) -> Demand:
        run = job.run if self._is_running(job) else None
        return Demand(
            job=job.uid,
            user=job.owner,
            asked=job.order.workers,
            keeps=0 if run is None else run.keeps,
            leaving=0 if run is None else run.leaving,
        )

    def _running(self) -> Iterator[LocalJob]:
        return (job for job in self._active.values() if self._is_running(job))

    def _is_running(self, job: LocalJob) -> bool:
        return job.uid in self._active and job.started is not None

    def _tell_places(self) -> None:
        """Tell those who wait how many are before them."""
        waiting = line([self._demand(job) for job in self._active.values()], self._policy)
        running = len(self._active) - len(waiting)
        who = "1 job has" if running == 1 else f"{running} jobs have"
        for place, uid in enumerate(waiting, start=1):
            self._active[uid].wait(
                f"number {place} of {len(waiting)} in line for a worker: {who} the"
                f" {self._capacity} that there are"
            )

    def _file(self, job: LocalJob) -> Path:
        return self._directory / f"{job.uid}.pb"

    def _values_file(self, job: LocalJob) -> Path:
        """Return where what tasks put beside records is kept: as long as the job is known."""
        return self._directory / f"{job.uid}.values"

    def _spawn(self, doing: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.create_task(_guarded(doing, name), name=name)


async def _guarded(doing: Coroutine[Any, Any, None], name: str) -> None:
    """Keep one job's trouble from ending all the others'."""
    try:
        await doing
    except Exception:
        log.exception("the server has a bug", extra={"doing": name})


def _write(path: Path, message: job_pb2.JobSpec) -> None:
    path.touch(mode=0o600)
    try:
        path.write_bytes(message.SerializeToString())
    except OSError:
        path.unlink(missing_ok=True)
        raise
