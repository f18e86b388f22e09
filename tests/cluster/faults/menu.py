"""What can go wrong on a cluster, and how often it does."""

from enum import StrEnum

from chaos.plan import Choice


class Fault(StrEnum):
    """What happens."""

    DELETE = "delete"  # as kubectl does: with the time to end that the pod asked for
    DELETE_NOW = "delete at once"
    RECLAIM = "reclaim"  # as a spot node does: with fifteen seconds to live
    EVICT = "evict"
    KILL = "kill"
    FREEZE = "freeze"
    FILL = "fill"
    DRAIN = "drain"
    CUT_OFF = "cut off"  # the network's cable; what is on the node runs on
    POWER_OFF = "power off"


class Target(StrEnum):
    """To what: a pod of a role, a process, a node, a disk."""

    COORDINATOR = "coordinator"
    SERVICE = "partition-service"
    WORKER = "worker"
    SLOT = "slot"  # the process of a worker that runs the user's code
    OPERATOR = "operator"
    GATEWAY = "gateway"
    API_SERVER = "API server"
    NODE = "node"
    DISK = "disk"  # of a partition service


def _choice(
    fault: Fault,
    target: Target,
    weight: int = 2,
    lasts_s: tuple[float, float] = (0.0, 0.0),
    most: int = 1_000,
) -> Choice:
    return Choice(fault=fault, target=target, weight=weight, lasts_s=lasts_s, most=most)


_ROLES = (Target.COORDINATOR, Target.SERVICE, Target.WORKER)

MENU = (
    *(_choice(Fault.DELETE, role) for role in _ROLES),
    *(_choice(Fault.DELETE_NOW, role) for role in _ROLES),
    *(_choice(Fault.EVICT, role) for role in _ROLES),
    *(_choice(Fault.KILL, role) for role in _ROLES),
    # Shorter and longer than leases, and than the kubelet's patience with probes.
    *(_choice(Fault.FREEZE, role, lasts_s=(1.0, 45.0)) for role in _ROLES),
    _choice(Fault.RECLAIM, Target.WORKER, weight=4),
    _choice(Fault.KILL, Target.SLOT, most=3),
    _choice(Fault.FREEZE, Target.SLOT, lasts_s=(1.0, 15.0)),
    _choice(Fault.FILL, Target.DISK, weight=4, lasts_s=(2.0, 15.0)),
    _choice(Fault.DRAIN, Target.NODE, weight=4, lasts_s=(5.0, 15.0), most=2),
    _choice(Fault.CUT_OFF, Target.NODE, weight=6, lasts_s=(2.0, 30.0), most=2),
    _choice(Fault.POWER_OFF, Target.NODE, lasts_s=(2.0, 20.0), most=1),
    _choice(Fault.KILL, Target.API_SERVER),
    _choice(Fault.FREEZE, Target.API_SERVER, lasts_s=(2.0, 15.0)),
    _choice(Fault.DELETE_NOW, Target.OPERATOR),
    _choice(Fault.FREEZE, Target.OPERATOR, lasts_s=(2.0, 30.0)),
    _choice(Fault.DELETE_NOW, Target.GATEWAY, weight=1),
)
