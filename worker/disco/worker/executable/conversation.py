"""The conversation with a program over its pipes: frames, what it prints, how long it is silent."""

import codecs
import math
import selectors
import sys
import time
from dataclasses import dataclass

from disco.worker.children import Child
from disco.worker.executable.dialogue import Answer, Dialogue
from disco.worker.executable.frames import FrameReader, NotAFrameError, encoded

LAST_WORDS_BYTES = 100_000
_CHUNK_BYTES = 64 * 1024
_CHUNKS_IN_PIPE = 16  # at most, as Linux makes pipes
_MAX_UNREAD_BYTES = 100 * 1024 * 1024
_TICK_S = 1.0
"""How often to look whether a program has ended although its pipes are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a program may be silent; for its work it has the time of the attempt.

    Attributes:
        greeting_s: Seconds until its first message has arrived.
        message_s: Until a message is complete that has begun.
        last_words_s: Until it ends, once it has said what cannot be understood.
    """

    greeting_s: float = 30.0
    message_s: float = 30.0
    last_words_s: float = 10.0


class BrokenOffError(Exception):
    """A conversation ended without the program having said how its task ended.

    Attributes:
        last_words: What the program wrote that is no message, at most 100 kB.
    """

    def __init__(self, reason: str, last_words: bytes) -> None:
        super().__init__(reason)
        self.last_words = last_words


class Conversation:
    """Carries out a dialogue.

    Args:
        program: The other side.
        dialogue: Decides what it is answered.
        patience: With it.
    """

    def __init__(self, program: Child, dialogue: Dialogue, patience: Patience) -> None:
        self._program = program
        self._dialogue = dialogue
        self._patience = patience
        self._reader = FrameReader()
        self._unsent = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._selector = selectors.DefaultSelector()
        self._deadline = time.monotonic() + patience.greeting_s
        self._problem = f"it did not say WORKER within {patience.greeting_s:g} s"
        self._last_words: bytes | None = None  # once it has said what is no message

    def to_its_end(self) -> Answer:
        """Answer the program until it says how its task ended, and return that.

        Raises:
            BrokenOffError: It never did.
        """
        with self._selector:
            self._selector.register(self._program.stdout, selectors.EVENT_READ, self._print_some)
            self._selector.register(self._program.stderr, selectors.EVENT_READ, self._read_some)
            try:
                while (answer := self._some()) is None:
                    if time.monotonic() >= self._deadline:
                        raise self._broken_off(self._problem)
                return answer
            finally:
                for _ in range(_CHUNKS_IN_PIPE):
                    self._print_some()

    def _some(self) -> Answer | None:
        """Do what there is to do with the pipes; wait for it, but not for long."""
        gone = self._program.has_ended  # before the look, so that nothing is missed
        ready = self._selector.select(0 if gone else self._wait_s())
        if gone and not ready:
            raise self._ended()
        for key, _ in ready:
            answer: Answer | None = key.data()
            if answer is not None:
                return answer
        return None

    def _wait_s(self) -> float:
        return max(0.0, min(_TICK_S, self._deadline - time.monotonic()))

    def _print_some(self) -> None:
        """Print what the program prints, as if the task did."""
        if data := self._program.stdout.read(_CHUNK_BYTES):
            sys.stdout.write(self._decoder.decode(data))
        elif data is not None and self._program.stdout in self._selector.get_map():
            self._selector.unregister(self._program.stdout)

    def _read_some(self) -> Answer | None:
        data = self._program.stderr.read(_CHUNK_BYTES)
        if data is None:
            return None
        if not data:
            raise self._ended()
        if self._last_words is not None:
            self._last_words = (self._last_words + data)[-LAST_WORDS_BYTES:]
            return None
        was_amid = self._reader.is_amid_frame
        self._reader.add(data)
        try:
            for frame in self._reader.frames():
                was_amid = False  # in what is left now, if anything is
                answer = self._dialogue.answer(frame)
                if answer.reply is None:
                    return answer
                if answer.delay_s:
                    time.sleep(answer.delay_s)  # the program waits as well, for this reply
                self._send(encoded(answer.reply))
        except NotAFrameError as error:
            self._last_words = self._reader.rest
            self._allow(self._patience.last_words_s, f"it wrote {error}")
            return None
        if not self._reader.is_amid_frame and self._dialogue.greeted:
            self._allow(math.inf, "")
        elif self._dialogue.greeted and not was_amid:
            limit_s = self._patience.message_s
            self._allow(limit_s, f"it took more than {limit_s:g} s over one message")
        return None

    def _allow(self, seconds: float, problem: str) -> None:
        """Wait no longer than this for what comes next; *problem* is what that means."""
        self._deadline = time.monotonic() + seconds
        self._problem = problem

    def _ended(self) -> BrokenOffError:
        how = self._program.how_it_ended(_TICK_S) or "it closed its standard error"
        if self._last_words is None:
            return self._broken_off(f"{how} before it had said DONE")
        return self._broken_off(f"{self._problem}; {how}")

    def _broken_off(self, reason: str) -> BrokenOffError:
        words = self._reader.rest if self._last_words is None else self._last_words
        return BrokenOffError(reason, words[-LAST_WORDS_BYTES:])

    def _send(self, data: bytes) -> None:
        if not self._unsent:
            self._selector.register(self._program.stdin, selectors.EVENT_WRITE, self._write_some)
        self._unsent += data
        if len(self._unsent) > _MAX_UNREAD_BYTES:
            raise BrokenOffError("it asks, but never reads the answers", b"")

    def _write_some(self) -> None:
        try:
            written = self._program.stdin.write(self._unsent)
        except BrokenPipeError:  # it may still have something to say
            written = len(self._unsent)
        del self._unsent[: written or 0]
        if not self._unsent:
            self._selector.unregister(self._program.stdin)
