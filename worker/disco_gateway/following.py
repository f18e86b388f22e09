"""What watchers and readers of logs are told of an update: replies of a bounded size."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from disco.v1 import coordinator_pb2, jobs_pb2
from disco_gateway.backend import Update
from disco_gateway.cursors import position_to_text
from disco_gateway.errors import InvalidRequestError

WATCH = "watch"
LOGS = "logs"
"""What cursors are for."""

LOG_KINDS = frozenset(("output", "status"))

_REPLY_BYTES = 1024 * 1024
_NAMED_STAGES = 20

_Event = coordinator_pb2.JobEvent


def watch_replies(update: Update) -> Iterator[jobs_pb2.WatchJobReply]:
    """Yield what a watcher is told, at least one reply."""
    for events, cursor in _portions(WATCH, update, update.events):
        yield jobs_pb2.WatchJobReply(job=update.job, events=events, cursor=cursor)


def log_replies(
    request: jobs_pb2.LogsRequest, update: Update, *, first: bool
) -> Iterator[jobs_pb2.LogsReply]:
    """Yield what a reader of logs is told; nothing, if nothing is for him, but for the first.

    Raises:
        InvalidRequestError: The job is known to have no such stage.
    """
    if first:
        _check_stage(request, update)
    entries = [event for event in update.events if _wanted(request, event)]
    if entries or first:
        for portion, cursor in _portions(LOGS, update, entries):
            yield jobs_pb2.LogsReply(entries=portion, cursor=cursor)


def _check_stage(request: jobs_pb2.LogsRequest, update: Update) -> None:
    stages = [stage.name for stage in update.job.stages]
    told = {event.stage_name for event in update.events}  # planning and committing are stages, too
    if request.stage and stages and request.stage not in told.union(stages):
        known = ", ".join(map(repr, stages[:_NAMED_STAGES]))
        raise InvalidRequestError.of(
            "stage", f"the job has no stage {request.stage!r}: its stages are {known}"
        )


def _wanted(request: jobs_pb2.LogsRequest, event: _Event) -> bool:
    return (
        event.kind in LOG_KINDS
        and (not request.stage or event.stage_name == request.stage)
        and (not request.HasField("task") or _is(event, "task", request.task))
        and (not request.HasField("attempt") or _is(event, "attempt", request.attempt))
    )


def _is(event: _Event, what: str, number: int) -> bool:
    return event.HasField("attempt") and getattr(event.attempt, what) == number


def _portions(
    kind: str, update: Update, events: Sequence[_Event]
) -> Iterator[tuple[list[_Event], str]]:
    """Yield events that fit into one reply, and the cursor behind them."""
    portion: list[_Event] = []
    size = 0
    for event in events:
        if portion and size + event.ByteSize() > _REPLY_BYTES:
            behind = replace(update.position, event=portion[-1].number)
            yield portion, position_to_text(kind, behind)
            portion, size = [], 0
        portion.append(event)
        size += event.ByteSize()
    yield portion, position_to_text(kind, update.position)
