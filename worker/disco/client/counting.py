"""Counts the results that come, and compares with what the server says there is."""

from disco.client.errors import LostRecordsError
from disco.v1 import jobs_pb2
from disco_engine import wire
from disco_engine.core.model import NOTHING, Totals


class Counted:
    """What has come of one job's results."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._came = NOTHING
        self._total: Totals | None = None

    def add(self, reply: jobs_pb2.ResultsReply) -> None:
        """Count a reply."""
        for block in reply.blocks:
            self._came = self._came.plus(Totals(1, block.records, len(block.frame)))
        if reply.HasField("total"):
            self._total = wire.totals_from_wire(reply.total)

    def check(self) -> None:
        """See that everything came, and nothing twice.

        Raises:
            LostRecordsError: It is not so.
        """
        if self._total is not None and self._total != self._came:
            raise LostRecordsError(
                f"results of {self._job}: {self._came} came, but there are {self._total}; read them"
                " again"
            )


def is_last(reply: jobs_pb2.ResultsReply | None) -> bool:
    """Return whether no results follow: all have come, or they are in an output."""
    return reply is not None and (reply.HasField("total") or bool(reply.info.output_url))
