"""The partition services of a job: who is there, and where the next attempt pushes."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from disco_engine.core.model import AttemptId, NodeName, ServiceId


@dataclass(slots=True, kw_only=True)
class Service:
    """An attached partition service.

    Attributes:
        incarnation: Changes when its process starts; empty: unknown.
        full: Its disk takes no more.
        full_reason: Which disk, and how full it is.
        unsealed: The attempts that push to it, or wait for its seal or until it keeps them (a
            dictionary for its order).
        assigned: Attempts that were ever told to push to it.
    """

    id: ServiceId
    node: NodeName
    incarnation: str
    full: bool = False
    full_reason: str = ""
    unsealed: dict[AttemptId, None] = field(default_factory=dict)
    assigned: int = 0


class ServicePool:
    """The attached services, and those that are still expected.

    Args:
        expected: Those the job was started with.
    """

    def __init__(self, expected: Collection[ServiceId]) -> None:
        self._awaited = set(expected)
        self._known: set[ServiceId] = set()
        self._attached: dict[ServiceId, Service] = {}

    def __len__(self) -> int:
        return len(self._attached)

    def __iter__(self) -> Iterator[Service]:
        return iter(self._attached.values())

    @property
    def settled(self) -> bool:
        """Every expected service was attached or lost, and at least one is attached now."""
        return not self._awaited and bool(self._attached)

    def get(self, name: ServiceId) -> Service | None:
        """Return a service; None: it is not attached."""
        return self._attached.get(name)

    def knows(self, name: ServiceId) -> bool:
        """Return whether a service was ever attached."""
        return name in self._known

    def attach(self, name: ServiceId, node: NodeName, incarnation: str) -> bool:
        """Add a service, or note that it attached again.

        Returns:
            Whether what was being pushed to it is lost: its process is another than before.
        """
        self._awaited.discard(name)
        self._known.add(name)
        service = self._attached.get(name)
        if service is None:
            self._attached[name] = Service(id=name, node=node, incarnation=incarnation)
            return True
        restarted = not incarnation or service.incarnation != incarnation
        service.node, service.incarnation = node, incarnation
        return restarted

    def lose(self, name: ServiceId) -> Service | None:
        """Remove a service and return it; None: it was not attached."""
        self._awaited.discard(name)
        return self._attached.pop(name, None)

    def set_full(self, name: ServiceId, full: bool, reason: str = "") -> None:
        """Note whether a service's disk takes more, and if not, why."""
        service = self._attached.get(name)
        if service is not None:
            service.full, service.full_reason = full, reason

    @property
    def all_full(self) -> bool:
        """There are services, and the disks of all of them are full."""
        return bool(self._attached) and all(service.full for service in self)

    def to_push(self, node: NodeName) -> Service | None:
        """Return where an attempt on *node* pushes: nearby if possible, where least is going on.

        Returns:
            None if no service takes more.
        """
        usable = [service for service in self if not service.full]
        return _least_loaded([s for s in usable if s.node == node] or usable)

    def to_seal(self) -> Service | None:
        """Return who keeps the seal of an attempt that pushed nothing; None: nobody is there."""
        return _least_loaded(list(self))

    def to_copy(self, primary: Service) -> Service | None:
        """Return where what *primary* gets is kept, too: on another node if possible.

        Returns:
            None if no other service takes more.
        """
        usable = [s for s in self if s is not primary and not s.full]
        return _least_loaded([s for s in usable if s.node != primary.node] or usable)

    def assign(self, service: Service, attempt: AttemptId) -> None:
        """Note that an attempt pushes to *service*, or waits for its seal."""
        if attempt not in service.unsealed:
            service.unsealed[attempt] = None
            service.assigned += 1

    def ended(self, name: ServiceId, attempt: AttemptId) -> None:
        """Note that an attempt is sealed, discarded or lost."""
        service = self._attached.get(name)
        if service is not None:
            service.unsealed.pop(attempt, None)


def _least_loaded(services: list[Service]) -> Service | None:
    if len(services) < 2:
        return services[0] if services else None
    # Attempts in flight first; then who has had fewer, so that idle services take turns.
    return min(services, key=lambda s: (len(s.unsealed), s.assigned, s.id))
