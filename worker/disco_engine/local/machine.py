"""What this machine can bear."""

import os


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


MOST_SLOTS = 32 * max(2, os.cpu_count() or 1)
"""Of all workers of a job: more would start for minutes, and then only slow each other down."""


def check_bearable(workers: int, slots: int, services: int) -> None:
    """Refuse numbers that make no run, or are more than this machine can take.

    Raises:
        ValueError: One is.
    """
    numbers = {"workers": workers, "slots": slots, "partition_services": services}
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}: a local run needs at least 1")
    if max(workers * slots, services) > MOST_SLOTS:
        raise ValueError(
            f"workers x slots is {workers * slots}, and partition services are {services}: this"
            f" machine takes at most {MOST_SLOTS} of either"
        )
