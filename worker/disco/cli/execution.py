"""Carries out one ``disco run``: the engine, the display and the signals together."""

import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from disco import session
from disco.cli.display import display_for
from disco.cli.ending import Ending
from disco.cli.errors import reader_gone
from disco.cli.interrupts import Interrupts
from disco.cli.preparation import Prepared, prepare
from disco.cli.request import JobRequest, Showing, WrongUseError
from disco.core import result_iterator
from disco.error import DataError
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.errors import EngineError

_TICK_S = 1.0
_PROFILE_LINES = 40


class _WatchEnded:
    """No more progress comes."""


_Item = coordinator_pb2.WatchReply | signal.Signals | _WatchEnded


def execute(request: JobRequest, showing: Showing, *, keep_logs: bool) -> int:
    """Run the job, show it, print its results; return the exit status.

    Args:
        request: What to run.
        showing: What to show of it.
        keep_logs: Keep the logs of all processes, and say where.

    Raises:
        WrongUseError: There is no such job, or it makes no sense.
    """
    return run_prepared(prepare(request), showing, notes=_ignored(request), keep_logs=keep_logs)


def run_prepared(
    prepared: Prepared, showing: Showing, *, notes: tuple[str, ...] = (), keep_logs: bool = False
) -> int:
    """Run what has been prepared, show it, print its results; return the exit status.

    Args:
        prepared: What to run.
        showing: What to show of it.
        notes: To tell before it runs.
        keep_logs: Keep the logs of all processes, and say where.

    Raises:
        WrongUseError: It makes no sense.
    """
    try:
        engine = LocalEngine(
            prepared.spec,
            workers=prepared.workers,
            slots=prepared.slots,
            partition_services=prepared.partition_services,
            keep_logs=keep_logs,
        )
    except ValueError as error:
        raise WrongUseError(str(error)) from error
    except OSError as error:
        return Ending(prepared.spec.name, showing).broken(f"cannot be started: {error}")
    run = session.Run(
        name=prepared.spec.name,
        spec=prepared.spec,
        engine=engine,
        owner="",
        workers=prepared.workers,
        slots=prepared.slots,
    )
    session.add(run)  # where result_iterator looks for results
    return _Execution(run, showing, notes, keep_logs=keep_logs).run()


def _ignored(request: JobRequest) -> tuple[str, ...]:
    """Return what to tell of a manifest that says more than this machine can do."""
    if request.manifest is None or not request.manifest.cluster_only:
        return ()
    return (f"only for clusters, ignored here: {', '.join(request.manifest.cluster_only)}",)


class _Execution:
    """One run of one job, from its start to the exit status."""

    def __init__(
        self, run: session.Run, showing: Showing, notes: tuple[str, ...], *, keep_logs: bool
    ) -> None:
        self._showing = showing
        self._notes = notes
        self._keep_logs = keep_logs
        self._run = run
        self._engine = run.engine
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._interrupts = Interrupts(self._items)
        self._display = display_for(quiet=showing.quiet, as_json=showing.as_json, title=run.name)
        self._ending = Ending(run.name, showing)

    def run(self) -> int:
        """Run the job and tell how it ended; return the exit status."""
        with self._interrupts:
            try:
                status = self._run_job()
            except KeyboardInterrupt:
                status = 1
            finally:
                self._interrupts.urgent = True
                self._display.close()
                with suppress(KeyboardInterrupt):  # it has ended everything all the same
                    self._engine.close()
        if self._keep_logs:
            self._ending.logs_are_in(self._engine.run_dir)
        if status and self._interrupts.received:
            return 128 + self._interrupts.received
        return status

    def _run_job(self) -> int:
        try:
            self._engine.start()
        except OSError as error:
            self._display.close()
            return self._ending.broken(f"cannot be started: {error}")
        try:
            progress = self._follow()
            self._interrupts.urgent = True
            self._display.close()
            spec = self._run.spec
            output = spec.output if spec.HasField("output") else None
            status = self._ending.tell(progress, self._records(), output=output)
            if self._showing.profile:
                self._print_profile()
            return status
        except EngineError as error:
            self._display.close()
            if self._interrupts.received:
                return self._ending.killed()
            return self._ending.broken(f"cannot go on: {error}")
        except DataError as error:
            return self._ending.broken(f"has lost the results: {error}")
        except BrokenPipeError:
            return reader_gone()

    def _follow(self) -> coordinator_pb2.JobProgress:
        """Show the job until it is over, and do what signals ask for meanwhile."""
        for note in self._notes:
            self._display.note(note)
        threading.Thread(target=self._pump, name="pump-progress", daemon=True).start()
        signals = 0
        while True:
            try:
                item = self._items.get(timeout=_TICK_S)
            except queue.Empty:
                self._display.tick()
                continue
            match item:
                case coordinator_pb2.WatchReply():
                    self._display.show(item)
                case _WatchEnded():
                    return self._engine.wait()
                case signal.Signals():
                    signals += 1
                    self._stop(item, again=signals > 1)

    def _pump(self) -> None:
        """Make items of the engine's progress."""
        with suppress(EngineError):  # wait() will raise it, too
            for reply in self._engine.watch():
                self._items.put(reply)
        self._items.put(_WatchEnded())

    def _stop(self, number: signal.Signals, *, again: bool) -> None:
        """Have the job cancelled; the second time, end everything at once."""
        if again:
            self._engine.kill()
            return
        self._display.note(f"{number.name}: cancelling the job; once more to end at once")
        # In a thread, because the coordinator may take its time, and the next signal must not wait.
        threading.Thread(
            target=self._engine.cancel, args=(f"{number.name} received",), daemon=True
        ).start()

    def _print_profile(self) -> None:
        """Print where the functions spent their time, to standard error."""
        from disco import profiling

        found = self._engine.values(prefix=profiling.PREFIX)
        if found:
            stats = profiling.merged((value.value for value in found), sys.stderr)
            stats.print_stats(_PROFILE_LINES)

    def _records(self) -> Iterator[tuple[Any, Any]]:
        """Yield the job's results, from the partition services."""
        yield from result_iterator(self._run.urls())
