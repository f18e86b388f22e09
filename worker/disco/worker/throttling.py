"""Disco's limits of how many messages a task may send: for jobs with ``limit_messages`` only.

Who sends more than five within a second waits for 200 ms after each; ten end the job. A message is
what Disco's own Python worker made one of: each text that is written to standard output and is not
blank, so that ``print(one, two)`` sends two.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import IO, Any, cast

from disco.error import DiscoError
from disco_engine.program import ProgramError, fatal

WINDOW_S = 1.0
_UNHINDERED = 5
_FATAL = 10
PAUSE_S = 0.2


class TooManyMessagesError(DiscoError):
    """A task has sent so many messages that its job has to end."""


class MessageLimit:
    """Counts the messages of one task.

    Args:
        clock: Seconds since whenever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: deque[float] = deque(maxlen=_FATAL)

    def count(self) -> float:
        """Count a message, and return for how many seconds its sender has to wait.

        Raises:
            TooManyMessagesError: It is one too many.
        """
        now = self._clock()
        self._recent.append(now)
        while now - self._recent[0] > WINDOW_S:
            self._recent.popleft()
        if len(self._recent) >= _FATAL:
            raise TooManyMessagesError(
                f"Worker is behaving badly: {_FATAL} messages within a second; let it say less, or"
                " run the job without limit_messages"
            )
        return PAUSE_S if len(self._recent) > _UNHINDERED else 0.0


@contextmanager
def limited_messages() -> Iterator[None]:
    """Limit what is printed until the block ends.

    Raises:
        ProgramError: FATAL: it was too much, also if the user's code has caught that.
    """
    output = _LimitedOutput(sys.stdout)
    try:
        with redirect_stdout(cast("IO[str]", output)):
            yield
    finally:
        if output.refusal is not None:
            raise output.refusal


class _LimitedOutput:
    """Standard output, whose writer waits or is refused; else as it was.

    Attributes:
        refusal: Why more is refused; None: it is not.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.refusal: ProgramError | None = None
        self._stream = stream
        self._limit = MessageLimit()

    def write(self, text: str) -> int:
        written = self._stream.write(text)
        if text and not text.isspace():
            try:
                time.sleep(self._limit.count())
            except TooManyMessagesError as error:
                self.refusal = fatal(str(error))
                raise self.refusal from error
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
