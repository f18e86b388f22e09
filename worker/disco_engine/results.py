"""Read the parts of a finished job's result from its partition services, without an event loop.

A part is what one task of the last stage wrote. A stream that breaks is taken up where it broke;
what comes is counted, and a part that is not all there is an error, never a short result.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import grpc

from disco.v1 import partition_pb2, partition_pb2_grpc
from disco_engine import rpc, wire
from disco_engine.core.model import NOTHING, AttemptId, Label, Totals
from disco_engine.records.blocks import Frame
from disco_engine.result_errors import (
    ResultDeniedError,
    ResultError,
    ResultLostError,
    ResultUnreachableError,
    raise_if_final,
)

__all__ = [
    "ResultDeniedError",
    "ResultError",
    "ResultLostError",
    "ResultUnreachableError",
    "read_label",
    "read_part",
    "read_parts",
]

_RETRY_AFTER_S = 0.2


def read_part(
    address: str, token: str, job_uid: str, stage: int, task: int, *, patience_s: float = 30.0
) -> Iterator[Frame]:
    """Yield the frames of one part; see ``read_parts``."""
    return read_parts(address, token, job_uid, stage, (task,), patience_s=patience_s)


def read_parts(
    address: str,
    token: str,
    job_uid: str,
    stage: int,
    tasks: Sequence[int],
    *,
    label: Label | None = None,
    patience_s: float = 30.0,
) -> Iterator[Frame]:
    """Yield the frames of several parts that one service has, in the order of *tasks*.

    Args:
        address: host:port of the service.
        token: The job's token.
        job_uid: The job.
        stage: Of the attempts that wrote the parts: the job's last.
        tasks: The parts; ``Frame.origin`` says which one a frame is of.
        label: Only frames of this label; None: all.
        patience_s: Seconds to go on trying while the service does not answer.

    Raises:
        ResultUnreachableError: It did not answer for so long.
        ResultLostError: It does not have all of the parts.
        ResultDeniedError: It does not accept the token.
    """
    if not tasks:
        return iter(())
    selector = partition_pb2.TaskSelector(tasks=tasks, label=label)
    request = partition_pb2.FetchRequest(job_uid=job_uid, stage=stage, tasks=selector)
    return _read(address, token, request, patience_s)


def read_label(
    address: str,
    token: str,
    job_uid: str,
    stage: int,
    label: Label,
    *,
    records: int | None = None,
    patience_s: float = 30.0,
) -> Iterator[Frame]:
    """Yield the frames of a label that all tasks of a stage have left in one service.

    Only for a stage that the next one has read by label. There must be as many as *records*, if
    that is given: the service may have lost an output, and forgotten it. All else is as with
    ``read_parts``.
    """
    request = partition_pb2.FetchRequest(job_uid=job_uid, stage=stage, label=label)
    return _read(address, token, request, patience_s, records)


def _read(
    address: str,
    token: str,
    request: partition_pb2.FetchRequest,
    patience_s: float,
    records: int | None = None,
) -> Iterator[Frame]:
    with rpc.sync_channel(address) as channel:
        reading = _Reading(partition_pb2_grpc.PartitionStub(channel), token, request, records)
        silent_since_s: float | None = None
        while True:
            try:
                for frame in reading.frames():
                    silent_since_s = None
                    yield frame
                return
            except grpc.RpcError as error:
                if silent_since_s is None:
                    silent_since_s = time.monotonic()
                silent_s = time.monotonic() - silent_since_s
                raise_if_final(error, address, patience_s if silent_s >= patience_s else None)
                if error.code() is grpc.StatusCode.ABORTED:
                    reading.start_over()
            time.sleep(_RETRY_AFTER_S)


class _Reading:
    """One selection, read in as many streams as it takes."""

    def __init__(
        self,
        stub: partition_pb2_grpc.PartitionStub,
        token: str,
        request: partition_pb2.FetchRequest,
        records: int | None,
    ) -> None:
        self._stub = stub
        self._records = records
        self._metadata = rpc.credentials_of(token)
        self._request = request
        self._delivered: Counter[AttemptId] = Counter()
        self._skip: Counter[AttemptId] = Counter()
        self._count = NOTHING

    def start_over(self) -> None:
        """Have the next stream start at the beginning; what was delivered is not delivered again.

        The service was started again, and may have the attempts in another order; but the blocks
        of one attempt are always in the same.
        """
        self._request.cursor = b""
        self._skip = Counter(self._delivered)

    def frames(self) -> Iterator[Frame]:
        """Yield what has not been delivered, to the end or until the stream breaks.

        Raises:
            grpc.RpcError: It broke; call again to go on.
            ResultLostError: What came is not what there should be.
        """
        call = self._stub.Fetch(self._request, metadata=self._metadata)
        try:
            for reply in call:
                yield from self._fresh(reply.blocks)
                self._request.cursor = reply.cursor
                if reply.HasField("total"):
                    self._check(wire.totals_from_wire(reply.total))
                    return
        finally:
            call.cancel()
        raise ResultLostError("the service ended a stream without its totals; run the job again")

    def _fresh(self, blocks: Iterable[partition_pb2.FetchedBlock]) -> Iterator[Frame]:
        for fetched in blocks:
            origin = wire.attempt_from_wire(fetched.attempt)
            if self._skip[origin]:
                self._skip[origin] -= 1
                continue
            frame = fetched.block.frame
            self._delivered[origin] += 1
            self._count = self._count.plus(Totals(1, fetched.block.records, len(frame)))
            yield Frame(frame, origin)

    def _check(self, total: Totals) -> None:
        if self._count != total:
            raise ResultLostError(
                f"{self._count} of the result were read, the service has {total}: it changed while"
                " it was read; read again, or run the job again"
            )
        if self._records not in (None, total.records):
            raise ResultLostError(
                f"the service has {total.records} records of the result's {self._records}: it has"
                " lost the others; run the job again"
            )
