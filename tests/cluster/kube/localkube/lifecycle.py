"""Starts clusters, takes them down, and shows them."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from .addresses import CONTROL_IP, DNS_IP, MAX_NODES
from .api import Api, dns_answers
from .cgroups import cgroup_hierarchies, remove_cgroup
from .common import BIN, CACHE, STATE, TOOL, Failure, accepts, output, run, say, wait_for, write
from .configuration import configure_control, configure_node
from .machines import Cluster, Machine
from .network import enter_netns, network_namespaces, wire
from .objects import bootstrap_objects
from .programs import COMPONENTS, GO_PROGRAMS
from .store import import_images, store_pause


def up(args: argparse.Namespace) -> None:
    """Verb `up`: start the cluster, or bring a running one to the wanted number of nodes."""
    if missing := [p for p in (*COMPONENTS, *GO_PROGRAMS) if not (BIN / p).exists()]:
        raise Failure(f"no {', '.join(missing)} in {BIN}; run `kube build`")
    cluster = Cluster(args.name)
    with cluster.lock():
        settings = cluster.settings
        settings["nodes"] = max(
            settings["nodes"], args.nodes if args.nodes is not None else settings["nodes"] or 1
        )
        settings["fake"] = max(settings["fake"], args.fake)
        settings["args"] = args.arg or settings["args"]
        if settings["nodes"] > MAX_NODES:
            raise Failure(f"at most {MAX_NODES} nodes")
        (cluster.dir / "volumes").mkdir(parents=True, exist_ok=True)
        store_pause(cluster)
        write(cluster.dir / "cluster.json", settings)
        write(
            cluster.dir / "resolv.conf",
            "search default.svc.cluster.local svc.cluster.local cluster.local\n"
            f"nameserver {CONTROL_IP}\noptions ndots:5\n",
        )
        for tool in ("kubectl", "helm"):
            write(
                cluster.dir / "bin" / tool,
                f'#!/bin/sh\nKUBE_STATE="{STATE}" KUBE_CACHE="{CACHE}"'
                f' exec "{TOOL}" exec --name {cluster.name} -- {tool} "$@"\n',
                0o755,
            )
        wire(cluster)
        for machine in cluster.machines:
            if not (machine.etc / "kube-proxy.json").exists():
                (configure_node if machine.index else configure_control)(machine)
        shutil.copy(cluster.control.etc / "admin.conf", cluster.dir)
        booted = {m.name: time.time() for m in cluster.machines if not m.pid}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(start, cluster.machines))
        say(f"machines booted: {len(booted)}")
        settle(cluster, booted)
    say(
        f"cluster {cluster.name} is up, nodes: {settings['nodes']};"
        " try `kube exec -- kubectl get nodes`"
    )


def start(machine: Machine) -> None:
    """Boot a machine unless it runs; a node gets its images before its kubelet starts."""
    if machine.pid:
        return
    machine.boot()
    if machine.index:
        run_folder = Path(f"/proc/{machine.pid}/root/run")
        wait_for(
            f"containerd; see {machine.log}/containerd.log",
            lambda: accepts(run_folder / "containerd/containerd.sock"),
            60,
            0.05,
        )
        import_images(machine)
        (run_folder / "images-loaded").touch()


def settle(cluster: Cluster, booted: dict[str, float]) -> None:
    """Wait until the cluster can take work, all of it that was `booted` just now."""
    enter_netns(cluster.name)
    api = Api(cluster.control.etc)
    wait_for(
        f"the API server; see {cluster.control.log}/kube-apiserver.log", lambda: api("/readyz")
    )
    say("API server ready")
    for path, body in bootstrap_objects(cluster):
        wait_for(f"{path} to take {body['metadata']['name']}", partial(api.create, path, body))
    wait_for(
        f"DNS; see {cluster.control.log}/coredns.log and kube-proxy.log",
        lambda: dns_answers(DNS_IP, "kubernetes.default.svc.cluster.local"),
    )
    say("DNS answers")
    wait_for(
        "the default service account",
        lambda: api("/api/v1/namespaces/default/serviceaccounts")["items"],
    )
    wait_for(
        f"nodes; see {cluster.dir}/node-*/var/log/kubelet.log", lambda: api.nodes_ready(booted)
    )
    say("nodes ready")


def down(args: argparse.Namespace) -> None:
    """Verb `down`: stop and remove everything."""
    names = sorted(p.name for p in STATE.glob("*/")) if args.all else [args.name]
    for name in names:
        cluster = Cluster(name)
        with cluster.lock():
            for machine in cluster.machines:
                machine.stop()
            namespaces = network_namespaces(cluster)
            for netns in namespaces:
                stop_guests(netns)
                run("ip", "netns", "delete", netns)
            remove_cgroup(f"disco-kube/{name}")
            if f" {cluster.dir}/" in Path("/proc/self/mountinfo").read_text():
                raise Failure(f"something is still mounted below {cluster.dir}: not removing it")
            existed = cluster.dir.exists()
            shutil.rmtree(cluster.dir, ignore_errors=True)
        (STATE / f".{name}.lock").unlink(missing_ok=True)
        say(f"cluster {name} is down" if existed or namespaces else f"there was no cluster {name}")
    for hierarchy in cgroup_hierarchies():
        with suppress(OSError):  # absent, or another cluster runs
            (hierarchy / "disco-kube").rmdir()


def stop_guests(netns: str) -> None:
    """End what `kube exec` left in a network namespace; never ourselves or who called us."""
    callers, pid = set(), os.getpid()
    while pid:
        callers.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for guest in {int(p) for p in output("ip", "netns", "pids", netns).split()} - callers:
        say(f"ending process {guest}, left in {netns}")
        with suppress(ProcessLookupError):
            os.kill(guest, signal.SIGKILL)


def status(args: argparse.Namespace) -> None:
    """Verb `status`: every cluster's machines."""
    clusters = [Cluster(p.parent.name) for p in sorted(STATE.glob("*/cluster.json"))]
    if not clusters:
        print("no cluster")
    for cluster in clusters:
        print(f"cluster {cluster.name}: {cluster.dir}")
        for machine in cluster.machines:
            state = (
                "down"
                if not machine.pid
                else "partitioned"
                if machine.index and machine.partitioned
                else "up"
            )
            print(
                f"  {machine.name:9} {state:12} {machine.ip:12} pid {machine.pid or '-':<8}"
                f" {machine.memory() >> 20:5} MiB  {machine.log}"
            )
