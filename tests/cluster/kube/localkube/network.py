"""The network that joins a cluster's machines and leads nowhere else."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess

from .addresses import SERVICE_NET
from .common import Failure, output, run
from .machines import Cluster


def enter_netns(name: str) -> None:
    """Move this process into a named network namespace (os.setns came with Python 3.12)."""
    libc, fd = ctypes.CDLL(None, use_errno=True), os.open(f"/run/netns/{name}", os.O_RDONLY)
    if libc.setns(fd, 0):
        raise OSError(ctypes.get_errno(), f"setns {name}")
    os.close(fd)


def ip(netns: str, *commands: str) -> None:
    """Run `ip` commands in a network namespace, in one go."""
    result = subprocess.run(
        ["ip", "-n", netns, "-batch", "-"],
        input="\n".join(commands),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise Failure(f"ip, in {netns}: {result.stderr.strip()}")


def network_namespaces(cluster: Cluster) -> list[str]:
    """The cluster's network namespaces that exist."""
    names = [line.split()[0] for line in output("ip", "netns", "list").splitlines()]
    return [n for n in names if re.fullmatch(rf"{cluster.name}(-node-\d+)?", n)]


def wire(cluster: Cluster) -> None:
    """Make the network: a namespace for each machine, a bridge, routes between machines only."""
    known = network_namespaces(cluster)
    for machine in cluster.machines:
        if machine.netns in known:
            continue
        run("ip", "netns", "add", machine.netns)
        if machine.index:
            ip(
                machine.netns,
                f"link add eth0 type veth peer name {machine.name} netns {cluster.name}",
            )
            ip(cluster.name, f"link set {machine.name} master br0 up")
        port = "eth0" if machine.index else "br0"
        ip(
            machine.netns,
            "link set lo up",
            *([] if machine.index else ["link add br0 type bridge"]),
            f"addr add {machine.ip}/24 dev {port}",
            f"link set {port} up",
            f"route add {SERVICE_NET} dev {port}",
        )
    for machine in cluster.machines:
        ip(
            machine.netns,
            *(
                f"route replace {node.pods} via {node.ip}"
                for node in cluster.nodes
                if node.index != machine.index
            ),
        )
