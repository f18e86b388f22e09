"""What people are told: which things become Kubernetes events."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from disco.v1 import coordinator_pb2
from disco_operator.wanted import Announcement

MAX_OF_A_KIND = 3
MAX_MESSAGE = 900

_ORDERLY = "the worker is draining"
"""In the text of attempts that were handed back by a worker that was told to leave."""

_REASONS: dict[str, tuple[Literal["Normal", "Warning"], str]] = {
    "stage-started": ("Normal", "StageStarted"),
    "stage-finished": ("Normal", "StageFinished"),
    "task-failed": ("Warning", "TaskFailed"),
    "worker-lost": ("Warning", "WorkerLost"),
    "service-lost": ("Warning", "PartitionServiceLost"),
    "service-back": ("Normal", "PartitionServiceBack"),
    "excluded": ("Warning", "NodeExcluded"),
    "speculated": ("Normal", "RivalStarted"),
}


def events_of(events: Sequence[coordinator_pb2.JobEvent]) -> Iterator[Announcement]:
    """Yield what a person would want to read of what a coordinator told; bounded."""
    count: Counter[str] = Counter()
    for event in events:
        if event.kind not in _REASONS or _ORDERLY in event.text:
            continue
        count[event.kind] += 1
        if count[event.kind] > MAX_OF_A_KIND:
            continue
        kind, reason = _REASONS[event.kind]
        stage = f"{event.stage_name}: " if event.stage_name else ""
        message = f"{stage}{event.text}"[:MAX_MESSAGE]
        yield Announcement(kind=kind, reason=reason, message=message)
    for name, number in count.items():
        if number > MAX_OF_A_KIND:
            kind, reason = _REASONS[name]
            yield Announcement(
                kind=kind,
                reason=reason,
                message=f"and {number - MAX_OF_A_KIND} more of this kind at about the same time",
            )
