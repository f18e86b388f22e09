"""Owns the conversation with one partition service: attach, what it must be told, is it alive.

    NEW ──attach──> ATTACHED ──silent for the lease──> LOST ──answers again──> ATTACHED

Decisions are told in order, one call in flight, while the next batch accumulates. Attach never
overlaps such a call, so what an inventory says and what the results before and after it say follow
each other in time.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from disco.v1 import job_pb2, partition_pb2
from disco_engine.coordinator.calls import PartitionCalls, ServiceSilentError
from disco_engine.coordinator.errors import FencedError
from disco_engine.core.actions import Discard, Drop, Seal
from disco_engine.core.events import (
    Event,
    Kept,
    Sealed,
    SealRefused,
    ServiceAttached,
    ServiceFull,
    ServiceLost,
)
from disco_engine.core.model import AttemptId, Plan
from disco_engine.core.values import size_of_all
from disco_engine.wire import (
    attempt_to_wire,
    plan_from_wire,
    plan_to_wire,
    terms_to_wire,
)

log = logging.getLogger(__name__)

Feed: TypeAlias = Callable[[Event], None]
Order: TypeAlias = Seal | Discard | Drop

CHECK_INTERVAL_S = 1.0
RETRY_INTERVAL_S = 0.2
RECONNECT_S = 5.0
"""How long a service is silent before its name is looked up anew, and again."""
LINGER_S = 0.01
"""Between two calls that tell orders, so that those that come meanwhile travel together."""
MAX_ORDERS_PER_CALL = 2_000
MAX_VALUE_BYTES_PER_CALL = 8 * 1024 * 1024
"""What tasks left beside their records is told together up to this size."""

_HELD = (partition_pb2.DECISION_RESULT_SEALED, partition_pb2.DECISION_RESULT_KEPT)
_REFUSALS = {
    partition_pb2.DECISION_RESULT_DISCARDED: "it has discarded the attempt",
    partition_pb2.DECISION_RESULT_UNKNOWN: "it does not have all of the attempt's output",
}


class LinkState(StrEnum):
    """Where this coordinator stands with a partition service."""

    NEW = "new"  # it has not answered yet
    ATTACHED = "attached"  # it knows this epoch, and the machine knows what it has
    LOST = "lost"  # it was silent for its lease; the machine counts on nothing it had


class KeptPlan(NamedTuple):
    """A serialised plan, and what to tell it by: it may be large."""

    content: bytes
    digest: bytes


class ServiceLink:
    """One partition service, as long as this coordinator lives."""

    def __init__(self, calls: PartitionCalls, *, lease_s: float) -> None:
        self.service = calls.service
        self.address = calls.address
        self.state = LinkState.NEW
        self._calls = calls
        self._lease_s = lease_s
        self._interval_s = min(CHECK_INTERVAL_S, lease_s / 4)
        self._clock = asyncio.get_running_loop().time
        self._epoch = 0
        self._incarnation = ""
        self._attached_at = 0.0
        self._full = False  # what the machine was told last
        self._heard = self._clock()  # when it last answered a check
        self._unheeded_since: float | None = None  # since when orders have not been answered
        self._warned = False
        self._problem = ""  # why it did not answer last
        self._connected = self._heard  # when its name was last looked up, or it answered

        self._attach_wanted = True
        self._attention = asyncio.Event()  # the next check is due now
        self._talking = asyncio.Lock()  # orders and Attach never overlap

        self._orders: list[Order] = []
        self._in_flight: list[Order] = []
        # What it is told again whenever it comes back: it has no record of it, and a worker that is
        # cut off from us goes on pushing.
        self._discards: dict[AttemptId, Discard] = {}
        self._orders_due = asyncio.Event()
        self._plan: KeptPlan | None = None  # what it must keep
        self._plan_due = False  # somebody waits to hear that it does
        self._kept_digest = b""  # of what it keeps

    @property
    def keeps_plan(self) -> bool:
        """Whether the service has said that it keeps the plan."""
        return self._plan is not None and self._kept_digest == self._plan.digest

    def order(self, order: Order) -> None:
        """Tell the service soon, in order; repeated until it answers.

        A service that is not attached is told nothing: its inventory will tell us, if it returns.
        But what is unsealed is in no inventory, so it is told then what it has to discard. What is
        to be discarded need not be sealed before: if another service is asked to seal its copy,
        both could be read for a moment.
        """
        if self.state is LinkState.NEW:
            return
        if isinstance(order, Discard):
            self._discards[order.id] = order
            self._orders = [
                other
                for other in self._orders
                if not (isinstance(other, Seal) and other.id == order.id)
            ]
        elif isinstance(order, Seal):
            self._discards.pop(order.id, None)
        if self.state is LinkState.ATTACHED:
            self._orders.append(order)
            self._orders_due.set()

    def keep_plan(self, plan: KeptPlan) -> None:
        """Have the service keep *plan*, now and whenever it comes back without it."""
        self._plan = plan
        self._plan_due = True
        self._orders_due.set()

    def doubt(self) -> None:
        """Compare inventories: a reader did not find there what the machine said it would."""
        self._attach_wanted = True
        if self._clock() - self._attached_at >= self._interval_s:  # else at the next check
            self._attention.set()

    def audit(self) -> None:
        """Attach again at once: the answer comes when all that is sealed is written down."""
        self._attach_wanted = True
        self._attention.set()

    async def newest_epoch(self) -> int:
        """Return the newest epoch the service has seen, asking until it answers."""
        while True:
            try:
                epoch = await self._calls.epoch_seen()
            except ServiceSilentError as error:
                self._warn(error)
                await self._reconnect_if_due()
                await asyncio.sleep(RETRY_INTERVAL_S)
            else:
                self._heard = self._clock()
                return epoch

    async def run(self, epoch: int, feed: Feed, plan_settled: Callable[[], None]) -> None:
        """Attach with *epoch* and stay in touch; does not return.

        Args:
            epoch: This coordinator's.
            feed: Takes the events that follow.
            plan_settled: Called when the service has said that it keeps the plan, or is lost.

        Raises:
            FencedError: There is a newer coordinator.
            ServiceUnusableError: The service refuses us for good.
        """
        self._epoch = epoch
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_telling(feed, plan_settled))
            tasks.create_task(self._keep_attached(feed, plan_settled))

    async def close(self) -> None:
        """Close the connection."""
        await self._calls.close()

    # --- is it alive, and what has it got -----------------------------------------------------

    async def _keep_attached(self, feed: Feed, plan_settled: Callable[[], None]) -> None:
        while True:
            answered = await self._hear(feed, plan_settled)
            now = self._clock()
            if answered:
                self._heard = self._connected = now
            else:
                await self._reconnect_if_due()
            silence = now - self._heard
            if self._unheeded_since is not None:
                silence = max(silence, now - self._unheeded_since)
            if silence >= self._lease_s and self.state is not LinkState.LOST:
                self._lose(feed, f"it has not answered for {silence:.1f} s ({self._problem})")
                plan_settled()
            await self._next_check(self._interval_s if answered else RETRY_INTERVAL_S)

    async def _hear(self, feed: Feed, plan_settled: Callable[[], None]) -> bool:
        try:
            if not self._attach_wanted:
                await self._check(feed)
            if self._attach_wanted:
                async with self._talking:
                    await self._tell_noted(feed, plan_settled)
                    await self._attach(feed)
        except ServiceSilentError as error:
            self._warn(error)
            return False
        if self._warned:
            log.info("partition service answers again", extra={"service": self.service})
            self._warned = False
        return True

    async def _reconnect_if_due(self) -> None:
        if self._clock() - self._connected < RECONNECT_S:
            return
        async with self._talking:  # so that no call of ours is under way
            await self._calls.reconnect()
        self._connected = self._clock()

    async def _check(self, feed: Feed) -> None:
        reply = await self._calls.stat()
        if reply.epoch > self._epoch:
            raise FencedError(self.service, f"it has seen epoch {reply.epoch}")
        restarted = reply.incarnation != self._incarnation
        if restarted or self.state is not LinkState.ATTACHED:
            self._attach_wanted = True
        elif reply.full != self._full:
            self._full = reply.full
            feed(ServiceFull(service=self.service, full=reply.full, reason=reply.full_reason))

    async def _attach(self, feed: Feed) -> None:
        self._attach_wanted = False  # before the call: a doubt that arises meanwhile counts
        try:
            inventory = await self._calls.attach(self._epoch)
        except ServiceSilentError:
            self._attach_wanted = True
            raise
        plan = None if inventory.plan is None else plan_of(inventory.plan)
        self._kept_digest = b"" if plan is None else kept_plan(plan).digest
        self._plan_due = self._plan is not None  # who waits was told nothing while it was lost
        self._unheeded_since = None
        for one in (*inventory.sealed, *inventory.copies):
            self._discards.pop(one.id, None)  # the machine decides about it anew
        if self.state is LinkState.LOST or inventory.incarnation != self._incarnation:
            noted = {order.id for order in (*self._in_flight, *self._orders)}
            self._orders += [one for id, one in self._discards.items() if id not in noted]
        self._attached_at = self._clock()
        self._incarnation = inventory.incarnation
        self.state = LinkState.ATTACHED
        log.info(
            "partition service attached",
            extra={
                "service": self.service,
                "epoch": self._epoch,
                "incarnation": inventory.incarnation,
                "sealed": len(inventory.sealed),
                "copies": len(inventory.copies),
            },
        )
        feed(
            ServiceAttached(
                service=self.service,
                node=inventory.node,
                incarnation=inventory.incarnation,
                sealed=inventory.sealed,
                copies=inventory.copies,
                plan=plan,
                now=self._clock(),
            )
        )
        self._orders_due.set()

    def _lose(self, feed: Feed, reason: str) -> None:
        log.warning("partition service lost", extra={"service": self.service, "reason": reason})
        self.state = LinkState.LOST
        self._attach_wanted = False  # first see whether it answers at all
        self._orders.clear()
        self._in_flight = []
        self._unheeded_since = None
        self._full = False  # the machine forgets it, too
        feed(ServiceLost(service=self.service, reason=reason))

    async def _next_check(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._attention.wait()
        except TimeoutError:
            return
        self._attention.clear()

    def _warn(self, error: Exception) -> None:
        self._problem = str(error)
        if not self._warned:
            log.warning(
                "partition service does not answer",
                extra={"service": self.service, "address": self.address, "error": str(error)},
            )
            self._warned = True

    # --- what it must be told -----------------------------------------------------------------

    async def _keep_telling(self, feed: Feed, plan_settled: Callable[[], None]) -> None:
        while True:
            await self._orders_due.wait()
            try:
                async with self._talking:
                    told = await self._tell(feed, plan_settled)
                self._unheeded_since = None
                if told:
                    await asyncio.sleep(LINGER_S)
            except ServiceSilentError as error:
                self._warn(error)
                if self._unheeded_since is None:
                    self._unheeded_since = self._clock()
                self._attention.set()
                await asyncio.sleep(RETRY_INTERVAL_S)

    async def _tell_noted(self, feed: Feed, plan_settled: Callable[[], None]) -> None:
        """Tell what has been ordered by now: an inventory must not list what is to be dropped."""
        left = len(self._in_flight) + len(self._orders)
        while left > 0 and (self._in_flight or self._orders):
            left -= await self._tell(feed, plan_settled)

    async def _tell(self, feed: Feed, plan_settled: Callable[[], None]) -> int:
        """Tell the plan, or else the next run of orders of one kind; return how many orders."""
        if self.state is not LinkState.ATTACHED:
            self._orders_due.clear()  # until it is
            return 0
        plan = self._plan
        if plan is not None and (self._plan_due or not self.keeps_plan):
            if not self.keeps_plan:
                await self._calls.record_plan(self._epoch, plan.content)
                self._kept_digest = plan.digest
            self._plan_due = False
            plan_settled()
            return 0
        if not self._in_flight:
            self._in_flight = self._next_orders()
        orders = self._in_flight
        if not orders:
            self._orders_due.clear()
            return 0
        if isinstance(orders[0], Drop):
            await self._calls.drop(self._epoch, [attempt_to_wire(order.id) for order in orders])
            results = None
        else:
            results = await self._calls.decide(self._epoch, [_decision(o) for o in orders])
        if self._in_flight is not orders:
            return 0  # the service was given up meanwhile, and the machine has been told
        self._in_flight = []
        for order, result in zip(orders, results or (), strict=False):
            self._take(order, result, feed)
        return len(orders)

    def _next_orders(self) -> list[Order]:
        """Take the longest run that one call can tell."""
        orders = self._orders
        count = size = 0
        for order in orders[:MAX_ORDERS_PER_CALL]:
            if isinstance(order, Drop) is not isinstance(orders[0], Drop):
                break
            if isinstance(order, Seal) and order.values:
                size += size_of_all(order.values)
                if count and size > MAX_VALUE_BYTES_PER_CALL:
                    break
            count += 1
        taken, self._orders = orders[:count], orders[count:]
        return taken

    def _take(
        self, order: Order, result: partition_pb2.DecisionResult.ValueType, feed: Feed
    ) -> None:
        if result in _HELD:
            self._discards.pop(order.id, None)  # that came too late
        if result == partition_pb2.DECISION_RESULT_SEALED:
            # Also for such a discard: the machine must know that this one is sealed.
            feed(Sealed(id=order.id, service=self.service))
        elif result == partition_pb2.DECISION_RESULT_KEPT:
            feed(Kept(id=order.id, service=self.service))
        elif isinstance(order, Seal):
            reason = _REFUSALS.get(result, f"it answered {result}")
            feed(SealRefused(id=order.id, service=self.service, reason=reason))


def kept_plan(plan: Plan) -> KeptPlan:
    """Return what a service keeps of *plan*; it is the same for equal plans."""
    content = plan_to_wire(plan).SerializeToString(deterministic=True)
    return KeptPlan(content, hashlib.sha256(content).digest())


def plan_of(content: bytes) -> Plan:
    """Return the plan a service keeps."""
    return plan_from_wire(job_pb2.Plan.FromString(content))


def _decision(order: Order) -> partition_pb2.Decision:
    if isinstance(order, Seal):
        return partition_pb2.Decision(seal=terms_to_wire(order, copy=order.copy))
    return partition_pb2.Decision(discard=attempt_to_wire(order.id))
