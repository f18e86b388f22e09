"""The worker's slots: which attempts each has, and that a process serves it as long as needed."""

import asyncio
import logging
import shutil
import signal
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from disco.v1 import coordinator_pb2, slot_pb2
from disco_engine.core.model import Failure, FailureKind
from disco_engine.worker.attempts import Attempt
from disco_engine.worker.process import SlotProcess
from disco_engine.worker.slot.channel import UNFIT_STATUS

log = logging.getLogger(__name__)

_RETRY_S = 0.5
_START_TRIES = 10
_LAST_STACK_S = 0.25  # for a process to write where it is, before it is killed


class SlotError(Exception):
    """Slot processes cannot be started, or one cannot do what only slots can."""


class SlotMemoryError(SlotError):
    """A slot was killed because the container has reached its memory limit."""

    def __init__(self) -> None:
        super().__init__(
            "the memory limit of the container was reached, and the kernel killed a slot: raise"
            " spec.workers.resources.limits.memory, or have the job need less"
        )


class SlotOwner(Protocol):
    """What slots tell the worker."""

    def slot_said(self, slot: "Slot", message: slot_pb2.FromSlot) -> None:
        """Take a message."""

    def slot_started(self, slot: "Slot") -> None:
        """Take note that the slot can be given attempts."""

    def slot_ended(self, slot: "Slot", failure: Failure, output: str) -> None:
        """Take note that the process is gone.

        *failure* is that of the attempt that ran in it, if there was one, and *output* what that
        had printed. What was waiting in the slot is still in ``slot.waiting``.
        """


class Slot:
    """A place for one running attempt and a few that wait for it; outlives its processes.

    Attributes:
        waiting: Given to the process, in this order, and not yet started.
        running: Started and not yet reported.
        started_at: When, on the event loop's clock; means something while ``running`` is set.
        progress: What the running attempt last said; None: nothing yet.
        ready: The process has loaded the user's program, or knows why it cannot.
    """

    def __init__(
        self,
        index: int,
        scratch: Path,
        owner: SlotOwner,
        out_of_memory: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make a slot that has no process yet.

        Args:
            index: Its place among the worker's slots.
            scratch: Where its temporary files go.
            owner: The worker.
            out_of_memory: Asked when a process was killed: whether that was for want of memory,
                so that the worker should end. No attempt is charged for it.
        """
        self.waiting: deque[Attempt] = deque()
        self.running: Attempt | None = None
        self.started_at = 0.0
        self.progress: coordinator_pb2.AttemptProgress | None = None
        self.ready = False
        self._index = index
        self._scratch = scratch
        self._owner = owner
        self._out_of_memory = out_of_memory
        self._clock = asyncio.get_running_loop().time
        self._process: SlotProcess | None = None
        self._process_scratch = scratch
        self._processes = 0
        self._started = 0  # attempts, by this process
        self._setup: slot_pb2.Setup | None = None
        self._greeted = False  # the process has got it
        self._condemned = False  # the process is being killed
        self._verdict: Failure | None = None  # and this is what the running attempt is told
        self._farewell: slot_pb2.Stop | None = None
        self._dismissed = False  # no further process is needed

    # --- what the worker decides --------------------------------------------------------------

    @property
    def load(self) -> int:
        """How many attempts it has."""
        return len(self.waiting) + (self.running is not None)

    @property
    def available(self) -> bool:
        """Whether it can be given attempts."""
        return self._process is not None and not self._condemned and self._farewell is None

    def busy_for(self, now: float) -> float:
        """Return for how many seconds its attempt has been running; 0.0: none is."""
        return 0.0 if self.running is None else now - self.started_at

    def set_up(self, setup: slot_pb2.Setup) -> None:
        """Have this and all later processes load the program that *setup* describes."""
        self._setup = setup
        self._greet()

    def give(self, attempts: Sequence[Attempt]) -> None:
        """Have *attempts* run after those that it has."""
        for attempt in attempts:
            attempt.slot = self
        self.waiting.extend(attempts)
        self.send(*(slot_pb2.ToSlot(run=attempt.task) for attempt in attempts))

    def recall(self, attempts: Sequence[Attempt]) -> None:
        """Take back some of those that wait."""
        if not attempts:
            return
        for attempt in attempts:
            attempt.slot = None
            self.waiting.remove(attempt)
        refs = [attempt.task.attempt for attempt in attempts]
        self.send(slot_pb2.ToSlot(forget=slot_pb2.Forget(attempts=refs)))

    def send(self, *messages: slot_pb2.ToSlot) -> None:
        """Send *messages* in order; nothing happens if there is no process."""
        if self._process is not None:
            self._process.protocol.send(*messages)

    async def drain(self) -> None:
        """Wait until the process has taken most of what was sent."""
        if self._process is not None:
            await self._process.protocol.drain()

    def pause(self) -> None:
        """Read nothing from the process until ``resume``."""
        if self._process is not None:
            self._process.protocol.pause()

    def resume(self) -> None:
        """Read from the process again."""
        if self._process is not None:
            self._process.protocol.resume()

    def begin(self, attempt: Attempt) -> None:
        """Take note that the process has started the first of those that wait.

        A process that is being killed starts nothing: what it says it did is done elsewhere.
        """
        if self._condemned:
            return
        self.waiting.popleft()
        self.running = attempt
        self.started_at = self._clock()
        self._started += 1

    def finish(self) -> str:
        """Take note that the running attempt is over, and return what it printed."""
        self.running = None
        self.progress = None
        return "" if self._process is None else self._process.output_of(self._started)

    def kill(self, *, for_good: bool = False) -> None:
        """End the process at once; a new one takes its place unless this is *for_good*."""
        self._dismissed = self._dismissed or for_good
        if self._process is not None:
            self._condemned = True
            self._process.kill()

    def condemn(self, verdict: Failure) -> None:
        """End the process because of its attempt, which fails with *verdict*.

        The process gets a moment to write into its output where it is.
        """
        if self._process is None or self._condemned:
            return
        self._condemned = True
        self._verdict = verdict
        self._process.signal(signal.SIGUSR2)
        asyncio.get_running_loop().call_later(_LAST_STACK_S, self._process.kill)

    def dismiss(self, farewell: slot_pb2.Stop) -> None:
        """Have ``run`` end: soon if the slot is idle, else by killing what runs.

        If output is to be removed and no process is free to do it, a new one is started for that.
        """
        self._farewell = farewell
        useless = not self.ready and not farewell.remove_output
        if self.load or not self._greeted or useless:
            self.kill(for_good=not farewell.remove_output)
        else:
            self._greet()

    # --- its processes ------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a process running until the slot is dismissed.

        Raises:
            SlotError: That does not work at all, or output could not be removed.
        """
        failures = 0
        while not self._dismissed:
            scratch = self._scratch / f"slot-{self._index}-{self._processes}"
            self._processes += 1
            try:
                scratch.mkdir(parents=True)
                problem = await self._run_process(scratch)
            except OSError as error:
                problem = f"no process can be started: {error}"
            finally:
                # In a thread: user code may have left any number of files.
                await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
            failures = failures + 1 if problem else 0
            if failures == _START_TRIES:
                raise SlotError(f"slot {self._index} cannot start: {problem}")
            if problem and not self._dismissed:
                log.warning("slot does not start", extra={"slot": self._index, "reason": problem})
                await asyncio.sleep(_RETRY_S)

    async def _run_process(self, scratch: Path) -> str:
        """Run one process to its end; return why it was of no use, if it was not."""
        process = await SlotProcess.start(
            scratch, lambda message: self._owner.slot_said(self, message)
        )
        self._process = process
        self._process_scratch = scratch
        self._started = 0
        self._verdict = None
        self.ready = self._condemned = self._greeted = False
        if self._dismissed:
            process.kill()
        else:
            self._greet()
            self._owner.slot_started(self)
        status, error = await process.wait()
        self._greeted = False
        return self._bury(process, status, error)

    def _greet(self) -> None:
        """Tell the process what it has to know, as far as that is known yet."""
        if self._process is None or self._setup is None:
            return
        if not self._greeted:
            self._greeted = True
            setup = slot_pb2.Setup()
            setup.CopyFrom(self._setup)
            setup.scratch_dir = str(self._process_scratch)
            self.send(slot_pb2.ToSlot(setup=setup))
        if self._farewell is not None and not self._dismissed:
            self._dismissed = True
            self.send(slot_pb2.ToSlot(stop=self._farewell))

    def _bury(self, process: SlotProcess, status: int, error: Exception | None) -> str:
        self._process = None
        if status == -signal.SIGKILL and not self._condemned and self._out_of_memory():
            raise SlotMemoryError
        stillborn = not self.ready and not self._condemned and not self._dismissed
        failure = self._verdict or _crash(status, error, loading=stillborn)
        if stillborn and self.waiting:
            self.begin(self.waiting[0])  # it is the program's fault, so somebody has to pay
        output = process.output_of(max(self._started, 1))
        useless = stillborn and self.running is None
        expected = status in (0, UNFIT_STATUS) or self._condemned or self._dismissed
        if self.running is not None or not expected:
            log.warning(
                "slot ended",
                extra={"slot": self._index, "pid": process.pid, "reason": failure.message},
            )
        self._owner.slot_ended(self, failure, output)
        self.progress = None
        if self._dismissed and status and self._farewell and self._farewell.remove_output:
            if status == UNFIT_STATUS:
                self._dismissed = False  # it was told too late; the next process will do it
                return ""
            raise SlotError(f"the temporary output could not be removed: {output}")
        return f"{failure.message}; {output}" if useless else ""


def _crash(status: int, error: Exception | None, *, loading: bool) -> Failure:
    """Return what the attempt is told whose slot ended with *status*."""
    kind = FailureKind.USER
    if error is not None:
        kind = FailureKind.INFRASTRUCTURE
        text = f"could not be understood: {type(error).__name__}: {error}"
    elif status >= 0:
        text = f"exited with status {status}: the code ended its own process"
    else:
        text = f"was killed by signal {-status} ({_signal_name(-status)}): " + (
            "out of memory, or the code killed its own process"
            if -status == signal.SIGKILL
            else "native code crashed, or the code killed its own process"
        )
    whose = "the slot that loaded the job" if loading else "the slot running it"
    return Failure(kind=kind, message=f"{whose} {text}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
