"""The conditions of a DiscoJob: what programs look at, with a sentence for people.

Source:
    Kubernetes API conventions, "Typical status properties".
"""

from datetime import datetime
from enum import StrEnum

from disco_operator.model import Json, written_time
from disco_operator.sizes import first_of

MAX_MESSAGE = 1_000


class Condition(StrEnum):
    """Types of conditions, in the order in which they are listed."""

    ACCEPTED = "Accepted"  # the spec makes sense and everything it names is there
    PLANNED = "Planned"  # the inputs and stages are known
    RUNNING = "Running"  # workers are at work
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    RESULTS_AVAILABLE = "ResultsAvailable"


class Phase(StrEnum):
    """One word about a job, for people."""

    PENDING = "Pending"
    PLANNING = "Planning"
    RUNNING = "Running"
    COMMITTING = "Committing"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


_ORDER = list(Condition)


def set_condition(
    status: Json,
    kind: Condition,
    value: bool,
    reason: str,
    message: str,
    *,
    generation: int,
    now: datetime,
) -> None:
    """Set a condition in *status*; its transition time changes only if its value does."""
    known: list[Json] = list(status.get("conditions", ()))
    before = next((entry for entry in known if entry["type"] == kind), None)
    text = "True" if value else "False"
    since = (
        before["lastTransitionTime"]
        if before is not None and before["status"] == text
        else written_time(now)
    )
    entry = {
        "type": kind.value,
        "status": text,
        "reason": reason,
        "message": first_of(message, MAX_MESSAGE),
        "observedGeneration": generation,
        "lastTransitionTime": since,
    }
    status["conditions"] = sorted(
        [*(other for other in known if other["type"] != kind), entry],
        key=lambda other: _ORDER.index(Condition(other["type"])),
    )


def drop_condition(status: Json, kind: Condition) -> None:
    """Remove a condition, if it is there."""
    status["conditions"] = [
        entry for entry in status.get("conditions", ()) if entry["type"] != kind
    ]


def condition_of(status: Json, kind: Condition) -> Json | None:
    """Return a condition; None: it was never set."""
    return next((c for c in status.get("conditions", ()) if c["type"] == kind), None)


def headline(status: Json) -> tuple[str, str]:
    """Return reason and message of the condition that a person wants to read first."""
    for kind, value in (
        (Condition.FAILED, "True"),
        (Condition.SUCCEEDED, "True"),
        (Condition.SUCCEEDED, "False"),
        (Condition.ACCEPTED, "False"),
        (Condition.SUSPENDED, "True"),
        (Condition.RUNNING, "False"),
        (Condition.RUNNING, "True"),
    ):
        found = condition_of(status, kind)
        if found is not None and found["status"] == value:
            return found["reason"], found["message"]
    return "", ""


def is_true(status: Json, kind: Condition) -> bool:
    """Return whether a condition is set and true."""
    found = condition_of(status, kind)
    return found is not None and found["status"] == "True"
