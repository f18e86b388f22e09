"""Waiting for what a cluster does in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 120.0
"""Enough for everything that needs no lost node; a machine of two cores runs all of the cluster."""


def wait_for(
    describe: str,
    predicate: Callable[[], T],
    timeout: float = PATIENCE_S,
    interval: float = 0.25,
) -> T:
    """Return the first true answer of *predicate*.

    Args:
        describe: What is awaited, to follow "waiting for".
        predicate: Asked again and again; an AssertionError of its own ends the waiting.
        timeout: Seconds.
        interval: Seconds between two questions.

    Raises:
        AssertionError: There was none in time; the message has the last answer.
    """
    end = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= end:
            raise AssertionError(
                f"gave up after {timeout:.0f} s of waiting for {describe}; last answer: {answer!r}"
            )
        time.sleep(interval)
