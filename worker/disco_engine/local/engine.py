"""Runs one job on this machine: the cluster's programs as supervised processes on loopback.

The coordinator, the partition services and the workers are started at once, each knowing the
others' addresses beforehand; whatever dies is started again; at the end nothing is left.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from disco.v1 import common_pb2, coordinator_pb2, job_pb2
from disco_engine.local.client import CoordinatorClient
from disco_engine.local.commands import Commands
from disco_engine.local.errors import EngineError, NoRoomError
from disco_engine.local.machine import check_bearable
from disco_engine.local.ports import ReservedPort
from disco_engine.local.progress import ProgressBoard
from disco_engine.local.rundir import RunDirectory
from disco_engine.local.session import session_token
from disco_engine.local.staff import Staff
from disco_engine.local.supervisor import (
    SILENCE_S,
    ChildEnded,
    ChildStatus,
    Role,
    Supervisor,
)
from disco_engine.local.values import RunValues
from disco_engine.rpc import TOKEN_VARIABLE

log = logging.getLogger(__name__)

_CANCEL_PATIENCE_S = 5.0
_FINISH_PATIENCE_S = 10.0  # for workers that the coordinator has told to finish
_OVER_PATIENCE_S = 2.0


class LocalEngine:
    """One job on this machine.

    Everything may be called from any thread. Use it as a context manager, or call ``close``; what
    is still open when Python exits is closed then.

    Args:
        spec: The job.
        workers: Worker processes, at least 1.
        slots: Tasks that each runs at the same time, at least 1.
        partition_services: Processes that keep what tasks write, at least 1, and at least as many
            as the job wants copies of each output. Service *i* and every worker whose number is *i*
            modulo their number count as one node.
        token: What the processes prove to each other; None: ``session_token()``.
        run_dir: An empty or new directory for the run's files; None: a temporary one. ``close``
            removes it.
        keep_logs: ``close`` leaves the processes' logs. (After an EngineError it always does.)
        silence_s: A process that does not react for so long is killed and started again.
        values_file: Where to keep what tasks left beside their records, from the job's end on;
            None: in the run's directory. Another file is the caller's to remove, and what is in it
            can be asked for after ``close`` as well.

    Raises:
        ValueError: A number is less than 1, or more than this machine can take.
        OSError: The directory or a port cannot be had.
    """

    def __init__(
        self,
        spec: job_pb2.JobSpec,
        *,
        workers: int = 2,
        slots: int = 1,
        partition_services: int = 1,
        token: str | None = None,
        run_dir: Path | None = None,
        keep_logs: bool = False,
        silence_s: float = SILENCE_S,
        values_file: Path | None = None,
    ) -> None:
        check_bearable(workers, slots, partition_services)
        partition_services = max(partition_services, spec.settings.copies)
        self._owner = os.getpid()
        self._spec = spec
        self._workers = workers  # at the start
        self._slots = slots
        self._services = partition_services
        self._token = session_token() if token is None else token
        self._keep_logs = keep_logs
        self._board = ProgressBoard()
        self._reduced = threading.Event()  # only what holds results is left
        self._closing = threading.Lock()
        self._closed = False
        self._gave_up = False  # so nobody else removes what is left of the job's output
        self._client: CoordinatorClient | None = None
        self._watcher = threading.Thread(target=self._watch, name="watch-job", daemon=True)
        self._directory = RunDirectory(run_dir)
        self._values = RunValues(
            values_file or self._directory.path / "values", self._board, self._directory.logs
        )
        self._ports: list[ReservedPort] = []
        try:
            self._ports.extend(ReservedPort() for _ in range(1 + partition_services))
        except OSError:
            self._release()
            raise
        self._commands = Commands(
            job_uid=spec.uid,
            directory=self._directory,
            coordinator_port=self._ports[0],
            service_ports=self._ports[1:],
            slots=slots,
        )
        self._supervisor = Supervisor(
            logs=self._directory.logs,
            environment={**os.environ, TOKEN_VARIABLE: self._token},
            inherited_fd=self._directory.lock_fd,
            on_end=self._child_ended,
            silence_s=silence_s,
        )
        self._staff = Staff(self._commands, self._supervisor)

    def start(self) -> Self:
        """Start all processes, without waiting for them.

        Raises:
            OSError: A process cannot be started.
        """
        atexit.register(self.close)
        try:
            self._start_all()
            self._client = CoordinatorClient(self._ports[0].address, self._token)
            self._values.client = self._client
            self._watcher.start()
        except BaseException as error:
            problem = self._directory.full() if isinstance(error, OSError) else ""
            self.kill()
            if problem:
                raise NoRoomError(problem) from error
            raise
        return self

    def watch(self) -> Iterator[coordinator_pb2.WatchReply]:
        """Yield the job's progress whenever it changes, with the events since the last time.

        The last reply has a phase that is an end. A coordinator that dies and comes back is not
        noticed but for its events, which count from 1 again. The local engine's own events
        ("process-restarted") have the number 0.

        Raises:
            EngineError: A process does not stay alive.
        """
        return self._board.follow()

    def events(self, after: int = 0) -> list[tuple[int, coordinator_pb2.JobEvent]]:
        """Return the events so far that are kept, but for the first *after* that there ever were.

        Each has the number that it has among all of this run.
        """
        return self._board.numbered(after)

    def wait(self, timeout_s: float | None = None) -> coordinator_pb2.JobProgress:
        """Wait for the job's end and return its last progress; the phase says how it ended.

        Raises:
            EngineError: A process does not stay alive.
            TimeoutError: The job still runs after *timeout_s* seconds.
        """
        return self._board.result(timeout_s)

    @property
    def progress(self) -> coordinator_pb2.JobProgress | None:
        """The newest progress; None before the coordinator has told any."""
        return self._board.progress

    def cancel(self, reason: str) -> None:
        """Ask the job to stop; it has when ``wait`` returns.

        Does nothing if the job is over. If the coordinator cannot be asked, all is killed.
        """
        if self._client is None or self._board.over:
            return
        if not self._client.cancel(reason, _CANCEL_PATIENCE_S):
            self._fail("the coordinator could not be asked to cancel the job")

    def scale(self, workers: int) -> list[str]:
        """Have so many worker processes: start those that are missing, tell others to end.

        Those that are too many, the youngest, take no more tasks, finish what they run or hand it
        back after 15 s, which counts neither as a failure nor as an attempt, and are not started
        again. Nothing happens once the job is over.

        Args:
            workers: At least 1.

        Returns:
            Ids of those that were told to end, for ``see_off``.

        Raises:
            ValueError: The number is less than 1, or more than this machine can take.
            OSError: A process cannot be started; those that could be, are there.
        """
        check_bearable(workers, self._slots, self._services)
        return self._staff.scale(workers)

    def see_off(self, workers: Sequence[str]) -> None:
        """Wait until worker processes that ``scale`` told to end have; kill them if need be."""
        self._staff.see_off(workers)

    def results(self) -> list[coordinator_pb2.ResultPart]:
        """Return where the result's parts are, in order; they can be read until ``close``.

        Empty before the job has succeeded, and if it wrote to an output.
        """
        return [] if self._board.progress is None else list(self._board.progress.results)

    def services(self) -> list[str]:
        """Return host:port of the partition services; they have results until ``close``."""
        return [port.address for port in self._ports[1:]]

    def values(
        self, key: str = "", prefix: str = "", *, keys_only: bool = False
    ) -> list[common_pb2.NamedValue]:
        """Return what finished tasks left beside their records, ascending by key, until ``close``.

        Args:
            key: Only this one. Empty: all whose keys begin with *prefix*.
            prefix: See *key*.
            keys_only: Leave the values out.

        Raises:
            EngineError: They are not there any more, or the coordinator does not answer.
        """
        return self._values.select(key, prefix, keys_only=keys_only)

    def children(self) -> list[ChildStatus]:
        """Return the processes: partition services, coordinator, workers."""
        return self._supervisor.children()

    @property
    def run_dir(self) -> Path:
        """The directory with the run's files."""
        return self._directory.path

    def stop_workers(self) -> None:
        """Wait for the job's end and until only processes that hold its results are left.

        That happens by itself; this only waits.
        """
        self._board.wait_over()
        self._reduced.wait()

    def kill(self) -> None:
        """End all processes at once, without asking them, and remove all files."""
        self._board.fail(EngineError("the local engine was told to end at once"))
        self._staff.hire_no_more()
        self._supervisor.kill()
        self._release()

    def close(self) -> None:
        """Cancel the job if it still runs, end all processes, remove all files.

        Does nothing the second time, nor in a process that was forked from the engine's. If it is
        interrupted, it kills instead.
        """
        if os.getpid() != self._owner:
            return
        try:
            with self._closing:
                if not self._closed:
                    self._end_job()
                    self._supervisor.stop(Role.PARTITION_SERVICE, patience_s=0.0)
                    self._release()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- the processes ------------------------------------------------------------------------

    def _start_all(self) -> None:
        """Start every process, the first to be needed first.

        Raises:
            OSError: One cannot be started.
        """
        for child in self._commands.services():
            self._supervisor.start(child)
        job_file = self._directory.path / "job.pb"
        job_file.write_bytes(self._spec.SerializeToString())
        self._spec = _without_code(self._spec)
        self._supervisor.start(self._commands.coordinator(job_file))
        self._staff.scale(self._workers)

    def _child_ended(self, ended: ChildEnded) -> bool:
        """Say whether to start a child again, and tell those who watch."""
        if ended.given_up:
            self._fail("\n".join(filter(None, (self._directory.full(), ended.reason))))
            return False
        if ended.role is Role.WORKER and ended.status == 0 and self._over_soon():
            return False  # the coordinator had told it to finish
        text = f"{ended.reason}; it is started again"
        self._board.post(
            None,
            [
                coordinator_pb2.JobEvent(
                    time_s=time.time(), kind="process-restarted", worker_id=ended.id, text=text
                )
            ],
        )
        return True

    def _over_soon(self) -> bool:
        return self._board.wait_over(_OVER_PATIENCE_S)

    # --- the job ------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Show what the coordinator tells, until the job is over; then end what is not needed."""
        assert self._client is not None
        try:
            for reply in self._client.watch():
                self._board.post(reply.progress, reply.events)
                if self._board.over:
                    break
        except Exception as error:
            self._fail(f"the coordinator cannot be watched: {error}")
        self._reduce()

    def _reduce(self) -> None:
        """End the processes that do not hold results."""
        self._staff.hire_no_more()
        self._values.keep()
        told = self._board.error is None  # the coordinator has told the workers to finish
        self._supervisor.stop(Role.WORKER, patience_s=_FINISH_PATIENCE_S if told else 0.0)
        self._supervisor.stop(Role.COORDINATOR, patience_s=0.0)
        if not self.results():
            self._supervisor.stop(Role.PARTITION_SERVICE, patience_s=0.0)
        if self._gave_up and self._spec.HasField("output"):
            self._remove_output()
        self._reduced.set()

    def _remove_output(self) -> None:
        from disco_engine import outputs  # needs fsspec, which most runs never load

        url = self._spec.output.url
        try:
            outputs.remove_temporary(url, self._spec.uid)
        except Exception as error:
            log.warning("partial output is left", extra={"url": url, "reason": str(error)})

    def _fail(self, message: str) -> None:
        """End the run because a process does not do what it should."""
        if self._board.fail(EngineError(message, self._directory.logs)):
            self._keep_logs = self._gave_up = True
        if self._client is not None:
            self._client.close()

    def _end_job(self) -> None:
        """Have the job end if it has not, and wait until its workers are gone."""
        if not self._watcher.is_alive():
            return
        self.cancel("the local engine was closed")
        if not self._board.wait_over(_CANCEL_PATIENCE_S):
            self._fail(f"the job did not stop within {_CANCEL_PATIENCE_S:g} s of being cancelled")
        self._watcher.join()

    def _release(self) -> None:
        """Give back all that is not a process. Doing it again does nothing."""
        self._closed = True
        if self._client is not None:
            self._client.close()
        for port in self._ports:
            port.release()
        self._directory.remove(keep_logs=self._keep_logs)
        atexit.unregister(self.close)


def _without_code(spec: job_pb2.JobSpec) -> job_pb2.JobSpec:
    """Return what the engine itself needs to know: an engine may live long after its job."""
    return job_pb2.JobSpec(uid=spec.uid, output=spec.output if spec.HasField("output") else None)
