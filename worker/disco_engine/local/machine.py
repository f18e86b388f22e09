"""What this machine can bear."""

import os


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


MOST_SLOTS = 32 * max(2, os.cpu_count() or 1)
"""Of all workers of a job: more would start for minutes, and then only slow each other down."""
