"""Once a minute, reads everything anew: the net under a watch that lost something.

What the watch should have told and did not is counted; ``health`` judges.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from disco_operator import metrics
from disco_operator.cache import CHILDREN, Cache
from disco_operator.cluster import ClusterError, ForbiddenError, Kind, Listing
from disco_operator.model import MANAGER, JobKey

log = logging.getLogger(__name__)

PERIOD_S = 60.0
PATIENCE_S = 50.0
"""What a list told before the watch is missed if the watch has not told it by the next list."""
RETRY_S = 2.0
OURS = f"app.kubernetes.io/managed-by={MANAGER}"


class Lister(Protocol):
    """Reads all objects of a kind; see ``Cluster``."""

    async def list(self, kind: Kind, namespace: str | None, *, labels: str = "") -> Listing:
        """Return all objects of *kind* in *namespace* (None: everywhere) that match *labels*."""


class ScopeChangedError(Exception):
    """Rights in a namespace were taken away, or given back: start again with those there are."""

    def __init__(self, watched: Sequence[str | None], readable: Sequence[str | None]) -> None:
        super().__init__(
            f"namespaces that can be read: {', '.join(map(str, readable)) or 'none'}; watched:"
            f" {', '.join(map(str, watched)) or 'none'}"
        )


class Resync:
    """Lists, tells the cache, and has every job looked at.

    Args:
        cluster: What to list.
        cache: What to tell.
        namespaces: Which ones; (None,) for all.
        nodes: Whether nodes are read, too.
        look: Asks for a look at a job, so many seconds from now.
        done: Called after each resync, with the number of changes that the watch has missed.
        clock: Monotonic seconds.
        sleep: Waits.
    """

    def __init__(
        self,
        cluster: Lister,
        cache: Cache,
        *,
        namespaces: Sequence[str | None],
        nodes: bool,
        look: Callable[[JobKey, float], None],
        done: Callable[[int], None],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._namespaces = namespaces
        self._nodes = nodes
        self._look = look
        self._done = done
        self._clock = clock
        self._sleep = sleep
        self.readable: tuple[str | None, ...] = ()
        """The namespaces that could be listed the last time; all, unless rights were taken away."""

    async def first(self) -> None:
        """Fill the cache, however often that has to be tried."""
        while True:
            try:
                await self._once(first=True)
                return
            except ClusterError as error:
                log.warning("cluster not listed yet", extra={"error": str(error)})
                await self._sleep(RETRY_S)

    async def run(self) -> None:
        """Resync every minute.

        Raises:
            ScopeChangedError: Other namespaces can be read than are watched.
        """
        watched = self.readable
        while True:
            await self._sleep(PERIOD_S)
            try:
                await self._once(first=False)
            except ClusterError as error:
                log.warning("cluster not listed", extra={"error": str(error)})
            if self.readable != watched:
                raise ScopeChangedError(watched, self.readable)

    async def _once(self, *, first: bool) -> None:
        # Before the lists: what they tell now has had no time yet to be heard.
        late = self._cache.overdue(self._clock(), PATIENCE_S)
        changed: set[JobKey] = set()
        readable: list[str | None] = []
        for namespace in self._namespaces:
            try:
                for kind in (Kind.DISCOJOB, *CHILDREN):
                    labels = "" if kind is Kind.DISCOJOB else OURS
                    changed |= await self._tell(kind, namespace, labels, first=first)
            except ForbiddenError as error:  # deleted, or its RoleBinding: the others go on
                if len(self._namespaces) == 1:
                    raise
                log.warning("namespace not listed", extra={"error": str(error)})
            else:
                readable.append(namespace)
        self.readable = tuple(readable)
        if self._nodes:
            changed |= await self._tell(Kind.NODE, None, "", first=first)
        for key in changed:
            self._look(key, 0.0)
        # The others evenly over the time until the next resync, so that new jobs need not wait.
        rest = [key for key in self._cache.jobs() if key not in changed]
        for index, key in enumerate(rest):
            self._look(key, 0.0 if first else PERIOD_S * index / len(rest))
        if late:
            log.warning(
                "watch missed changes",
                extra={"count": len(late), "first": "{} {}/{}".format(*late[0])},
            )
            metrics.missed(len(late))
        self._done(len(late))

    async def _tell(
        self, kind: Kind, namespace: str | None, labels: str, *, first: bool
    ) -> frozenset[JobKey]:
        listing = await self._cluster.list(kind, namespace, labels=labels)
        now = None if first else self._clock()
        return self._cache.listed(kind, listing, namespace=namespace, now=now)
