"""Turns what workers say into events for the machine and entries in the journal."""

import logging
from collections.abc import Callable
from dataclasses import replace

from disco.v1 import coordinator_pb2
from disco_engine.coordinator.driver import Driver
from disco_engine.coordinator.farewell import Farewell
from disco_engine.coordinator.progress import Journal
from disco_engine.coordinator.services import Services
from disco_engine.coordinator.workers import Session, Workers
from disco_engine.core.events import (
    AttemptFailed,
    AttemptFinished,
    AttemptReturned,
    AttemptsProgressed,
    CreditGranted,
    OutputLost,
    WorkerDraining,
    WorkerHeard,
    WorkerJoined,
    WorkerLost,
)
from disco_engine.core.model import Failure, FailureKind, NodeName, WorkerId
from disco_engine.wire import attempt_from_wire, failure_from_wire, result_from_wire

log = logging.getLogger(__name__)


class Hearing:
    """All that workers may say, whichever stream it comes on.

    Args:
        driver: Takes the events.
        workers: Knows which stream speaks for which worker.
        services: Is told when a reader missed something there.
        farewell: Greets those who come when the job is over.
        journal: Takes what user code printed.
        welcome: What every worker is told first.
        clock: The clock of the machine.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        workers: Workers,
        services: Services,
        farewell: Farewell,
        journal: Journal,
        welcome: coordinator_pb2.Welcome,
        clock: Callable[[], float],
    ) -> None:
        self._driver = driver
        self._workers = workers
        self._services = services
        self._farewell = farewell
        self._journal = journal
        self._welcome = coordinator_pb2.CoordinatorMessage(welcome=welcome)
        self._clock = clock

    def join(self, hello: coordinator_pb2.Hello) -> Session:
        """Let a worker in, for the first time or again."""
        now = self._clock()
        worker, node = WorkerId(hello.worker_id), NodeName(hello.node)
        session = self._workers.join(worker, node, hello.slots, now)
        log.info(
            "worker connected",
            extra={"worker": worker, "node": node, "slots": hello.slots},
        )
        session.send(self._welcome)
        self._driver.feed(
            WorkerJoined(
                worker=worker,
                node=node,
                slots=hello.slots,
                attempts=frozenset(map(attempt_from_wire, hello.attempts)),
                only_stages=frozenset(hello.only_stages),
                except_stages=frozenset(hello.except_stages),
                now=now,
            )
        )
        self._farewell.greet(session)
        return session

    def leave(self, session: Session) -> None:
        """Note that a stream has ended; its worker may come back until its lease is over."""
        if session.ended.is_set():
            return
        session.ended.set()
        log.info(
            "worker disconnected",
            extra={"worker": session.worker, "reason": session.closed_because or "it broke"},
        )
        if self._workers.leave(session):
            self._driver.feed(WorkerLost(worker=session.worker, reason="it has drained"))

    def expire(self, silent_since: float) -> None:
        """Give up the workers that were last heard before then."""
        for worker in self._workers.expire(silent_since):
            silence = self._clock() - silent_since
            reason = f"nothing was heard of it for {silence:.1f} s"
            log.warning("worker lost", extra={"worker": worker, "reason": reason})
            self._driver.feed(WorkerLost(worker=worker, reason=reason))

    def hear(self, session: Session, message: coordinator_pb2.WorkerMessage) -> None:
        """Take one message; one of a stream that has been replaced is nobody's word."""
        now = self._clock()
        if not self._workers.hear(session, now):
            return
        worker = session.worker
        self._driver.feed(WorkerHeard(worker=worker, now=now))
        match message.WhichOneof("body"):
            case "reports":
                for report in message.reports.reports:
                    self._report(session, report, now)
                session.confirm(len(message.reports.reports))
            case "credit":
                self._driver.feed(CreditGranted(worker=worker, tasks=message.credit.tasks, now=now))
            case "heartbeat":
                self._heartbeat(session, message.heartbeat, now)
            case "draining":
                session.draining = True
                self._driver.feed(WorkerDraining(worker=worker))
            case _:
                pass  # of a newer release, or a second hello: not for us

    def _report(self, session: Session, report: coordinator_pb2.AttemptReport, now: float) -> None:
        attempt = attempt_from_wire(report.attempt)
        session.running.pop(attempt, None)
        if report.status:
            self._journal.hear("status", report.status, attempt, session.worker)
        if report.output:
            self._journal.hear("output", report.output, attempt, session.worker)
        if report.HasField("damaged"):
            self._damaged(report)
        if report.HasField("returned"):
            self._driver.feed(AttemptReturned(id=attempt, worker=session.worker, now=now))
            return
        if report.HasField("finished"):
            try:
                result = result_from_wire(report.finished)
            except ValueError as error:  # of a release that says it otherwise
                text = f"what the worker says of it cannot be understood: {error}"
                failure = Failure(kind=FailureKind.FATAL, message=text)
            else:
                self._driver.feed(
                    AttemptFinished(id=attempt, worker=session.worker, result=result, now=now)
                )
                return
        else:
            failure = failure_from_wire(report.failed)
            if not failure.message:
                failure = replace(failure, message="the worker did not say how the attempt ended")
            if not report.HasField("damaged"):  # else it is known what is wrong, and told
                self._services.doubt(failure)
        self._driver.feed(
            AttemptFailed(id=attempt, worker=session.worker, failure=failure, now=now)
        )

    def _damaged(self, report: coordinator_pb2.AttemptReport) -> None:
        """Tell the machine which sealed output is damaged: before the failure that this causes."""
        lost = attempt_from_wire(report.damaged)
        reader = attempt_from_wire(report.attempt)
        named = self._services.named_in(failure_from_wire(report.failed))
        # A service that does not have it drops nothing, so asking one too many does no harm.
        for service in self._services.addresses if named is None else (named,):
            reason = f"{service} sent it damaged to task {reader.task} of stage {reader.stage}"
            self._driver.feed(OutputLost(id=lost, service=service, reason=reason))

    def _heartbeat(
        self, session: Session, heartbeat: coordinator_pb2.Heartbeat, now: float
    ) -> None:
        running = {}
        for progress in heartbeat.running:
            attempt = attempt_from_wire(progress.attempt)
            running[attempt] = progress.records_in
            if progress.status:
                self._journal.hear("status", progress.status, attempt, session.worker)
        session.running = running
        self._driver.feed(AttemptsProgressed(worker=session.worker, records=dict(running), now=now))
