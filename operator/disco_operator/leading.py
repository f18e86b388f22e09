"""What runs while this process leads: everything between the watches and ``reconcile``."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from disco_engine.rpc import Line
from disco_operator.api import Api
from disco_operator.cache import Cache
from disco_operator.cluster import ForbiddenError, Kind
from disco_operator.doors import Doors
from disco_operator.following import Following
from disco_operator.health import Signs
from disco_operator.identity import Identities, master_key
from disco_operator.kube import KubeCluster
from disco_operator.lease import Leadership
from disco_operator.lines import Lines
from disco_operator.loop import Loop
from disco_operator.metrics import Measures
from disco_operator.model import DiscoJob, JobKey, Json, OperatorSettings
from disco_operator.names import coordinator_address
from disco_operator.patience import patiently
from disco_operator.reconcile import Reconciler
from disco_operator.resync import Resync

ENDING_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where this operator works.

    Attributes:
        namespaces: Which namespaces; empty: all.
        home: Its own, where Lease and master key are.
        lease: The Lease's name.
        instance: The name of this process.
    """

    namespaces: tuple[str, ...]
    home: str
    lease: str
    instance: str

    @property
    def watched(self) -> tuple[str, ...]:
        """The namespaces to watch; empty: all. Its own is one of them, because of the Lease."""
        return tuple(sorted({*self.namespaces, self.home})) if self.namespaces else ()


class Leader:
    """This process, from getting the lease to its end.

    Args:
        api: The API server.
        leadership: Held when ``run`` is called.
        scope: Where to work.
        settings: For the jobs.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        api: Api,
        leadership: Leadership,
        scope: Scope,
        settings: OperatorSettings,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._leadership = leadership
        self._scope = scope
        self._settings = settings
        self._clock = clock
        self._cluster = KubeCluster(api, fence=leadership, instance=scope.instance)
        self._cache = Cache()
        self._measures = Measures()
        self._loop = Loop(self._look, clock=clock)
        self._reconciler: Reconciler | None = None
        self._began_at = clock()
        self._resynced_at: float | None = None
        self._lease_heard_at: float | None = None
        self._misses = 0

    async def run(self, stop: asyncio.Event, *, ending: Callable[[], None]) -> None:
        """Reconcile until *stop* is set; then let another replica lead.

        Args:
            stop: Set when the process shall end.
            ending: Called when it begins to end, for whatever reason.

        Raises:
            ExceptionGroup: of ``LeadershipLostError``, ``FencedError``, ``WatchEndedError``,
                ``ScopeChangedError``, ``MasterKeyError``, or a bug: the process must end.
        """
        async with asyncio.TaskGroup() as tasks:
            holding = tasks.create_task(self._leadership.hold(), name="hold the lease")
            working = tasks.create_task(self._work(stop), name="work")
            try:
                await stop.wait()
            finally:  # also if a task has failed, before the others have ended
                ending()
            working.cancel()
            await asyncio.wait({working}, timeout=ENDING_S)
            holding.cancel()
            await asyncio.wait({holding}, timeout=ENDING_S)
            await self._leadership.release()

    async def _work(self, stop: asyncio.Event) -> None:
        identities = Identities(
            await patiently(lambda: master_key(self._cluster, self._scope.home))
        )
        nodes = await patiently(self._may_watch_nodes)
        resync = Resync(
            self._cluster,
            self._cache,
            namespaces=self._scope.watched or (None,),
            nodes=nodes,
            look=self._ask,
            done=self._resynced,
            clock=self._clock,
        )
        async with Following(self._ask, _connector(identities)) as following:
            self._reconciler = Reconciler(
                cluster=self._cluster,
                cache=self._cache,
                following=following,
                identities=identities,
                measures=self._measures,
                operator=self._settings,
            )
            await resync.first()
            doors = Doors(
                credentials=self._api.credentials,
                # A watch that is refused would end all others.
                namespaces=tuple(filter(None, resync.readable)),
                nodes=nodes,
                lease=(self._scope.home, self._scope.lease),
                heard=self._heard,
                heard_lease=self._heard_lease,
                stop=stop.set,
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._loop.run(), name="reconcile")
                tasks.create_task(resync.run(), name="resync")
                tasks.create_task(doors.run(), name="watch")

    async def _may_watch_nodes(self) -> bool:
        if self._scope.namespaces:
            return False
        try:
            await self._cluster.list(Kind.NODE, None)
        except ForbiddenError:
            return False
        return True

    def _look(self, key: JobKey) -> Awaitable[float | None]:
        assert self._reconciler is not None  # the loop runs after it was made
        return self._reconciler.reconcile(key)

    def _ask(self, key: JobKey, delay_s: float = 0.0) -> None:
        """Have a job looked at, if it is ours: the home may be watched for the Lease only."""
        if not self._scope.namespaces or key.namespace in self._scope.namespaces:
            self._loop.add(key, delay_s=delay_s)

    def _heard(self, kind: Kind, change: str | None, body: Json) -> None:
        for key in self._cache.heard(kind, change, body):
            self._ask(key)

    def _heard_lease(self) -> None:
        self._lease_heard_at = self._clock()

    def _resynced(self, missed: int) -> None:
        self._resynced_at = self._clock()
        self._misses = self._misses + 1 if missed else 0

    # --- what health and metrics ask

    def signs(self) -> Signs:
        """Return how this process is doing as a leader."""
        now = self._clock()
        return Signs(
            leader=self._leadership.leader,
            leading_s=now - self._began_at,
            lease_idle_s=self._leadership.idle_s(),
            warm=self._resynced_at is not None,
            resync_age_s=None if self._resynced_at is None else now - self._resynced_at,
            watch_age_s=self.watch_age_s(),
            stalled_s=self._loop.stalled_s(),
            misses=self._misses,
        )

    def leading(self) -> bool:
        """Return whether we lead at this moment."""
        return self._leadership.held()

    def watch_age_s(self) -> float | None:
        """Return how long ago the watch delivered the Lease; None: not yet."""
        return None if self._lease_heard_at is None else self._clock() - self._lease_heard_at

    def waiting(self) -> int:
        """Return how many jobs are due for a look."""
        return self._loop.waiting()

    def phases(self) -> Mapping[str, int]:
        """Return how many jobs are in each phase."""
        return self._measures.phases()


def _connector(identities: Identities) -> Callable[[DiscoJob], Line]:
    lines = Lines(identities)
    return lambda job: lines.to(job.uid, coordinator_address(job.key))
