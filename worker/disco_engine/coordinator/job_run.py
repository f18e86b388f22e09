"""Puts the parts of a coordinator together and runs them until the process is told to stop."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc, job_pb2
from disco_engine.coordinator.driver import Driver, Machine
from disco_engine.coordinator.farewell import Farewell
from disco_engine.coordinator.hearing import Hearing
from disco_engine.coordinator.lobby import Lobby
from disco_engine.coordinator.progress import Counted, Journal, Progress
from disco_engine.coordinator.server import CoordinatorServicer, Desks, Remembering
from disco_engine.coordinator.services import Services
from disco_engine.coordinator.workers import Workers
from disco_engine.core.events import CancelRequested, Tick
from disco_engine.core.model import ServiceId
from disco_engine.core.settings import JobSettings
from disco_engine.rpc import aio_server, listen
from disco_engine.wire import settings_from_wire

log = logging.getLogger(__name__)

TICK_S = 0.1
LATE_TICK_S = 1.0
"""After a pause this long a tick is left out: the heartbeats may be waiting to be read."""
STOP_GRACE_S = 0.5


class WholeMachine(Machine, Counted, Remembering, Protocol):
    """All that is used of ``core.job.JobMachine``."""


class MachineMaker(Protocol):
    """How the machine of a job is made."""

    def __call__(
        self,
        settings: JobSettings,
        *,
        epoch: int,
        has_output: bool,
        services: Collection[ServiceId],
        now: float,
    ) -> WholeMachine:
        """Return the machine of a job that starts, or goes on, with *epoch*."""
        ...


async def run_job(
    spec: job_pb2.JobSpec,
    *,
    host: str,
    port: int,
    services: Mapping[ServiceId, str],
    token: str,
    on_ready: Callable[[int], None],
    stop: asyncio.Event,
    make_machine: MachineMaker,
    least_epoch: int,
    wait_for_services_s: float | None = None,
) -> None:
    """Coordinate the job until *stop* is set, also when the job is over before.

    Args:
        spec: The job.
        host: Where to listen.
        port: Where to listen; 0: any free port.
        services: Addresses (host:port) of the partition services, at least one.
        token: What callers must show, and what is shown to the services.
        on_ready: Told the port when workers may connect.
        stop: Ends the call.
        make_machine: Makes what decides: ``core.job.JobMachine``.
        least_epoch: The process's start in whole seconds since 1970: its epoch is at least that.
            So names of attempts, and of files, do not come again when all services have lost what
            they had and count from the beginning.
        wait_for_services_s: How long to wait for the first partition service; None: for the lease.

    Raises:
        PortTakenError: The port cannot be had.
        IdentityError: The files that the environment names cannot be used.
        CoordinatorError: See ``coordinator.errors`` (in an exception group).
        Exception: A bug (in an exception group).
    """
    server = aio_server(token)
    bound = listen(server, host, port)
    settings = settings_from_wire(spec.settings)
    links = Services(services, job_uid=spec.uid, token=token, lease_s=settings.service_lease_s)
    workers = Workers()
    lobby = Lobby(spec.uid, spec.name)
    servicer = CoordinatorServicer(lobby)
    coordinator_pb2_grpc.add_CoordinatorServicer_to_server(servicer, server)
    patience_s = settings.service_lease_s if wait_for_services_s is None else wait_for_services_s

    async def coordinate() -> None:
        await server.start()
        epoch = await links.next_epoch(
            least=least_epoch,
            patience_s=patience_s,
            hurry=lobby.hurry,
            on_silent=lobby.await_services,
        )
        machine = make_machine(
            settings,
            epoch=epoch,
            has_output=spec.HasField("output"),
            services=services.keys(),
            now=asyncio.get_running_loop().time(),
        )
        parts = _Parts(spec, epoch, settings, machine, workers=workers, services=links)
        if lobby.hurry.is_set():
            parts.desks.driver.feed(CancelRequested(reason=lobby.cancelled_because))
        servicer.open(parts.desks)
        log.info("coordinator serves", extra={"job": spec.uid, "epoch": epoch, "port": bound})
        on_ready(bound)
        await parts.run()

    try:
        async with asyncio.TaskGroup() as tasks:
            coordinating = tasks.create_task(coordinate())
            await stop.wait()
            coordinating.cancel()
    finally:
        await links.close()
        for session in workers.sessions():
            session.close("the coordinator is stopping")
        await server.stop(STOP_GRACE_S)


class _Parts:
    def __init__(
        self,
        spec: job_pb2.JobSpec,
        epoch: int,
        settings: JobSettings,
        machine: WholeMachine,
        *,
        workers: Workers,
        services: Services,
    ) -> None:
        self._epoch = epoch
        self._services = services
        self._lease_s = settings.worker_lease_s
        self._clock = asyncio.get_running_loop().time
        journal = Journal()
        self._farewell = Farewell(workers)
        self._driver = Driver(machine, workers=workers, services=services, journal=journal)
        self._hearing = Hearing(
            self._driver,
            workers=workers,
            services=services,
            farewell=self._farewell,
            journal=journal,
            welcome=coordinator_pb2.Welcome(
                epoch=epoch, job=spec, heartbeat_s=settings.worker_lease_s / 3
            ),
            clock=self._clock,
        )
        self._progress = Progress(
            job_uid=spec.uid,
            name=spec.name,
            epoch=epoch,
            machine=machine,
            journal=journal,
            workers=workers,
            addresses=services.addresses,
            clock=self._clock,
        )
        self.desks = Desks(
            driver=self._driver,
            hearing=self._hearing,
            progress=self._progress,
            machine=machine,
        )

    async def run(self) -> None:
        """Work until the job is over and its last snapshot can be watched."""
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(self._tick()),
                tasks.create_task(self._progress.run()),
            ]
            if self._driver.finished is None:  # else it was cancelled before the first word
                work.append(tasks.create_task(self._services.run(self._epoch, self._driver.feed)))
            finished = await self._driver.ended()
            await self._farewell.run(remove_output=finished.remove_output)
            self._progress.finish(finished)
            for task in work:
                task.cancel()

    async def _tick(self) -> None:
        last = self._clock()
        held_back = False
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            held_back = now - last >= LATE_TICK_S and not held_back
            if not held_back:
                self._hearing.expire(now - self._lease_s)
                self._driver.feed(Tick(now=now))
            last = now
