"""Clusters and their machines: folders of state, and a process that is PID 1 of each."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .addresses import CONTROL_IP, NODE_IP, NODE_PODS
from .cgroups import remove_cgroup
from .common import STATE, TOOL, Failure, clean_environment, output, start_time, wait_for


class Cluster:
    """A named cluster and its folder of state."""

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name):
            raise Failure(f"bad cluster name {name!r}: letters, digits and dashes, at most 20")
        self.name, self.dir = name, STATE / name
        self.settings: dict[str, Any] = {"nodes": 0, "fake": 0, "args": []}
        if (self.dir / "cluster.json").exists():
            self.settings |= json.loads((self.dir / "cluster.json").read_text())

    @property
    def control(self) -> Machine:
        """The control plane's machine."""
        return Machine(self, 0)

    @property
    def nodes(self) -> list[Machine]:
        """The real nodes."""
        return [Machine(self, i + 1) for i in range(self.settings["nodes"])]

    @property
    def machines(self) -> list[Machine]:
        """Every machine, the control plane first."""
        return [self.control, *self.nodes]

    def machine(self, name: str) -> Machine:
        """The machine with this name."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise Failure(
            f"cluster {self.name} has no machine {name!r}:"
            f" {', '.join(m.name for m in self.machines)}"
        )

    def running(self) -> Cluster:
        """This cluster, if its control plane runs."""
        if not self.control.pid:
            raise Failure(f"cluster {self.name} is not up; run `kube up --name {self.name}`")
        return self

    def extra_args(self, component: str) -> list[str]:
        """What `up --arg component=--flag` added."""
        return [
            a.partition("=")[2] for a in self.settings["args"] if a.partition("=")[0] == component
        ]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one `up` or `down` at a time change this cluster."""
        STATE.mkdir(parents=True, exist_ok=True)
        with open(STATE / f".{self.name}.lock", "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Machine:
    """One machine of a cluster: 0 is the control plane, 1... are the nodes."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        self.cluster, self.index = cluster, index
        self.name = f"node-{index}" if index else "control"
        self.netns = f"{cluster.name}-{self.name}" if index else cluster.name
        self.ip = NODE_IP.format(10 + index) if index else CONTROL_IP
        self.pods = NODE_PODS.format(index)
        self.cgroup = f"disco-kube/{cluster.name}/{self.name}"
        self.dir = cluster.dir / self.name  # holds its /var and /tmp
        self.etc = self.dir / "var/lib/kube"  # certificates and configuration: /var/lib/kube inside
        self.log = self.dir / "var/log"

    @property
    def pid(self) -> int | None:
        """The machine's PID 1 as this side sees it, if it lives."""
        try:
            pid, started = (self.dir / "pid").read_text().split()
            return int(pid) if start_time(pid) == started else None
        except (OSError, ValueError):
            return None

    @property
    def partitioned(self) -> bool:
        """Whether the machine's cable is pulled."""
        link = json.loads(output("ip", "-n", self.cluster.name, "-j", "link", "show", self.name))
        return "UP" not in link[0]["flags"]

    def boot(self) -> None:
        """Boot the machine unless it runs."""
        if self.pid:
            return
        (self.dir / "pid").unlink(missing_ok=True)
        remove_cgroup(self.cgroup)  # what a power cut left: kubelet would ask after each container
        with open(self.dir / "machine.log", "ab") as log:
            process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net=/run/netns/{self.netns}",
                    "unshare",
                    "--mount",
                    "--uts",
                    "--ipc",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    sys.executable,
                    str(TOOL),
                    "_boot",
                    self.cluster.name,
                    self.name,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=clean_environment("/run/bin"),
            )
        wait_for(
            f"{self.name} to boot; see {log.name}",
            lambda: self.pid or process.poll() is not None,
            20,
            0.02,
        )
        if not self.pid:
            raise Failure(f"{self.name} did not boot:\n{Path(log.name).read_text()[-1500:]}")

    def stop(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Cut the power (SIGKILL), or shut down in order (SIGTERM): PID 1 takes all with it."""
        if pid := self.pid:
            os.kill(pid, sig)
            try:
                wait_for(f"{self.name} to stop", lambda: not self.pid, 15, 0.02)
            except Failure:
                os.kill(pid, signal.SIGKILL)
                wait_for(f"{self.name} to die", lambda: not self.pid, 15, 0.02)

    def command(self, *argv: str) -> list[str]:
        """A command line that runs `argv` inside the machine."""
        if not self.pid:
            raise Failure(f"{self.name} is not running")
        return [
            "nsenter",
            "--target",
            str(self.pid),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--",
            *argv,
        ]

    def memory(self) -> int:
        """Bytes of anonymous memory of everything in the machine, pods included."""
        for file, key in (("/sys/fs/cgroup/memory", "total_rss"), ("/sys/fs/cgroup", "anon")):
            statistics = Path(file, self.cgroup, "memory.stat")
            with suppress(OSError):
                if found := re.search(rf"^{key} (\d+)$", statistics.read_text(), re.M):
                    return int(found[1])
        return 0
