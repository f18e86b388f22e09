"""What a job's tasks left beside their records: from its coordinator, or from partition services.

A coordinator has put them together already. Of a job that has ended, the partition services still
have what each sealed attempt left, and it is put together here by the same rules.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

from disco.v1 import (
    common_pb2,
    coordinator_pb2,
    coordinator_pb2_grpc,
    partition_pb2,
    partition_pb2_grpc,
)
from disco_engine.core.model import AttemptId, SealedAttempt, TaskRef
from disco_engine.core.values import ValueBook
from disco_engine.rpc import Line
from disco_engine.wire import portions_of_values, sealed_from_wire
from disco_operator.gateway.asking import replies
from disco_operator.model import JobKey

NOT_KEPT = (
    "what the tasks of {key} put beside their records is not kept any more: it is while the job"
    " runs, and then for as long as partition services keep the results of a job that has succeeded"
    " and has no output (spec.ttlSecondsAfterFinished)"
)


async def told_by_coordinator(
    key: JobKey, line: Line, wanted: coordinator_pb2.ValuesRequest
) -> AsyncGenerator[Sequence[common_pb2.NamedValue], None]:
    """Yield what a job's coordinator tells.

    Args:
        key: The job.
        line: To its coordinator; closed afterwards.
        wanted: Which values.

    Raises:
        UnavailableError: It does not answer.
    """
    stub = coordinator_pb2_grpc.CoordinatorStub(line.channel)
    call = stub.Values(wanted, metadata=line.metadata)
    async with aclosing(replies(f"the coordinator of {key}", line, call)) as answers:
        async for reply in answers:
            yield reply.values


async def kept_by_services(
    uid: str,
    services: Sequence[str],
    connect: Callable[[str], Line],
    wanted: coordinator_pb2.ValuesRequest,
) -> Iterable[Sequence[common_pb2.NamedValue]]:
    """Return what partition services keep, ascending by key.

    Args:
        uid: The job's.
        services: Ids of its partition services.
        connect: Opens a connection to one of them.
        wanted: Which values.

    Raises:
        UnavailableError: One of them does not answer.
    """
    newest: dict[TaskRef, AttemptId] = {}
    book = ValueBook()
    for service in services:
        for sealed in await _inventory(service, uid, connect(service)):
            # A service that was away when its attempt was replaced may still have that.
            task, known = sealed.id.ref, newest.get(sealed.id.ref)
            if known is None or sealed.id > known:
                newest[task] = sealed.id
                book.put(task, sealed.values)
    selected = book.select(wanted.key, wanted.prefix)
    return portions_of_values(selected, keys_only=wanted.keys_only)


async def _inventory(service: str, uid: str, line: Line) -> list[SealedAttempt]:
    """Return what a service has sealed, or keeps as a copy of what was sealed elsewhere.

    Raises:
        UnavailableError: It does not answer.
    """
    call = partition_pb2_grpc.PartitionStub(line.channel).Attach(
        partition_pb2.AttachRequest(
            job_uid=uid, tell_sealed=True, tell_copies=True, tell_values=True
        ),
        metadata=line.metadata,
    )
    found: list[SealedAttempt] = []
    async with aclosing(replies(f"partition service {service}", line, call)) as answers:
        async for reply in answers:
            for message in (*reply.sealed, *reply.copies):
                message.ClearField("label_table")
                found.append(sealed_from_wire(message))
    return found
