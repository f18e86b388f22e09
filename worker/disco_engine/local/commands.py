"""The commands that start a local job's processes, each told the others' addresses beforehand."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from disco_engine.local.ports import ReservedPort
from disco_engine.local.rundir import RunDirectory
from disco_engine.local.supervisor import ChildSpec, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """How the processes of one job are started.

    Attributes:
        job_uid: The job's.
        directory: Of the run.
        coordinator_port: Where the coordinator listens.
        service_ports: Where the partition services listen. Service *i* and every worker whose
            number is *i* modulo their number count as one node.
        slots: Tasks that each worker runs at the same time.
    """

    job_uid: str
    directory: RunDirectory
    coordinator_port: ReservedPort
    service_ports: Sequence[ReservedPort]
    slots: int

    def services(self) -> Iterator[ChildSpec]:
        """Yield how to start each partition service."""
        for index, port in enumerate(self.service_ports):
            name = f"ps-{index}"
            yield self._child(
                name,
                Role.PARTITION_SERVICE,
                "disco_engine.partition",
                *("--job-uid", self.job_uid, "--service-id", name),
                *("--node", self._node(index), "--data-dir", self.directory.sub(f"data/{name}")),
                *("--host", port.host, "--port", port.port),
            )

    def coordinator(self, job_file: Path) -> ChildSpec:
        """Return how to start the coordinator; *job_file* has the job."""
        port = self.coordinator_port
        known = (f"ps-{i}={service.address}" for i, service in enumerate(self.service_ports))
        return self._child(
            "coordinator",
            Role.COORDINATOR,
            "disco_engine.coordinator",
            *("--job-file", job_file),
            *(f"--partition-service={service}" for service in known),
            *("--host", port.host, "--port", port.port),
        )

    def worker(self, number: int) -> ChildSpec:
        """Return how to start a worker."""
        name = f"worker-{number}"
        return self._child(
            name,
            Role.WORKER,
            "disco_engine.worker",
            *("--coordinator", self.coordinator_port.address, "--worker-id", name),
            *("--node", self._node(number), "--slots", self.slots),
            *("--scratch-dir", self.directory.sub(f"scratch/{name}")),
        )

    def _child(self, name: str, role: Role, module: str, *flags: object) -> ChildSpec:
        ready_file = self.directory.sub("ready") / name
        # -P: a module of the user's in the current directory must not shadow one of ours.
        command = [sys.executable, "-P", "-m", module, *map(str, flags)]
        command += ["--ready-file", str(ready_file), "--exit-on-stdin-eof"]
        return ChildSpec(id=name, role=role, command=command, ready_file=ready_file)

    def _node(self, index: int) -> str:
        return f"node-{index % len(self.service_ports)}"
