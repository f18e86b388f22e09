"""Owns the machine: gives it events one at a time and carries out what it answers, in order.

Everything in this process runs on one event loop and an event is handled to its end without
waiting, so events need no queue: they are handled in the order in which they were noticed. What an
action says is only noted here; the streams and links send it when they next can, and everything
noted until then travels together.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from disco_engine.coordinator.messages import assignment_of, hand_back_of
from disco_engine.coordinator.progress import Journal
from disco_engine.coordinator.services import Services
from disco_engine.coordinator.workers import Workers
from disco_engine.core.actions import (
    Action,
    Announce,
    Assign,
    Audit,
    CancelAttempt,
    Discard,
    Drop,
    FinishJob,
    HandBack,
    RecordPlan,
    Seal,
)
from disco_engine.core.events import Event

log = logging.getLogger(__name__)


class Machine(Protocol):
    """The part of ``core.job.JobMachine`` that decides."""

    def handle(self, event: Event) -> Sequence[Action]:
        """Return what must be done about *event*, in order."""
        ...


class Driver:
    """Stands between the machine and the world.

    Attributes:
        finished: The machine's last action, once the job is over.
    """

    def __init__(
        self, machine: Machine, *, workers: Workers, services: Services, journal: Journal
    ) -> None:
        self.finished: FinishJob | None = None
        self._machine = machine
        self._workers = workers
        self._services = services
        self._journal = journal
        self._over: asyncio.Future[FinishJob] = asyncio.get_running_loop().create_future()

    def feed(self, event: Event) -> None:
        """Let the machine decide about *event*; after the job's end nothing is decided any more.

        Raises:
            Exception: A bug, in the machine or here. ``ended`` raises it too, so that the process
                ends whoever was calling: a new coordinator can recover, this one cannot.
        """
        if self._over.done():
            return
        try:
            for action in self._machine.handle(event):
                self._carry_out(action)
        except Exception as error:
            if not self._over.done():
                self._over.set_exception(error)
            raise
        self._journal.touch()

    async def ended(self) -> FinishJob:
        """Wait until the job is over.

        Raises:
            Exception: What ``feed`` raised.
        """
        return await asyncio.shield(self._over)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Assign():
                self._journal.name_stage(action.id.stage, action.stage_name)
                session = self._workers.session_of(action.worker)
                if session is not None:  # else it comes back without this one, or is lost
                    session.assign(assignment_of(action, self._services.addresses))
            case Seal() | Discard() | Drop():
                self._services.order(action)
            case Audit():
                self._services.audit(action.service)
            case CancelAttempt():
                session = self._workers.session_of(action.worker)
                if session is not None:
                    session.cancel(action.id, action.reason)
            case HandBack():
                session = self._workers.session_of(action.worker)
                if session is not None:
                    session.send(hand_back_of(action))
            case Announce():
                self._journal.announce(action, node=self._workers.node_of(action.worker))
            case RecordPlan():
                self._services.record_plan(action.plan)
            case FinishJob():
                log.info(
                    "job is over",
                    extra={"outcome": action.outcome, "reason": action.message},
                )
                self.finished = action
                self._over.set_result(action)
