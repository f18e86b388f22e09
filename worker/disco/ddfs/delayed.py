"""Updates of tags that wait a moment, so that several become one."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from disco.ddfs.names import TagAddress
from disco.ddfs.tags import Link

log = logging.getLogger(__name__)

_LONGEST_S = 1.0


class Append(Protocol):
    """Adds links to a tag."""

    def __call__(self, address: TagAddress, links: Sequence[Link], *, only_new: bool) -> None:
        """Add *links* to the tag at *address*."""
        ...


class Delayed:
    """Updates that wait.

    They are made when one is added and the oldest has waited for a second, when asked, and when the
    program ends. Nothing happens in between: there is no thread.

    Args:
        append: Makes an update.
        clock: Returns seconds that never go back.
    """

    def __init__(self, append: Append, clock: Callable[[], float]) -> None:
        self._append = append
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[tuple[TagAddress, bool], list[Link]] = {}
        self._since = 0.0

    def add(self, address: TagAddress, links: Sequence[Link], *, only_new: bool) -> None:
        """Keep an update, and make all if the time has come."""
        with self._lock:
            if not self._waiting:
                self._since = self._clock()
            waiting = self._waiting.setdefault((address, only_new), [])
            waiting[:0] = links  # the newest come first
            due = self._clock() - self._since >= _LONGEST_S
            _waiting.add(self)
        if due:
            self.flush()

    def flush(self) -> None:
        """Make all updates.

        Raises:
            CommError: One cannot be made: it and those after it still wait.
        """
        with self._lock:
            while self._waiting:
                address, only_new = next(iter(self._waiting))
                self._append(address, self._waiting[address, only_new], only_new=only_new)
                del self._waiting[address, only_new]
            _waiting.discard(self)


_waiting: set[Delayed] = set()
"""Those that have something to do before the program ends."""


def _flush_all() -> None:
    for delayed in list(_waiting):
        try:
            delayed.flush()
        except Exception:
            log.exception("delayed updates of tags are lost: they could not be made at the end")


# atexit is too late: object stores are talked to through threads, and by then none can be started.
threading._register_atexit(_flush_all)  # type: ignore[attr-defined]
