"""Waiting for what other processes and threads do, of which nothing here is told."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

_PATIENCE_S = 150.0


def eventually(condition: Callable[[], Found]) -> Found:
    """Return what *condition* says as soon as that is true of something.

    Raises:
        AssertionError: It is not, for very long.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {_PATIENCE_S:.0f} s"
        time.sleep(0.01)
    return found
