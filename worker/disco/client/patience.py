"""Whether, and when, a call that failed is made again."""

import random
import time
from collections.abc import Callable

import grpc

from disco.client.answers import Answer

_FIRST_S = 0.1
_LONGEST_S = 2.0
_SOUND_S = 5.0
"""A stream that spoke, and then held so long, was no failure: proxies cut idle ones."""


class Patience:
    """How long to go on with one call, or with one stream until something comes of it again.

    Args:
        clock: Seconds, monotonic.
        spread: Of the pause before another try; at random, so that clients do not come in step.

    Attributes:
        tries: That failed and were followed by another, since something was last heard.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._spread = spread
        self.tries = 0
        self._failing_since_s: float | None = None
        self._opened_s = 0.0
        self._spoke = False

    def opened(self) -> None:
        """Note that a stream is asked for."""
        self._opened_s = self._clock()
        self._spoke = False

    def heard(self, *, new: bool) -> None:
        """Note that a stream brought a message, and begin anew if it told something *new*.

        One that says the same each time, and breaks, would otherwise be asked for ever.
        """
        self._spoke = True
        if new:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.tries = 0
        self._failing_since_s = None

    def pause_s(self, answer: Answer, limit_s: float) -> float | None:
        """Return how long to wait before the next try; None: do not try again.

        The server's word on when to come again counts, if it still fits.

        Args:
            answer: How the last try failed.
            limit_s: Seconds to go on since the first try that failed; how long it was silent
                before, which a job that nothing happens to is, does not count.
        """
        if not (answer.is_broken or _asks_to_come_again(answer)):
            return None
        now_s = self._clock()
        if self._spoke and now_s - self._opened_s >= _SOUND_S:
            self._begin_anew()
        backoff_s: float = min(_FIRST_S * 2**self.tries, _LONGEST_S)
        pause_s = max(answer.retry_after_s or 0.0, backoff_s * (0.5 + 0.5 * self._spread()))
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        if now_s + pause_s - self._failing_since_s > limit_s:
            return None
        self.tries += 1
        return pause_s


def _asks_to_come_again(answer: Answer) -> bool:
    return answer.retry_after_s is not None and answer.code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
