"""The verbs that act on a running cluster: commands inside it, faults, images."""

from __future__ import annotations

import argparse
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from .common import BIN, Failure, clean_environment, say
from .images import base_images, build_image
from .lifecycle import start
from .machines import Cluster
from .network import ip
from .store import import_images, store_image


def execute(args: argparse.Namespace) -> NoReturn:
    """Verb `exec`: become a command inside the control plane's network, with the cluster's DNS."""
    cluster = Cluster(args.name).running()
    os.environ |= {
        "KUBE_NAME": cluster.name,
        "KUBECONFIG": str(cluster.dir / "admin.conf"),
        "KUBECACHEDIR": str(cluster.dir / "cache/kubectl"),
    }
    os.environ |= {
        f"HELM_{kind}_HOME": str(cluster.dir / "cache/helm" / kind.lower())
        for kind in ("CACHE", "CONFIG", "DATA")
    }
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    os.execvpe(
        "nsenter",
        [
            "nsenter",
            f"--net=/run/netns/{cluster.name}",
            "unshare",
            "--mount",
            "sh",
            "-c",
            script,
            str(cluster.dir / "resolv.conf"),
            *command_of(args),
        ],
        clean_environment(str(BIN)),
    )


def command_of(args: argparse.Namespace) -> list[str]:
    """The command after `--`."""
    command: list[str] = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise Failure("which command?")
    return command


def environment(args: argparse.Namespace) -> None:
    """Verb `env`: shell exports that make kubectl and helm, run anywhere, go to the cluster."""
    cluster = Cluster(args.name).running()
    print(
        f"export KUBE_NAME='{cluster.name}' KUBECONFIG='{cluster.dir / 'admin.conf'}'"
        f" PATH='{cluster.dir / 'bin'}':\"$PATH\""
    )


def node(args: argparse.Namespace) -> None:
    """Verb `node`: faults, and commands inside a node."""
    cluster = Cluster(args.name).running()
    machine = cluster.machine(args.node)
    if args.action == "exec":
        argv = machine.command(*command_of(args))
        os.execvpe(argv[0], argv, clean_environment("/run/bin"))
    with cluster.lock():
        if args.action == "start":
            start(machine)
        elif args.action in ("stop", "kill"):
            machine.stop(signal.SIGTERM if args.action == "stop" else signal.SIGKILL)
        elif machine.index:
            ip(
                cluster.name,
                f"link set {machine.name} {'down' if args.action == 'partition' else 'up'}",
            )
        else:
            raise Failure("the control plane cannot be partitioned; partition the nodes")


def image(args: argparse.Namespace) -> None:
    """Verb `image`: build an image, load images into the nodes."""
    if args.action == "build":
        base_images(args.base)
        build_image(
            args.tag, args.file or Path(args.context, "Dockerfile"), args.context, args.build_arg
        )
        say(f"{args.tag}: built")
        return
    cluster = Cluster(args.name).running()
    with cluster.lock():
        for name in args.images:
            store_image(cluster, name)
        nodes = [n for n in cluster.nodes if n.pid]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(import_images, nodes))
    say(f"{', '.join(args.images)}: loaded into {len(nodes)} nodes")
