"""One attempt as the worker sees it, from its assignment to its report."""

from typing import TYPE_CHECKING

from disco.v1 import coordinator_pb2
from disco_engine.core.model import AttemptId, Failure
from disco_engine.wire import attempt_from_wire, failure_to_wire

if TYPE_CHECKING:
    from disco_engine.worker.push import PushLink
    from disco_engine.worker.slots import Slot


class Attempt:
    """Where an attempt stands in this worker; ``Worker`` and ``Slot`` change it.

    Attributes:
        id: Its identity.
        task: What the coordinator assigned.
        slot: Where it runs or waits; None: in no slot yet, or no longer.
        link: Where its blocks go; None: it has written none.
        copy: Where they go a second time; None: nowhere, or no longer.
        arrived: They have, where ``link`` leads; what becomes of the copy is not known yet.
        report: What the slot said, while the partition service has not answered yet.
        over: It is reported, or nobody wants to hear of it any more.
    """

    __slots__ = ("arrived", "copy", "id", "link", "over", "report", "slot", "task")

    def __init__(self, task: coordinator_pb2.TaskAssignment) -> None:
        self.id: AttemptId = attempt_from_wire(task.attempt)
        self.task = task
        self.slot: Slot | None = None
        self.link: PushLink | None = None
        self.copy: PushLink | None = None
        self.arrived = False
        self.report: coordinator_pb2.AttemptReport | None = None
        self.over = False

    @property
    def links(self) -> "list[PushLink]":
        """Where its blocks go."""
        return [link for link in (self.link, self.copy) if link is not None]

    def abandon(self) -> None:
        """Send nothing more of its blocks anywhere."""
        for link in self.links:
            link.abandon(self.id)

    def failed(self, failure: Failure, output: str = "") -> coordinator_pb2.AttemptReport:
        """Return the report that it failed."""
        return coordinator_pb2.AttemptReport(
            attempt=self.task.attempt, failed=failure_to_wire(failure), output=output
        )

    def returned(self) -> coordinator_pb2.AttemptReport:
        """Return the report that it was not started and never will be."""
        returned = coordinator_pb2.Returned()
        return coordinator_pb2.AttemptReport(attempt=self.task.attempt, returned=returned)
