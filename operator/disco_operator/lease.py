"""Who leads: one replica, by a Lease object; and until when it may write.

Following: read the Lease every second. As long as it changes, somebody leads. When it has not
changed for the time it grants (13 s), or was released, write our name into it; the API server
lets only one of several such writes win.

Leading: write it every 2 s. Whoever has not managed to for 10 s stops writing anything, and ends;
Kubernetes starts the process again, as a follower. So between the last write of one leader and the
first of the next lie 3 s for requests that are still on their way; no request may take longer.

Only our own clock counts, never the times in the Lease: machines' clocks differ. A process that was
frozen wakes up with a clock that went on: it holds nothing any more, before it runs another line.
The clock also counts time during which the whole machine slept, unlike ``time.monotonic``.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from disco_operator.cluster import ClusterError, UnavailableError

log = logging.getLogger(__name__)

DURATION_S = 13
RENEW_EVERY_S = 2.0
RETRY_AFTER_S = 0.5
GIVE_UP_AFTER_S = 10.0
POLL_EVERY_S = 1.0
REQUEST_S = 3.0
"""How long one read or write of the Lease may take: two fit in before giving up."""


def boottime() -> float:
    """Return seconds since the machine started, those asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeadershipLostError(Exception):
    """Another replica leads, or may soon; the process must end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What the Lease object says.

    Attributes:
        holder: Who leads; empty: nobody.
        duration_s: How long it stays theirs after they wrote it last.
        acquired: When they got it. For people.
        renewed: When they wrote it last. For people; that it changes is what counts.
        transitions: How often the holder changed.
        version: Of the object; a write is refused if it is not the newest. Empty: to be created.
    """

    holder: str
    duration_s: int
    acquired: datetime
    renewed: datetime
    transitions: int
    version: str = ""


class LeaseStore(Protocol):
    """Where the Lease is kept."""

    async def read(self, *, timeout_s: float) -> Lease | None:
        """Return the Lease; None: there is none."""

    async def write(self, lease: Lease, *, timeout_s: float) -> Lease | None:
        """Create or replace it; return it as stored, None: somebody wrote or removed it first."""


class Leadership:
    """This replica's part in the election. Also a ``Fence``."""

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        *,
        clock: Callable[[], float] = boottime,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock
        self._sleep = sleep
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._mine: Lease | None = None
        self._written_at = 0.0
        self._tried_at = clock()
        self._trouble = ""

    @property
    def leader(self) -> str:
        """Who leads, as far as we know; empty: nobody."""
        if self._mine is not None:
            return self._identity
        return self._seen.holder if self._seen is not None else ""

    def idle_s(self) -> float:
        """Return for how long nothing was tried, neither to lead nor to go on leading."""
        return self._clock() - self._tried_at

    def held(self) -> bool:
        """Return whether we lead at this very moment."""
        return self._mine is not None and self._clock() < self._written_at + GIVE_UP_AFTER_S

    def allowance_s(self) -> float:
        """Return how long a write may take that begins now; 0: it must not begin."""
        if self._mine is None or (now := self._clock()) >= self._written_at + GIVE_UP_AFTER_S:
            return 0.0
        return self._written_at + DURATION_S - now

    async def acquire(self) -> None:
        """Follow until we lead."""
        while not await self._try():
            await self._sleep(POLL_EVERY_S)

    async def hold(self) -> None:
        """Renew for as long as that works.

        Raises:
            LeadershipLostError: It did not, or somebody else has taken over.
        """
        pause_s = RENEW_EVERY_S
        while True:
            await self._sleep(pause_s)
            if not self.held():
                raise LeadershipLostError(f"the lease was not renewed for {GIVE_UP_AFTER_S:.0f} s")
            try:
                pause_s = RENEW_EVERY_S if await self._renew() else 0.0
            except UnavailableError as error:
                self._warn("lease not renewed", error)
                pause_s = RETRY_AFTER_S

    async def release(self) -> None:
        """Let another replica lead at once; does its best, since the Lease would run out anyway."""
        mine, self._mine = self._mine, None  # from here on nothing is written
        if mine is not None:
            with suppress(ClusterError):
                await self._store.write(
                    replace(mine, holder="", duration_s=1, renewed=datetime.now(UTC)),
                    timeout_s=REQUEST_S,
                )

    async def _try(self) -> bool:
        self._tried_at = self._clock()
        try:
            found = await self._store.read(timeout_s=REQUEST_S)
            now = self._clock()
            if found is None or self._seen is None or found.version != self._seen.version:
                if found is None or self._seen is None or found.holder != self._seen.holder:
                    log.info("following", extra={"leader": found.holder if found else ""})
                self._seen, self._seen_at = found, now
            if found is not None and found.holder and now < self._seen_at + found.duration_s:
                return False
            taken = await self._store.write(self._claim(found), timeout_s=REQUEST_S)
        except ClusterError as error:
            self._warn("lease not readable or writable", error)
            return False
        self._trouble = ""
        if taken is None:
            return False
        # Counted from before the write: nobody can have seen it earlier.
        self._mine, self._written_at = taken, now
        log.info("leading", extra={"leader": self._identity, "transitions": taken.transitions})
        return True

    def _claim(self, found: Lease | None) -> Lease:
        now = datetime.now(UTC)
        return Lease(
            holder=self._identity,
            duration_s=DURATION_S,
            acquired=now,
            renewed=now,
            transitions=0 if found is None else found.transitions + 1,
            version="" if found is None else found.version,
        )

    async def _renew(self) -> bool:
        assert self._mine is not None  # hold() is called after acquire()
        self._tried_at = began = self._clock()
        renewed = replace(self._mine, renewed=datetime.now(UTC))
        written = await self._store.write(renewed, timeout_s=REQUEST_S)
        if written is None:  # an earlier write of ours that timed out may have been carried out
            found = await self._store.read(timeout_s=REQUEST_S)
            if found is None or found.holder != self._identity:
                self._mine = None
                leader = found.holder if found is not None else ""
                raise LeadershipLostError(f"the lease is held by {leader or 'nobody'}")
            self._mine = found
            return False
        self._mine, self._written_at, self._trouble = written, began, ""
        return True

    def _warn(self, event: str, error: ClusterError) -> None:
        # Tried every second or faster: that it fails is news once, not every time.
        if str(error) != self._trouble:
            log.warning(event, extra={"error": str(error)})
        self._trouble = str(error)
