"""What Ctrl-C, SIGTERM and a closed terminal do to a run: the first cancels, the second kills."""

import queue
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Takes over the signals that ask a program to end, for as long as it is entered.

    A signal becomes an item of a queue, to be dealt with between two other items instead of in the
    middle of something. Only once ``urgent`` is set do signals raise KeyboardInterrupt: what runs
    then (printing, clean-up) takes no items, and copes with being interrupted anywhere.

    Args:
        items: Where the numbers of signals are put.

    Attributes:
        received: The first signal, if there was one.
    """

    def __init__(self, items: "queue.SimpleQueue[Any]") -> None:
        self.received: signal.Signals | None = None
        self.urgent = False
        self._items = items
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as with nohup, and in scripts' "&"
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if self.urgent:
            raise KeyboardInterrupt
        self._items.put(signal.Signals(number))  # which may interrupt itself, unlike Queue's
