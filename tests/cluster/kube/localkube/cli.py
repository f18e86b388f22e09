"""The command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from . import __doc__ as description
from .commands import environment, execute, image, node
from .common import Failure
from .inside import boot
from .lifecycle import down, status, up
from .programs import build


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="kube",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        name: str,
        function: Callable[[argparse.Namespace], Any],
        text: str | None = None,
        named: bool = True,
    ) -> argparse.ArgumentParser:
        sub = (
            verbs.add_parser(name, help=text, description=text) if text else verbs.add_parser(name)
        )
        sub.set_defaults(function=function)
        if named:
            sub.add_argument(
                "--name",
                default=os.environ.get("KUBE_NAME") or "kube",
                help="the cluster (default: $KUBE_NAME or kube)",
            )
        return sub

    verb(
        "build",
        build,
        "install the Debian packages and build the programs, as far as needed",
        named=False,
    )
    sub = verb("up", up, "start a cluster, or grow it")
    sub.add_argument("--nodes", type=int, metavar="N", help="real nodes (default 1)")
    sub.add_argument(
        "--fake",
        type=int,
        default=0,
        metavar="N",
        help="nodes simulated by kwok as well, tainted kwok.x-k8s.io/node",
    )
    sub.add_argument(
        "--arg",
        action="append",
        metavar="COMPONENT=--FLAG",
        help="one more flag for a component; repeatable",
    )
    sub = verb(
        "exec",
        execute,
        "run a command in the control plane's network with KUBECONFIG and the cluster's DNS",
    )
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    verb("env", environment, "print shell exports for kubectl and helm")
    sub = verb(
        "node",
        node,
        "kill (power cut), stop (shutdown), start, partition, heal a node; exec inside it",
    )
    sub.add_argument("action", choices=("kill", "stop", "start", "partition", "heal", "exec"))
    sub.add_argument("node", help="node-1, ... or control")
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="for exec")
    actions = verb("image", image, "build images, load them into the nodes").add_subparsers(
        dest="action", required=True
    )
    sub = actions.add_parser(
        "build", help="build an image from a Dockerfile on Debian bookworm or its Python 3.11"
    )
    sub.add_argument("-t", "--tag", required=True)
    sub.add_argument("-f", "--file", help="the Dockerfile (default: CONTEXT/Dockerfile)")
    sub.add_argument("--build-arg", action="append", metavar="KEY=VALUE")
    sub.add_argument(
        "--base", metavar="DEBOOTSTRAP", help="remake the base images from this debootstrap folder"
    )
    sub.add_argument("context")
    sub = actions.add_parser("load", help="load built images into every node")
    sub.add_argument("images", nargs="+", metavar="IMAGE")
    verb("status", status, "show every cluster's machines", named=False)
    verb("down", down, "stop and remove a cluster").add_argument(
        "--all", action="store_true", help="every cluster"
    )
    sub = verb("_boot", boot, named=False)
    sub.add_argument("cluster")
    sub.add_argument("machine")
    return top


def main() -> None:
    """Run one verb."""
    args = parser().parse_args()
    if os.geteuid() != 0:
        sys.exit("kube: needs root")
    try:
        args.function(args)
    except Failure as failure:
        sys.exit(f"kube: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
