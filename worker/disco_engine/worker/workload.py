"""All attempts this worker has, and where each of them is.

    assign --> queue --give--> slot: waiting --> running --report--> (push: complete) --> reports
                 ^                      |
                 +-------recall---------+

``hand_back`` takes attempts out of the first two places and reports them at once.
Every attempt is in exactly one of these places until it is over. All decisions are made in plain
methods on the event loop, so none of them sees another one half done.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice
from pathlib import Path

from disco.v1 import common_pb2, coordinator_pb2, partition_pb2, slot_pb2
from disco_engine.core import label_table
from disco_engine.core.model import AttemptId, Failure, FailureKind, Totals
from disco_engine.wire import attempt_from_wire
from disco_engine.worker.attempts import Attempt
from disco_engine.worker.feeds import Feeds
from disco_engine.worker.pacing import Pace
from disco_engine.worker.push import BROKEN, PushLink, PushLinks, PushStatus
from disco_engine.worker.reports import ReportBook
from disco_engine.worker.slots import Slot

log = logging.getLogger(__name__)

STUCK_S = 0.1
"""An attempt that has run this long keeps none waiting behind it that another slot could run."""


class Workload:
    """Decides what runs where, and what the coordinator is told about it.

    Attributes:
        slots: The worker's slots.
        reports: What the coordinator is told.
        task_timeout_s: How long an attempt may run; 0: as long as it takes.
        settled: Set while there is no attempt that is not reported.
    """

    def __init__(
        self,
        slots: int,
        scratch: Path,
        *,
        feeds: Feeds,
        links: PushLinks,
        wake: Callable[[], None],
        out_of_memory: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make slots that have no process yet.

        Args:
            slots: How many.
            scratch: Where their temporary files go.
            feeds: Sends them what they read.
            links: Takes what they write.
            wake: Called when there is something to say to the coordinator.
            out_of_memory: Whether a slot was killed for want of memory; see ``Slot``.
        """
        self.slots = [Slot(index, scratch, self, out_of_memory) for index in range(slots)]
        self.reports = ReportBook()
        self.task_timeout_s = 0.0
        self.settled = asyncio.Event()
        self.settled.set()
        self._feeds = feeds
        self._links = links
        self._wake = wake
        self._pace = Pace(slots)
        self._queue: deque[Attempt] = deque()
        self._attempts: dict[AttemptId, Attempt] = {}
        self._credit = 0  # what was granted and not yet used
        self._refusing = False  # no more attempts are taken
        self._clock = asyncio.get_running_loop().time

    # --- for the coordinator ------------------------------------------------------------------

    def attempts(self) -> list[AttemptId]:
        """Return what this worker has, and what it has reported without being confirmed."""
        return [*self._attempts, *self.reports.attempts()]

    def reset_credit(self) -> None:
        """Take note that the coordinator has forgotten what it was granted."""
        self._credit = 0

    def grant(self) -> int:
        """Return how many more tasks to ask for now, which then count as granted."""
        if self._refusing:
            return 0
        depth = self._pace.depth
        held = len(self._queue) + sum(slot.load for slot in self.slots) + self._credit
        missing = depth - held
        # A few at a time would make many small messages.
        if missing < max(1, depth // 4):
            return 0
        self._credit += missing
        return missing

    def running(self) -> list[coordinator_pb2.AttemptProgress]:
        """Return how far the running attempts are; each status line is told once."""
        told = []
        for slot in self.slots:
            if slot.running is not None:
                progress = slot.progress or coordinator_pb2.AttemptProgress(
                    attempt=slot.running.task.attempt
                )
                told.append(progress)
                slot.progress = coordinator_pb2.AttemptProgress(
                    attempt=progress.attempt, records_in=progress.records_in
                )
        return told

    def assign(self, tasks: Iterable[coordinator_pb2.TaskAssignment]) -> None:
        """Have *tasks* run."""
        for task in tasks:
            attempt = Attempt(task)
            self._attempts[attempt.id] = attempt
            self._queue.append(attempt)
            self._credit -= 1
        if self._attempts:
            self.settled.clear()
        if self._refusing:
            self.refuse()
        self._dispatch()

    def cancel(self, refs: Iterable[common_pb2.AttemptRef]) -> None:
        """Forget attempts: those that run are killed."""
        for ref in refs:
            attempt = self._attempts.get(attempt_from_wire(ref))
            if attempt is not None:
                self._drop(attempt)
        self._dispatch()

    def hand_back(self, most: int, stages: Container[int]) -> None:
        """Report up to *most* attempts of *stages* as not started: others could start them now.

        The newest go first. What waits in a slot for a quick attempt stays: it is about to start.
        """
        waiting = (attempt for attempt in self._stranded() if attempt.id.stage in stages)
        for attempt in list(islice(waiting, most)):
            self._take_out(attempt)
            self._deliver(attempt, attempt.returned())

    def drop_all(self) -> None:
        """Forget all attempts, unless they are reported: those that run are killed."""
        self._queue.clear()
        for attempt in list(self._attempts.values()):
            self._drop(attempt)

    def refuse(self) -> None:
        """From now on take nothing, and hand back what has not been started."""
        self._refusing = True
        waiting = [*self._queue]
        self._queue.clear()
        for slot in self.slots:
            recalled = list(slot.waiting)
            slot.recall(recalled)
            waiting += recalled
        for attempt in waiting:
            self._take_out(attempt)
            self._deliver(attempt, attempt.returned())

    def give_up(self, reason: str) -> None:
        """Hand back everything that is left: what runs is lost, and its task runs elsewhere."""
        for attempt in list(self._attempts.values()):
            self._fail(attempt, _infrastructure(reason))

    def tick(self) -> None:
        """Look for attempts that have run for too long, or that others wait behind."""
        now = self._clock()
        for slot in self.slots:
            if self._overdue(slot, now):
                slot.condemn(
                    Failure(
                        kind=FailureKind.USER,
                        message=f"ran longer than its limit of {self.task_timeout_s:g} s:"
                        " make the task smaller, or raise the limit (--task-timeout)",
                    )
                )
        idle = any(slot.available and slot.ready and slot.load == 0 for slot in self.slots)
        for slot in self.slots:
            if idle and slot.waiting and _is_stuck(slot, now):
                recalled = list(slot.waiting)
                slot.recall(recalled)
                self._queue.extendleft(reversed(recalled))
        self._dispatch()
        self._wake()

    # --- for the slots ------------------------------------------------------------------------

    def slot_started(self, slot: Slot) -> None:
        """Use a slot that has got a process."""
        self._dispatch()

    def slot_said(self, slot: Slot, message: slot_pb2.FromSlot) -> None:
        """Take a message."""
        match message.WhichOneof("body"):
            case "started":
                self._started(slot, message.started)
            case "report":
                self._reported(slot, message.report)
            case "output":
                self._written(slot, message.output)
            case "open":
                if slot.running is not None:
                    self._feeds.open(slot, slot.running.task, message.open)
            case "close":
                self._feeds.close(slot)
            case "ask":
                if slot.running is not None:
                    self._feeds.ask(slot, message.ask.key)
            case "progress":
                if slot.progress is not None and not message.progress.status:
                    message.progress.status = slot.progress.status
                slot.progress = message.progress
            case "ready":
                slot.ready = True
                if message.ready.HasField("failure"):
                    log.warning(
                        "the job cannot be loaded", extra={"reason": message.ready.failure.message}
                    )
                self._dispatch()
            case None:
                log.warning("a slot said something that this worker does not know")

    def slot_ended(self, slot: Slot, failure: Failure, output: str) -> None:
        """Charge the attempt that ran; what waited behind it is run elsewhere."""
        self._feeds.forget(slot)
        running, slot.running = slot.running, None
        waiting = list(slot.waiting)
        slot.waiting.clear()
        for attempt in waiting:
            attempt.slot = None
        self._queue.extendleft(reversed(waiting))
        if running is not None:
            running.slot = None
            if not running.over:
                self._fail(running, failure, output)
        if self._refusing:
            self.refuse()
        self._dispatch()

    def _started(self, slot: Slot, ref: common_pb2.AttemptRef) -> None:
        first = slot.waiting[0] if slot.waiting else None
        if first is None or first.id != attempt_from_wire(ref):
            slot.kill()  # it was recalled, but too late
            return
        slot.begin(first)

    def _reported(self, slot: Slot, said: slot_pb2.SlotReport) -> None:
        attempt = slot.running
        self._feeds.forget(slot)  # a slot whose memory ran out leaves its source open
        status = slot.progress.status if slot.progress is not None else ""
        output = slot.finish()
        if attempt is None or attempt.over:
            self._dispatch()
            return
        attempt.slot = None
        report = said.report
        report.output = output
        report.status = report.status or status
        if said.HasField("damaged"):
            report.damaged.CopyFrom(said.damaged)
        if report.HasField("finished"):
            self._pace.observe(report.finished.seconds)
            if attempt.link is None:
                self._deliver(attempt, report)
            else:
                attempt.report = report
                for link in attempt.links:
                    link.complete(attempt.id, attempt.task, _sum(report.finished))
        else:
            attempt.abandon()
            self._deliver(attempt, report)
        self._dispatch()
        self._wake()

    def _written(self, slot: Slot, output: slot_pb2.OutputBlocks) -> None:
        attempt = slot.running
        if attempt is None or attempt.over:
            return
        run = attempt.task.run
        if attempt.link is None:
            attempt.link = self._links.to(run.push_to, self.pushed)
            if run.HasField("copy_to"):
                attempt.copy = self._links.to(run.copy_to, self.pushed)
        for link in attempt.links:
            link.add(attempt.id, attempt.task, output.blocks, output.ByteSize(), slot)

    # --- for the push links -------------------------------------------------------------------

    def pushed(
        self, attempt_id: AttemptId, link: PushLink, status: PushStatus, message: str
    ) -> None:
        """Report an attempt whose output has arrived, or has not.

        Whatever becomes of its copy: once that is known, the coordinator asks for it, and sees.
        """
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            return
        complete = status == partition_pb2.PUSH_STATUS_COMPLETE and attempt.report is not None
        if link is attempt.copy:
            attempt.copy = None
            if not complete:
                log.warning(
                    "an output will have no copy",
                    extra={"attempt": str(attempt_id), "service": link.service, "why": message},
                )
        elif complete:
            attempt.arrived = True
        else:
            self._not_pushed(attempt, link.service, status, message)
            return
        if attempt.arrived and attempt.copy is None and attempt.report is not None:
            self._deliver(attempt, attempt.report)

    def _not_pushed(self, attempt: Attempt, service: str, status: PushStatus, message: str) -> None:
        problem = {
            BROKEN: message,
            partition_pb2.PUSH_STATUS_DISK_FULL: message,
            partition_pb2.PUSH_STATUS_REFUSED: f"refused by {service}: {message}",
            partition_pb2.PUSH_STATUS_INCOMPLETE: f"blocks did not arrive at {service}: {message}",
        }.get(status, f"{service} answered with status {status}: {message}")
        output = "" if attempt.report is None else attempt.report.output
        self._fail(attempt, _infrastructure(problem), output)

    # --- where attempts go --------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Give queued attempts to slots: to those that have none, then to those that are quick."""
        queue = self._queue
        if not queue:
            return
        ahead = self._pace.pipeline
        now = self._clock()
        for most, least in ((1, 1), (1 + ahead, 1 + ahead // 2)):
            for slot in self.slots:
                if slot.load >= least or not slot.available:
                    continue
                if most > 1 and _is_stuck(slot, now):
                    continue
                count = min(most - slot.load, len(queue))
                slot.give([queue.popleft() for _ in range(count)])

    def _stranded(self) -> Iterator[Attempt]:
        """Yield the attempts that no slot will start in a moment, newest first."""
        yield from reversed(self._queue)
        now = self._clock()
        for slot in self.slots:
            if _is_stuck(slot, now):
                yield from reversed(slot.waiting)

    def _drop(self, attempt: Attempt) -> None:
        """Forget an attempt, wherever it is."""
        del self._attempts[attempt.id]
        self._take_out(attempt)
        self._check_settled()

    def _fail(self, attempt: Attempt, failure: Failure, output: str = "") -> None:
        """Report that an attempt failed, and take it out of wherever it is."""
        self._take_out(attempt)
        self._deliver(attempt, attempt.failed(failure, output))

    def _take_out(self, attempt: Attempt) -> None:
        attempt.over = True
        slot = attempt.slot
        attempt.abandon()
        if slot is not None and slot.running is attempt:
            slot.kill()
        elif slot is not None:
            slot.recall([attempt])
        elif attempt in self._queue:
            self._queue.remove(attempt)

    def _deliver(self, attempt: Attempt, report: coordinator_pb2.AttemptReport) -> None:
        attempt.over = True
        del self._attempts[attempt.id]
        self.reports.add(attempt.id, report)
        self._check_settled()
        self._wake()

    def _check_settled(self) -> None:
        if not self._attempts:
            self.settled.set()

    def _overdue(self, slot: Slot, now: float) -> bool:
        limit = self.task_timeout_s
        if not limit or slot.running is None or slot.running.task.HasField("commit"):
            return False
        return slot.busy_for(now) > limit


def _is_stuck(slot: Slot, now: float) -> bool:
    """Return whether nobody knows when the slot starts what waits in it."""
    return not slot.ready or slot.busy_for(now) > STUCK_S


def _infrastructure(message: str) -> Failure:
    return Failure(kind=FailureKind.INFRASTRUCTURE, message=message)


def _sum(result: coordinator_pb2.AttemptResult) -> Totals:
    return label_table.total(result.label_table)
