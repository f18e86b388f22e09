"""Decides which of the jobs that a quota keeps from starting may try, so that one of them can.

Each of twenty jobs would take some of the pods that a quota admits, none would have all it needs,
and all would wait for the others forever. So jobs that have not begun and find no room stand in
line: only the first one of a namespace tries, and the others have no pods. Who does not find room
in his turn goes to the end, because he may need more than there will ever be.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from disco_operator import names
from disco_operator.conditions import Condition, is_true
from disco_operator.model import IN_LINE, DiscoJob, Json, read_time, written_time
from disco_operator.trouble import PATIENCE, Trouble
from disco_operator.wanted import Observed

TURN = timedelta(seconds=120)
"""How long the first may try before it is the next one's turn."""
ADMITTED = 2 * PATIENCE
"""After which pods that nobody has complained about are there."""


def gives_way(status: Json, observed: Observed) -> bool:
    """Return whether a job stands in line and another is before it."""
    return IN_LINE in status and not observed.first_in_line and not _has_workers(observed)


def note_place(
    job: DiscoJob, status: Json, observed: Observed, troubles: Sequence[Trouble], now: datetime
) -> None:
    """Have a job join the line, leave it, or go to its end.

    Args:
        job: The job; it may try now.
        status: Its status; changed.
        observed: The world around it.
        troubles: What is wrong with its pods.
        now: The time.
    """
    crowded = any(trouble.crowded for trouble in troubles)
    tried_for = _tried_for(job, observed, now)
    if _has_workers(observed) or is_true(status, Condition.PLANNED):
        status.pop(IN_LINE, None)
    elif IN_LINE not in status:
        if crowded:
            status[IN_LINE] = written_time(now)
    elif crowded:
        if min(tried_for, now - read_time(status[IN_LINE])) >= TURN:
            status[IN_LINE] = written_time(now)
    elif tried_for >= ADMITTED:
        del status[IN_LINE]


def _has_workers(observed: Observed) -> bool:
    progress = observed.news.progress
    return progress is not None and progress.workers > 0


def _tried_for(job: DiscoJob, observed: Observed, now: datetime) -> timedelta:
    """Return how long ago the job's coordinator was asked for."""
    name = names.coordinator(job.key)
    for child in observed.children:
        if child["kind"] == "Deployment" and child["metadata"]["name"] == name and job.owns(child):
            return now - read_time(child["metadata"]["creationTimestamp"])
    return timedelta()
