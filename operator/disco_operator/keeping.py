"""Keeps what a job's coordinator had to tell, before the coordinator goes."""

import asyncio
import logging

from disco.v1 import coordinator_pb2
from disco_operator.children.events import events_config_map, run_of
from disco_operator.cluster import Cluster, ClusterError, FencedError, Kind, UnavailableError
from disco_operator.following import Following
from disco_operator.model import DiscoJob, Json
from disco_operator.wanted import Announcement

log = logging.getLogger(__name__)

PATIENCE_S = 6.0
"""For all of it: a job's end waits so long, and no longer."""
TRIES = 3
PAUSE_S = 0.5


class Keeper:
    """Writes down the events of jobs that end.

    Args:
        cluster: Where to.
        following: Knows how to reach coordinators.
    """

    def __init__(self, cluster: Cluster, following: Following) -> None:
        self._cluster = cluster
        self._following = following

    async def keep(self, job: DiscoJob, *, run: int) -> tuple[Announcement, ...]:
        """Keep a job's events, if its coordinator can still be asked; return what is to be said.

        That it does not work changes nothing for the job.

        Args:
            job: The job, about to be declared over.
            run: How often it was started again.

        Raises:
            FencedError: We do not lead any more.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                told = await self._following.all_events(job)
                problem = "its coordinator does not answer"
                if told is not None:
                    problem = await self._write(job, told, run)
        except TimeoutError:
            problem = f"it took more than {PATIENCE_S:g} s"
        if not problem:
            return ()
        log.warning("events not kept", extra={"job": str(job.key), "reason": problem})
        message = f"what the job printed, and its events, cannot be read any more: {problem}"
        return (Announcement(kind="Warning", reason="EventsNotKept", message=message[:900]),)

    async def _write(self, job: DiscoJob, told: coordinator_pb2.WatchReply, run: int) -> str:
        """Write the ConfigMap; return why that is impossible, or nothing."""
        if not told.events:
            return ""
        manifest = events_config_map(job, told, run=run)
        problem = ""
        for _ in range(TRIES):
            try:
                await self._replace(job, manifest, run)
            except FencedError:
                raise
            except UnavailableError as error:
                problem = str(error)
                await asyncio.sleep(PAUSE_S)
            except ClusterError as error:
                return str(error)
            else:
                return ""
        return problem

    async def _replace(self, job: DiscoJob, manifest: Json, run: int) -> None:
        name = manifest["metadata"]["name"]
        if await self._cluster.create(manifest) is not None:
            return
        found = await self._cluster.get(Kind.CONFIGMAP, job.key.namespace, name)
        if found is not None and job.owns(found) and run_of(found) == run:
            return  # by whoever led a moment ago, or by us, before the status could be written
        if found is not None:
            uid = found["metadata"]["uid"]
            await self._cluster.delete(Kind.CONFIGMAP, job.key.namespace, name, uid=uid)
        await self._cluster.create(manifest)
