"""Waiting for what other processes and threads do, of which nothing here is told."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def eventually(condition: Callable[[], Found], patience_s: float = 60.0) -> Found:
    """Return what *condition* says as soon as that is true of something.

    Raises:
        AssertionError: It is not for so long.
    """
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {patience_s:g} s"
        time.sleep(0.01)
    return found
