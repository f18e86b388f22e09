"""The gRPC face of the partition service: messages to values, errors to status codes."""

from collections.abc import AsyncIterator, Container, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from disco.v1 import partition_pb2, partition_pb2_grpc
from disco_engine import wire
from disco_engine.core import label_table
from disco_engine.core.ledger import AttemptState, StaleEpochError, Verdict, WrongJobError
from disco_engine.core.model import AttemptId, Label, Layout, Totals
from disco_engine.partition.audit import drop_damaged
from disco_engine.partition.intake import Intake, Outcome, Output
from disco_engine.partition.journal import JournalDamagedError
from disco_engine.partition.reader import (
    Cursor,
    IncompleteError,
    NotSealedError,
    Piece,
    Selection,
    StaleCursorError,
    read,
)
from disco_engine.partition.space import DiskFullError
from disco_engine.partition.store import DroppedError, PlanConflictError, Store

_Context = grpc.aio.ServicerContext[Any, Any]

_OUTCOMES = {
    Outcome.COMPLETE: partition_pb2.PUSH_STATUS_COMPLETE,
    Outcome.REFUSED: partition_pb2.PUSH_STATUS_REFUSED,
    Outcome.DISK_FULL: partition_pb2.PUSH_STATUS_DISK_FULL,
    Outcome.INCOMPLETE: partition_pb2.PUSH_STATUS_INCOMPLETE,
}
_VERDICTS = {
    Verdict.SEALED: partition_pb2.DECISION_RESULT_SEALED,
    Verdict.KEPT: partition_pb2.DECISION_RESULT_KEPT,
    Verdict.DISCARDED: partition_pb2.DECISION_RESULT_DISCARDED,
    Verdict.UNKNOWN: partition_pb2.DECISION_RESULT_UNKNOWN,
}
_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (WrongJobError, grpc.StatusCode.FAILED_PRECONDITION),
    (StaleEpochError, grpc.StatusCode.FAILED_PRECONDITION),
    (PlanConflictError, grpc.StatusCode.ALREADY_EXISTS),
    (DiskFullError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (StaleCursorError, grpc.StatusCode.ABORTED),
    (DroppedError, grpc.StatusCode.NOT_FOUND),
    (NotSealedError, grpc.StatusCode.NOT_FOUND),
    (ValueError, grpc.StatusCode.INVALID_ARGUMENT),
)
_INVENTORY_BYTES = 1024 * 1024


class PartitionService(partition_pb2_grpc.PartitionServicer):
    """One job's blocks on one node, for coordinator and workers."""

    def __init__(self, store: Store, *, service_id: str, node: str) -> None:
        self._store = store
        self._service_id = service_id
        self._node = node

    @asynccontextmanager
    async def _refusals(self, context: _Context) -> AsyncIterator[None]:
        """End the call with the status that says what the caller should do."""
        try:
            yield
        except JournalDamagedError as error:
            if not self._store.ledger.closed:  # else it was emptied while somebody read it
                self._store.writer.fail(error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except tuple(kind for kind, _ in _CODES) as error:
            code = next(code for kind, code in _CODES if isinstance(error, kind))
            await context.abort(code, str(error))

    async def Attach(
        self, request: partition_pb2.AttachRequest, context: _Context
    ) -> AsyncIterator[partition_pb2.AttachReply]:
        """Make an epoch the newest, tell the state and, unless the epoch is 0, what is sealed.

        With epoch 0 what is sealed is told if it is asked for.
        """
        store = self._store
        async with self._refusals(context):
            await store.attach(request.job_uid, request.epoch, request.coordinator)
            yield partition_pb2.AttachReply(
                state=partition_pb2.ServiceState(
                    service_id=self._service_id,
                    node=self._node,
                    incarnation=store.incarnation,
                    epoch=store.ledger.epoch,
                    plan=store.plan,
                )
            )
            if request.epoch or request.tell_sealed:
                with_values = bool(request.epoch) or request.tell_values
                inventory = store.inventory()
                if request.HasField("only_stage") and not request.epoch:
                    inventory = (s for s in inventory if s.attempt.stage == request.only_stage)
                for sealed in _portions(inventory, with_values=with_values):
                    yield partition_pb2.AttachReply(sealed=sealed)
            if request.epoch or (request.tell_sealed and request.tell_copies):
                with_values = bool(request.epoch) or request.tell_values
                for copies in _portions(store.copies(), with_values=with_values):
                    yield partition_pb2.AttachReply(copies=copies)

    async def RecordPlan(
        self, request: partition_pb2.RecordPlanRequest, context: _Context
    ) -> partition_pb2.RecordPlanReply:
        """Keep the plan, durably."""
        async with self._refusals(context):
            await self._store.record_plan(request.job_uid, request.epoch, request.plan)
        return partition_pb2.RecordPlanReply()

    async def Push(
        self, request_iterator: AsyncIterator[partition_pb2.PushRequest], context: _Context
    ) -> AsyncIterator[partition_pb2.PushReply]:
        """Take blocks in; tell how each attempt's push ended."""
        intake = Intake(self._store)
        async with self._refusals(context):
            async for request in request_iterator:
                self._store.ledger.check_caller(request.job_uid)
                results = await intake.accept([_output(blocks) for blocks in request.outputs])
                told = [
                    partition_pb2.PushResult(
                        attempt=blocks.attempt,
                        status=_OUTCOMES[result.outcome],
                        message=result.message,
                    )
                    for blocks, result in zip(request.outputs, results, strict=True)
                    if result is not None
                ]
                if told:
                    yield partition_pb2.PushReply(results=told)

    async def Decide(
        self, request: partition_pb2.DecideRequest, context: _Context
    ) -> partition_pb2.DecideReply:
        """Seal or discard attempts, in order."""
        async with self._refusals(context):
            self._store.ledger.check_caller(request.job_uid, request.epoch)
            verdicts = []
            copies: dict[AttemptId, label_table.Labels] = {}
            for decision in request.decisions:
                if self._needs_labels(decision, copies):
                    copies = await self._labels_of_copies(request)
                    self._store.ledger.check_caller(request.job_uid, request.epoch)
                verdicts.append(self._decide(decision, copies))
        return partition_pb2.DecideReply(results=[_VERDICTS[verdict] for verdict in verdicts])

    def _needs_labels(self, decision: partition_pb2.Decision, known: Container[AttemptId]) -> bool:
        """Return whether a copy is to be sealed of which only the journal knows the labels."""
        if not decision.HasField("seal") or decision.seal.copy:
            return False
        attempt = wire.attempt_from_wire(decision.seal.attempt)
        return attempt not in known and self._store.ledger.state(attempt) is AttemptState.KEPT

    async def _labels_of_copies(
        self, request: partition_pb2.DecideRequest
    ) -> dict[AttemptId, label_table.Labels]:
        return await self._store.labels_of_copies(
            wire.attempt_from_wire(decision.seal.attempt)
            for decision in request.decisions
            if decision.HasField("seal") and not decision.seal.copy
        )

    def _decide(
        self,
        decision: partition_pb2.Decision,
        copies: Mapping[AttemptId, Mapping[Label, Totals]],
    ) -> Verdict:
        match decision.WhichOneof("verdict"):
            case "seal":
                terms = wire.terms_from_wire(decision.seal)
                if decision.seal.copy:
                    return self._store.keep(terms)
                return self._store.seal(terms, kept=copies.get(terms.id))
            case "discard":
                return self._store.discard(wire.attempt_from_wire(decision.discard))
            case None:
                raise ValueError("a decision says neither seal nor discard")

    async def Fetch(
        self, request: partition_pb2.FetchRequest, context: _Context
    ) -> AsyncIterator[partition_pb2.FetchReply]:
        """Hand out what is sealed of a label, or of tasks."""
        store = self._store
        async with self._refusals(context):
            store.ledger.check_caller(request.job_uid)
            selection = _selection(request)
            cursor = None
            if request.cursor:
                cursor = Cursor.unpack(request.cursor, store.incarnation)
            try:
                async with aclosing(read(store, selection, cursor)) as pieces:
                    async for piece in pieces:
                        yield _reply(selection.stage, piece, store.incarnation)
            except IncompleteError as error:
                if selection.copies:
                    await context.abort(grpc.StatusCode.DATA_LOSS, f"a copy is damaged: {error}")
                damaged = await drop_damaged(store, selection)
                await context.abort(*_loss(selection, damaged, error))

    async def Drop(
        self, request: partition_pb2.DropRequest, context: _Context
    ) -> partition_pb2.DropReply:
        """Forget attempts, or everything."""
        async with self._refusals(context):
            self._store.ledger.check_caller(request.job_uid, request.epoch)
            if request.all:
                await self._store.drop_all()
            else:
                await self._store.drop([wire.attempt_from_wire(a) for a in request.attempts])
        return partition_pb2.DropReply()

    async def Stat(
        self, request: partition_pb2.StatRequest, context: _Context
    ) -> partition_pb2.StatReply:
        """Tell how full the service is."""
        store = self._store
        shortage = store.space.shortage(store.budget.used)
        return partition_pb2.StatReply(
            service_id=self._service_id,
            incarnation=store.incarnation,
            disk_used_bytes=store.space.used,
            disk_limit_bytes=store.space.limit,
            memory_used_bytes=store.budget.used,
            memory_limit_bytes=store.budget.limit,
            full=shortage is not None,
            full_reason=shortage or "",
            epoch=store.ledger.epoch,
        )


def _portions(
    sealed: Iterator[partition_pb2.SealedAttempt], *, with_values: bool
) -> Iterator[list[partition_pb2.SealedAttempt]]:
    """Yield what fits into a message of reasonable size."""
    portion: list[partition_pb2.SealedAttempt] = []
    size = 0
    for message in sealed:
        if not with_values:
            message.ClearField("values")
        portion.append(message)
        size += message.ByteSize()
        if size >= _INVENTORY_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _output(message: partition_pb2.AttemptBlocks) -> Output:
    blocks = [(block.label, block.records, block.frame) for block in message.blocks]
    return Output(
        attempt=wire.attempt_from_wire(message.attempt),
        blocks=blocks,
        layout=wire.layout_from_wire(message.layout) if blocks else None,
        complete=wire.totals_from_wire(message.complete) if message.HasField("complete") else None,
    )


def _selection(request: partition_pb2.FetchRequest) -> Selection:
    match request.WhichOneof("selector"):
        case "label":
            return Selection(
                stage=request.stage,
                keys=(request.label,),
                by=Layout.BY_LABEL,
                copies=request.copies,
            )
        case "tasks":
            tasks = request.tasks
            return Selection(
                stage=request.stage,
                keys=tuple(tasks.tasks),
                by=Layout.BY_TASK,
                label=tasks.label if tasks.HasField("label") else None,
                copies=request.copies,
            )
        case None:
            raise ValueError("a fetch says neither which label nor which tasks")


def _reply(stage: int, piece: Piece, incarnation: str) -> partition_pb2.FetchReply:
    reply = partition_pb2.FetchReply(cursor=piece.cursor.pack(incarnation))
    for header, frame in piece.blocks:
        # Filled in place: a message that is put into another one is copied with its frame.
        fetched = reply.blocks.add()
        attempt, block = fetched.attempt, fetched.block
        attempt.stage = stage
        attempt.task, attempt.epoch, attempt.attempt, block.label, block.records, _ = header
        block.frame = frame
    if piece.last:
        reply.total.CopyFrom(wire.totals_to_wire(piece.cursor.found))
    return reply


def _loss(
    selection: Selection, damaged: Sequence[AttemptId], error: IncompleteError
) -> tuple[grpc.StatusCode, str]:
    what = "label" if selection.by is Layout.BY_LABEL else "tasks"
    name = f"{what} {', '.join(map(str, selection.keys[:10]))} of stage {selection.stage}"
    if not damaged:
        return (
            grpc.StatusCode.ABORTED,
            f"{name}: attempts were dropped while they were read; read from the start",
        )
    names = ", ".join(map(str, damaged[:10])) + (" and others" if len(damaged) > 10 else "")
    return (
        grpc.StatusCode.DATA_LOSS,
        f"{name}: {error}; damaged on disk and now dropped: {names}; they must be made again",
    )
