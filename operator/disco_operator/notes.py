"""Small facts about a job that its status keeps."""

from datetime import datetime

from disco_operator.conditions import Condition, set_condition
from disco_operator.model import DiscoJob, Json, read_time


def note(
    job: DiscoJob,
    status: Json,
    kind: Condition,
    value: bool,
    reason: str,
    message: str,
    now: datetime,
) -> None:
    """Set a condition of *job* in *status*."""
    set_condition(status, kind, value, reason, message, generation=job.generation, now=now)


def active_seconds(status: Json, now: datetime) -> int:
    """Return how long a job has been running, without the time it was suspended."""
    before = int(status.get("activeSeconds", 0))
    since = status.get("runSince")
    return before + (int((now - read_time(since)).total_seconds()) if since else 0)


def duration_of(status: Json, now: datetime) -> str:
    """Return how long a job has been running, or ran, like "1h2m" or "3m12s"; "" before that."""
    if "startTime" not in status:
        return ""
    seconds = active_seconds(status, now)
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
