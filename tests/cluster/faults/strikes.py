"""Carries out on a cluster what was planned, and undoes it."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from chaos.plan import Planned
from harness import processes
from harness.gateway import Gateway
from harness.jobs import RunningJob, node_of
from harness.kubectl import Api, Object
from harness.nodes import Nodes
from harness.release import Operator

from faults.menu import Fault, Target

T = TypeVar("T")

DATA_DIR = "/data"
_SPOT_NOTICE_S = 15
_PROGRAMS = {Target.SLOT: "disco_engine.worker.slot", Target.API_SERVER: "kube-apiserver"}


class NothingToStrikeError(Exception):
    """There is no such thing now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """Something that was done.

    Attributes:
        what: To which pod, node or process.
        undo: Undoes it; may be called more than once.
    """

    what: str
    undo: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saboteur:
    """Strikes jobs and what they run on.

    Attributes:
        api: The API server.
        cluster: Of ``kube/``.
        nodes: All of them.
        operator: The operator.
        gateway: The gateway.
        jobs: Whose pods are struck.
        filled: Those of them whose partition services have file systems small enough to be filled.
    """

    api: Api
    cluster: str
    nodes: Nodes
    operator: Operator
    gateway: Gateway
    jobs: Sequence[RunningJob]
    filled: Sequence[RunningJob] = ()

    def strike(self, planned: Planned) -> Struck:
        """Do what was planned.

        Raises:
            NothingToStrikeError: There is nothing of the kind, at the moment.
        """
        try:
            match Target(planned.target):
                case Target.NODE:
                    return self._strike_node(planned)
                case Target.DISK:
                    return self._fill(planned)
                case Target.API_SERVER | Target.SLOT as target:
                    return self._strike_program(planned, target)
                case target:
                    return self._strike_pod(planned, target)
        except processes.NoProcessError as error:
            raise NothingToStrikeError(str(error)) from error

    def _strike_pod(self, planned: Planned, target: Target) -> Struck:
        pod = _picked(planned, list(self._pods(target)))
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        delete = partial(self.api.delete, "pods", namespace, name)
        match Fault(planned.fault):
            case Fault.DELETE:
                delete()
            case Fault.DELETE_NOW:
                delete(grace_s=0)
            case Fault.RECLAIM:
                delete(grace_s=_SPOT_NOTICE_S)
            case Fault.EVICT:
                self.api.evict(namespace, name)
            case fault:
                group = processes.of_pod(self.cluster, pod)
                return _signal(name, group, group.main(), fault)
        return Struck(what=name)

    def _strike_program(self, planned: Planned, target: Target) -> Struck:
        if target is Target.SLOT:
            pod = _picked(planned, list(self._pods(Target.WORKER)))
            name, group = pod["metadata"]["name"], processes.of_pod(self.cluster, pod)
        else:
            name, group = target.value, processes.of_control_plane(self.cluster)
        pid = planned.picked(group.named(_PROGRAMS[target]))
        if pid is None:
            raise NothingToStrikeError(f"no {target} in {name}")
        return _signal(name, group, pid, Fault(planned.fault))

    def _strike_node(self, planned: Planned) -> Struck:
        node = _picked(planned, self.nodes.names())
        match Fault(planned.fault):
            case Fault.CUT_OFF:
                self.nodes.partition(node)
                return Struck(what=node, undo=partial(self.nodes.heal, node))
            case Fault.POWER_OFF:
                self.nodes.kill(node)
                return Struck(what=node, undo=partial(self.nodes.start, node))
            case _:
                self.nodes.cordon(node)
                for pod in self._all_pods():
                    if node_of(pod) == node:
                        self.api.evict(pod["metadata"]["namespace"], pod["metadata"]["name"])
                return Struck(what=node, undo=partial(self.nodes.uncordon, node))

    def _fill(self, planned: Planned) -> Struck:
        pods = [pod for job in self.filled for pod in job.pods(Target.SERVICE)]
        pod = _picked(planned, pods)
        main = processes.of_pod(self.cluster, pod).main()
        ballast = processes.fill(main, DATA_DIR)
        return Struck(what=pod["metadata"]["name"], undo=ballast.close)

    def _pods(self, target: Target) -> Iterator[Object]:
        match target:
            case Target.OPERATOR:
                yield from self.operator.pods()
            case Target.GATEWAY:
                yield from self.gateway.pods()
            case role:
                for job in self.jobs:
                    yield from job.pods(role)

    def _all_pods(self) -> Iterator[Object]:
        for job in self.jobs:
            yield from job.pods()
        # Both have disruption budgets, which a drain waits for; here is nobody to wait.
        yield from self.operator.pods()[:1]


def _picked(planned: Planned, things: Sequence[T]) -> T:
    found = planned.picked(things)
    if found is None:
        raise NothingToStrikeError(f"there is no {planned.target}")
    return found


def _signal(what: str, group: processes.Group, pid: int, fault: Fault) -> Struck:
    if fault is Fault.KILL:
        group.send(pid, signal.SIGKILL)
        return Struck(what=what)
    group.send(pid, signal.SIGSTOP)
    return Struck(what=what, undo=partial(group.send, pid, signal.SIGCONT))
