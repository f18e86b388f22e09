"""Owns the job's partition services as a whole: the epoch, the plan, who must be told what."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from uuid import uuid4

from disco.v1 import coordinator_pb2
from disco_engine.coordinator.calls import PartitionCalls
from disco_engine.coordinator.errors import NoServiceError
from disco_engine.coordinator.link import Feed, LinkState, ServiceLink, kept_plan
from disco_engine.core.actions import Discard, Drop, Seal
from disco_engine.core.events import PlanRecorded
from disco_engine.core.model import Failure, FailureKind, Plan, ServiceId

log = logging.getLogger(__name__)

REMIND_S = 60.0
"""How often the log says which services are still waited for."""


class Services:
    """All partition services of the job, by name."""

    def __init__(
        self, addresses: Mapping[ServiceId, str], *, job_uid: str, token: str, lease_s: float
    ) -> None:
        self.addresses = {
            service: coordinator_pb2.ServiceAddress(service_id=service, address=address)
            for service, address in addresses.items()
        }
        self._lease_s = lease_s
        caller = uuid4().hex
        self._links = {
            service: ServiceLink(
                PartitionCalls(
                    service,
                    address,
                    job_uid=job_uid,
                    token=token,
                    deadline_s=lease_s,
                    caller=caller,
                ),
                lease_s=lease_s,
            )
            for service, address in addresses.items()
        }
        self._plan_awaited = False

    async def next_epoch(
        self,
        *,
        least: int,
        patience_s: float,
        hurry: asyncio.Event,
        on_silent: Callable[[dict[ServiceId, str]], None],
    ) -> int:
        """Return an epoch greater than any the services have seen, changing nothing.

        Waits for all of them, but for a lease only once the first has answered.

        Args:
            least: What it is at least. Services may have forgotten what they saw, or be silent.
            patience_s: How long to wait for the first.
            hurry: Wait no longer when this is set, even for the first: the job will do nothing.
            on_silent: Told the addresses of those that have not answered, whenever one has.

        Raises:
            NoServiceError: None of them answered.
            ServiceUnusableError: One of them refuses us for good.
        """
        silent = {service: link.address for service, link in self._links.items()}
        seen: list[int] = []
        clock = asyncio.get_running_loop().time
        on_silent(dict(silent))

        async def ask(link: ServiceLink, limit: asyncio.Timeout) -> None:
            epoch = await link.newest_epoch()
            if not seen and not limit.expired():
                limit.reschedule(clock() + self._lease_s)
            seen.append(epoch)
            del silent[link.service]
            on_silent(dict(silent))

        async def hurried(limit: asyncio.Timeout) -> None:
            await hurry.wait()
            if not limit.expired():
                limit.reschedule(clock())

        try:
            async with asyncio.timeout(patience_s) as limit, asyncio.TaskGroup() as tasks:
                helping = [
                    tasks.create_task(hurried(limit)),
                    tasks.create_task(_keep_reminding(silent)),
                ]
                await asyncio.wait(
                    [tasks.create_task(ask(link, limit)) for link in self._links.values()]
                )
                for task in helping:
                    task.cancel()
        except TimeoutError as error:
            if not seen and not hurry.is_set():
                raise NoServiceError(silent, patience_s) from error
            log.warning(
                "going on without some partition services", extra={"silent": sorted(silent)}
            )
        return max([least, *(epoch + 1 for epoch in seen)])

    async def run(self, epoch: int, feed: Feed) -> None:
        """Attach to all services with *epoch* and stay in touch with each.

        Raises:
            FencedError: There is a newer coordinator (in an exception group).
            ServiceUnusableError: A service refuses us for good (in an exception group).
        """
        settled = partial(self._plan_settled, feed)
        async with asyncio.TaskGroup() as tasks:
            for link in self._links.values():
                tasks.create_task(link.run(epoch, feed, settled))

    async def close(self) -> None:
        """Close the connections."""
        for link in self._links.values():
            await link.close()

    def order(self, order: Seal | Discard | Drop) -> None:
        """Tell one service what the machine decided about an attempt."""
        self._links[order.service].order(order)

    def record_plan(self, plan: Plan) -> None:
        """Have every service keep *plan*; PlanRecorded follows when those attached do."""
        self._plan_awaited = True
        kept = kept_plan(plan)
        for link in self._links.values():
            link.keep_plan(kept)

    def named_in(self, failure: Failure) -> ServiceId | None:
        """Return the service that an attempt was reading from when it failed; None: from none.

        The input is then "label 3 from ps-0" (see ``Failure.input`` in common.proto).
        """
        name = ServiceId(failure.input.rpartition(" from ")[2])
        return name if name in self._links else None

    def doubt(self, failure: Failure) -> None:
        """Ask a service again what it has, if *failure* says that a reader missed something."""
        name = self.named_in(failure)
        if name is not None and failure.kind is FailureKind.INFRASTRUCTURE:
            self._links[name].doubt()

    def audit(self, service: ServiceId) -> None:
        """Have a service write down and tell what it holds, now; ServiceAttached follows."""
        self._links[service].audit()

    def _plan_settled(self, feed: Feed) -> None:
        attached = [link for link in self._links.values() if link.state is LinkState.ATTACHED]
        if self._plan_awaited and attached and all(link.keeps_plan for link in attached):
            self._plan_awaited = False
            feed(PlanRecorded())


async def _keep_reminding(silent: Mapping[ServiceId, str]) -> None:
    while True:
        await asyncio.sleep(REMIND_S)
        log.warning("partition services do not answer yet", extra={"silent": dict(silent)})
