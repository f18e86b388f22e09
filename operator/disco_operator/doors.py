"""The watches: kopf tells what changes, the doors pass it on.

Only ``on.event`` handlers: they need no finalizer and no annotation, and nothing is written. kopf
runs only while this process leads, on its event loop. If it ends for whatever reason, so must the
process: an operator that is up but deaf is worse than one that is started again.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any

import kopf

from disco_operator.api import Credentials
from disco_operator.cluster import RESOURCES, Kind
from disco_operator.model import GROUP, Json
from disco_operator.resync import OURS

WATCH_ENDS_S = 240  # by the API server, which would choose 30 to 60 minutes
WATCH_BROKEN_S = 270
SILENCE_S = 70.0  # bookmarks come every 60 s
CONNECT_S = 5.0
REQUEST_S = 20.0
ENDING_S = 1.0

Heard = Callable[[Kind, str | None, Json], None]
"""Takes what a watch tells: kind, ``ADDED``, ``MODIFIED``, ``DELETED`` or None (it was there), and
the object."""


class WatchEndedError(Exception):
    """kopf stopped watching; the process must end."""


class Doors:
    """What is watched while this process leads.

    Args:
        credentials: How to connect; asked again when the API server does not know us any more.
        namespaces: What to watch; empty: the whole cluster.
        nodes: Whether nodes are watched, too.
        lease: Namespace and name of our Lease, whose changes are expected every two seconds.
        heard: Takes what happens to anything but the Lease.
        heard_lease: Called when the Lease changes.
        stop: Called on SIGTERM and SIGINT, which kopf would else take for itself.
    """

    def __init__(
        self,
        *,
        credentials: Callable[[], Awaitable[Credentials]],
        namespaces: Sequence[str],
        nodes: bool,
        lease: tuple[str, str],
        heard: Heard,
        heard_lease: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        self._credentials = credentials
        self._namespaces = namespaces
        self._nodes = nodes
        self._lease = lease
        self._heard = heard
        self._heard_lease = heard_lease
        self._stop = stop

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            WatchEndedError: kopf has given up.
        """
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=self._settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):  # kopf has just replaced ours
            loop.add_signal_handler(number, self._stop)
        # Not kopf.run_tasks(): when it ends, it also waits for, and then cancels, every task of the
        # event loop that began after it, most of which are ours.
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(tasks)
        reasons = [f"{task.get_name()}: {_reason(task)}" for task in ended]
        raise WatchEndedError(f"kopf stopped watching: {'; '.join(reasons)}")

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kinds = [Kind.DISCOJOB, Kind.POD, Kind.DEPLOYMENT, Kind.STATEFULSET]
        if self._nodes:
            kinds.append(Kind.NODE)
        for kind in kinds:
            resource = RESOURCES[kind]
            kopf.on.event(*_names(resource.api_version, kind.plural), registry=registry)(
                self._door(kind)
            )
        kopf.on.event("coordination.k8s.io", "v1", "leases", registry=registry)(self._canary)
        kopf.on.login(registry=registry)(self._login)
        return registry

    def _door(self, kind: Kind) -> Callable[..., Awaitable[None]]:
        async def changed(*, event: kopf.RawEvent, **_: Any) -> None:
            self._heard(kind, event["type"], dict(event["object"]))

        changed.__name__ = f"{kind.plural}_changed"
        return changed

    async def _canary(self, *, event: kopf.RawEvent, **_: Any) -> None:
        metadata = event["object"]["metadata"]
        if (metadata["namespace"], metadata["name"]) == self._lease:
            self._heard_lease()

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        found = await self._credentials()
        scheme, _space, token = found.authorization.partition(" ")
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_file or None,
            insecure=not found.verify,
            scheme=scheme or None,
            token=token or None,
            certificate_path=found.cert_file or None,
            private_key_path=found.key_file or None,
        )

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.persistence.finalizer = f"{GROUP}/unused"
        settings.persistence.diffbase_storage = _NoDifferences()
        settings.queueing.idle_timeout = 1.0  # tasks per object that was heard of just now
        settings.queueing.exit_timeout = 0.5
        settings.process.ultimate_exiting_timeout = None
        watching, networking = settings.watching, settings.networking
        watching.server_timeout = WATCH_ENDS_S
        watching.client_timeout = WATCH_BROKEN_S
        watching.connect_timeout = CONNECT_S
        watching.inactivity_timeout = SILENCE_S
        watching.chunk_size = 50
        for kind in (Kind.POD, Kind.DEPLOYMENT, Kind.STATEFULSET):
            names = _names(RESOURCES[kind].api_version, kind.plural)
            watching.label_selectors[names] = OURS
        namespace, name = self._lease
        watching.field_selectors["coordination.k8s.io", "v1", "leases"] = (
            f"metadata.name={name},metadata.namespace={namespace}"
        )
        networking.request_timeout = REQUEST_S
        networking.connect_timeout = CONNECT_S
        networking.error_backoffs = _Patience()
        logging.getLogger("kopf").setLevel(logging.WARNING)
        return settings


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """End kopf's tasks, and the watchers that it leaves behind when one of them fails.

    Those have to be cancelled by themselves: cancelled together with all other tasks of the event
    loop, as ``asyncio.run`` does at its end, they take it for a pause of the operator and go on.
    """
    everything = {
        *tasks,
        *(task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for ")),
    }
    for task in everything:
        task.cancel()
    await asyncio.wait(everything, timeout=ENDING_S)


def _reason(task: asyncio.Task[Any]) -> str:
    """Return why a task of kopf's ended, with the error that it began with."""
    if task.cancelled() or (error := task.exception()) is None:
        return "it ended"
    while error.__cause__ is not None:
        error = error.__cause__
    return repr(error)


class _NoDifferences(kopf.DiffBaseStorage):
    """Keeps kopf from copying every object to compare it with what it was: nobody asks for that."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        """Return nothing."""
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Return that nothing was kept."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Keep nothing."""


class _Patience:
    """Seconds between tries, without end: an API server that is away comes back."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0)
        while True:
            yield 3.0


def _names(api_version: str, plural: str) -> tuple[str, str, str]:
    group, _, version = api_version.rpartition("/")
    return group, version, plural
