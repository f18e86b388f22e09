"""Whether, and when, a call that failed is made again."""

import random
import time
from collections.abc import Callable

import grpc

from disco.client.answers import Answer

_FIRST_S = 0.1
_LONGEST_S = 2.0


class Patience:
    """How long to go on with one call, or with one stream until something comes of it again.

    Args:
        limit_s: Seconds since something was last heard, or since the beginning.
        clock: Seconds, monotonic.
        spread: Of the pause before another try; at random, so that clients do not come in step.

    Attributes:
        tries: That failed and were followed by another, since something was last heard.
    """

    def __init__(
        self,
        limit_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._spread = spread
        self.tries = 0
        self._since_s = clock()

    def heard(self) -> None:
        """Begin anew: the server does answer."""
        self.tries = 0
        self._since_s = self._clock()

    def allow(self, limit_s: float) -> None:
        """Go on for longer than was thought at the beginning."""
        self._limit_s = limit_s

    def pause_s(self, answer: Answer) -> float | None:
        """Return how long to wait before the next try; None: do not try again.

        The server's word on when to come again counts, if it still fits.
        """
        if not (answer.is_broken or _asks_to_come_again(answer)):
            return None
        backoff_s: float = min(_FIRST_S * 2**self.tries, _LONGEST_S)
        pause_s = max(answer.retry_after_s or 0.0, backoff_s * (0.5 + 0.5 * self._spread()))
        if self._clock() + pause_s - self._since_s > self._limit_s:
            return None
        self.tries += 1
        return pause_s


def _asks_to_come_again(answer: Answer) -> bool:
    return answer.retry_after_s is not None and answer.code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
