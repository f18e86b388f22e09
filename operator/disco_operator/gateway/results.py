"""Where the results of a job are that has no output: from the partition services themselves.

A job's status says how much there is, and its partition services what they have: if the one is not
the other, copies take the place of what is missing (``spec.partitionService.copies``); if that is
not all either, the results are lost. What is read is never less than what the job wrote.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

from disco.v1 import job_pb2, partition_pb2, partition_pb2_grpc
from disco_engine import wire
from disco_engine.core import label_table
from disco_engine.core.model import PLAN_STAGE, AttemptId
from disco_engine.rpc import Line
from disco_gateway.backend import Part
from disco_gateway.errors import NotPossibleError, UnavailableError
from disco_operator.gateway.asking import replies
from disco_operator.model import JobKey, Json

Found = tuple[AttemptId, Part]


async def parts_of(
    key: JobKey, uid: str, services: Sequence[str], connect: Callable[[str], Line], results: Json
) -> tuple[Part, ...]:
    """Return the parts of a job's result, ascending by task, those that have records.

    Args:
        key: The job.
        uid: The job's.
        services: Ids of its partition services.
        connect: Opens a connection to one of them.
        results: What the job's status says of its results.

    Raises:
        NotPossibleError: They do not have all of it.
        UnavailableError: One of them does not answer.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(_inventory(service, uid, connect(service)))
                for service in services
            ]
    except ExceptionGroup as group:
        # Not except*: what is raised in there comes out as a group in Python 3.11.2.
        silent, others = group.split(UnavailableError)
        if silent is None or others is not None:
            raise
        raise UnavailableError(str(silent.exceptions[0]), retry_after_s=2.0) from group
    found = [one for task in asked for one in task.result()]
    expected = (results.get("parts", 0), results.get("records", 0))
    parts = winners(one for one in found if not one[1].copy)
    if _size_of(parts) != expected:
        parts = winners(found)
    if _size_of(parts) != expected:
        raise NotPossibleError(
            str(key),
            f"the results of {key} are lost: its partition services have {_size_of(parts)[1]:,}"
            f" records in {len(parts):,} parts of {expected[1]:,} in {expected[0]:,}; run the job"
            " again",
        )
    return parts


def _size_of(parts: Sequence[Part]) -> tuple[int, int]:
    """Return how many parts there are, and how many records in them."""
    return len(parts), sum(part.totals.records for part in parts)


def winners(found: Iterable[Found]) -> tuple[Part, ...]:
    """Return one part for each task, ascending: that of its newest attempt, sealed or a copy.

    A service that was away when its attempt was replaced may still have it.
    """
    newest: dict[int, Found] = {}
    for attempt, part in found:
        known = newest.get(part.task)
        if known is None or _rank(attempt, part) > _rank(*known):
            newest[part.task] = (attempt, part)
    return tuple(newest[task][1] for task in sorted(newest))


def _rank(attempt: AttemptId, part: Part) -> tuple[int, int, bool]:
    return attempt.epoch, attempt.attempt, not part.copy


async def _inventory(service: str, uid: str, line: Line) -> list[Found]:
    """Return what a service has of the last stage, copies included.

    Raises:
        UnavailableError: It does not answer.
    """
    call = partition_pb2_grpc.PartitionStub(line.channel).Attach(
        partition_pb2.AttachRequest(job_uid=uid, tell_sealed=True, tell_copies=True),
        metadata=line.metadata,
    )
    found: list[Found] = []
    last_stage = PLAN_STAGE
    async with aclosing(replies(f"partition service {service}", line, call)) as answers:
        async for reply in answers:
            if reply.HasField("state"):
                plan = job_pb2.Plan.FromString(reply.state.plan)
                last_stage = PLAN_STAGE + len(plan.stages)
            found.extend(_of_stage(service, last_stage, reply.sealed, copy=False))
            found.extend(_of_stage(service, last_stage, reply.copies, copy=True))
    return found


def _of_stage(
    service: str, stage: int, sealed: Iterable[partition_pb2.SealedAttempt], *, copy: bool
) -> Iterable[Found]:
    for message in sealed:
        if message.attempt.stage != stage or stage == PLAN_STAGE:
            continue
        attempt = wire.attempt_from_wire(message.attempt)
        if message.label_table:
            total = label_table.total(message.label_table)
            yield attempt, Part(service, stage, attempt.task, total, copy)
