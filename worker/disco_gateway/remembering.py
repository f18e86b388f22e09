"""Remembers for a moment what somebody has answered: bounded, and asked once at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[_Value]):
    value: _Value
    until: float


@dataclass(slots=True)
class _Turn:
    """Whose turn it is to ask for one key.

    Attributes:
        waiting: How many want to know, the one who asks included.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Remembered(Generic[_Key, _Value]):
    """Answers by key. Failures are not remembered.

    Args:
        for_s: How long an answer counts.
        most: Answers that are kept; beyond them the one that was used longest ago goes.
        clock: Monotonic seconds.
    """

    def __init__(self, *, for_s: float, most: int, clock: Callable[[], float]) -> None:
        self._for_s = for_s
        self._most = most
        self._clock = clock
        self._entries: OrderedDict[_Key, _Entry[_Value]] = OrderedDict()
        self._asking: dict[_Key, _Turn] = {}

    async def of(self, key: _Key, ask: Callable[[], Awaitable[_Value]]) -> _Value:
        """Return the answer for *key*: one that still counts, or what *ask* returns.

        Many who want the same at the same time wait for one of them to ask.
        """
        turn = self._asking.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                entry = self._entries.get(key)
                if entry is not None and self._clock() < entry.until:
                    self._entries.move_to_end(key)
                    return entry.value
                value = await ask()
                self._entries[key] = _Entry(value, self._clock() + self._for_s)
                self._entries.move_to_end(key)
                while len(self._entries) > self._most:
                    self._entries.popitem(last=False)
                return value
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._asking[key]

    def __len__(self) -> int:
        return len(self._entries)
