"""What runs inside a machine: its PID 1, which keeps the components running."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .addresses import CONTROL_IP, SERVICE_NET
from .api import api_ready
from .cgroups import cgroup_hierarchies, make_cgroup
from .common import BIN, run, start_time, write
from .machines import Cluster, Machine
from .volumes import provide_volumes

KUBELET_SYSCTLS = {  # what kubelet would write to the whole machine's kernel; see boot()
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


@dataclass
class Process:
    """A program that a machine keeps running."""

    name: str
    run: list[str] | Callable[[], None]
    after: Callable[[], bool] = lambda: True
    pid: int = 0
    not_before: float = 0

    def attend(self) -> None:
        """Start the program if it should run now and does not."""
        if self.pid or time.monotonic() < self.not_before or not self.after():
            return
        with open(f"/var/log/{self.name}.log", "ab") as log:
            if isinstance(self.run, list):
                self.pid = subprocess.Popen(
                    self.run,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    start_new_session=True,
                ).pid
            elif not (pid := os.fork()):
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                try:
                    self.run()
                finally:
                    os._exit(1)
            else:
                self.pid = pid

    def ended(self, status: int) -> None:
        """Note the end of the program; it is started again a second later."""
        self.pid, self.not_before = 0, time.monotonic() + 1
        print(
            f"{time.ctime()}: {self.name} ended with status {os.waitstatus_to_exitcode(status)}",
            flush=True,
        )


def control_processes(control: Machine) -> list[Process]:
    """The programs of the control plane."""
    etc = "/var/lib/kube"

    def auth(name: str) -> list[str]:
        return [
            f"--{kind}kubeconfig={etc}/{name}.conf"
            for kind in ("", "authentication-", "authorization-")
        ]

    processes = [
        Process(
            "etcd",
            [
                "etcd",
                "--data-dir=/var/lib/etcd",
                "--unsafe-no-fsync",
                "--log-level=warn",
                "--listen-peer-urls=http://127.0.0.1:2380",
            ],
        ),
        Process(
            "kube-apiserver",
            [
                "kube-apiserver",
                f"--advertise-address={CONTROL_IP}",
                "--secure-port=6443",
                "--etcd-servers=http://127.0.0.1:2379",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged",
                f"--client-ca-file={etc}/ca.crt",
                f"--tls-cert-file={etc}/kube-apiserver.crt",
                f"--tls-private-key-file={etc}/kube-apiserver.key",
                f"--service-cluster-ip-range={SERVICE_NET}",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={etc}/sa.pub",
                f"--service-account-signing-key-file={etc}/sa.key",
                f"--kubelet-client-certificate={etc}/kubelet-client.crt",
                f"--kubelet-client-key={etc}/kubelet-client.key",
                f"--kubelet-certificate-authority={etc}/ca.crt",
                "--kubelet-preferred-address-types=InternalIP",
                f"--requestheader-client-ca-file={etc}/front-proxy-ca.crt",
                "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                f"--proxy-client-cert-file={etc}/front-proxy-client.crt",
                f"--proxy-client-key-file={etc}/front-proxy-client.key",
                "--default-not-ready-toleration-seconds=5",
                "--default-unreachable-toleration-seconds=5",
            ],
        ),
        Process(
            "kube-controller-manager",
            [
                "kube-controller-manager",
                *auth("kube-controller-manager"),
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
                "--use-service-account-credentials",
                f"--service-account-private-key-file={etc}/sa.key",
                f"--root-ca-file={etc}/ca.crt",
                f"--cluster-signing-cert-file={etc}/ca.crt",
                f"--cluster-signing-key-file={etc}/ca.key",
                f"--requestheader-client-ca-file={etc}/front-proxy-ca.crt",
                "--node-monitor-period=1s",
                "--node-monitor-grace-period=8s",
                "--node-eviction-rate=10",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
            ],
            api_ready,
        ),  # with the default of 20 it takes 5 s more to start
        Process(
            "kube-scheduler",
            [
                "kube-scheduler",
                *auth("kube-scheduler"),
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
            ],
            api_ready,
        ),
        Process("coredns", ["coredns", "-conf", f"{etc}/Corefile"], api_ready),
        Process("kube-proxy", ["kube-proxy", f"--config={etc}/kube-proxy.json"], api_ready),
        Process("volumes", provide_volumes, api_ready),
    ]
    if control.cluster.settings["fake"]:
        processes.append(
            Process(
                "kwok",
                [
                    "kwok",
                    f"--kubeconfig={etc}/admin.conf",
                    "--config=/run/bin/kwok-stages.yaml",
                    "--cidr=10.245.0.0/16",
                    "--node-lease-duration-seconds=20",
                    "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                ],
                api_ready,
            )
        )
    return processes


def node_processes(node: Machine) -> list[Process]:
    """The programs of a node."""
    return [
        Process("containerd", ["containerd", "--config=/var/lib/kube/containerd.toml"]),
        Process(
            "kubelet",
            [
                "kubelet",
                "--config=/var/lib/kube/kubelet.json",
                "--kubeconfig=/var/lib/kube/kubelet.conf",
                f"--hostname-override={node.name}",
                f"--node-ip={node.ip}",
            ],
            lambda: Path("/run/images-loaded").exists() and api_ready(),
        ),
        Process("kube-proxy", ["kube-proxy", "--config=/var/lib/kube/kube-proxy.json"], api_ready),
        Process(
            "netpol",
            ["netpol", "-kubeconfig=/var/lib/kube/netpol.conf", f"-node={node.name}"],
            api_ready,
        ),
    ]


def boot(args: argparse.Namespace) -> None:
    """Hidden verb `_boot`: be PID 1 of a machine, set it up, and keep its programs running."""
    cluster = Cluster(args.cluster)
    machine = cluster.machine(args.machine)
    pid = os.readlink("/proc/self")  # /proc is still the outer one: this is our pid there
    (machine.dir / "pid.new").write_text(f"{pid} {start_time(pid)}\n")
    make_cgroup(f"{machine.cgroup}/system")
    for hierarchy in cgroup_hierarchies():
        (hierarchy / machine.cgroup / "system/cgroup.procs").write_text("0")
    socket.sethostname(machine.name)
    private_folders(machine)
    for name, value in {
        "ipv4/ip_forward": 1,
        "ipv4/conf/all/rp_filter": 0,
        "ipv4/conf/default/rp_filter": 0,
        "bridge/bridge-nf-call-iptables": 1,
    }.items():
        if (path := Path("/proc/sys/net", name)).exists():
            path.write_text(str(value))
    processes = node_processes(machine) if machine.index else control_processes(machine)
    for process in processes:
        if isinstance(process.run, list):
            process.run += cluster.extra_args(process.name)
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    while not stopping:
        for process in processes:
            process.attend()
        time.sleep(0.1)
        for ended, status in reap():
            for process in processes:
                if process.pid == ended:
                    process.ended(status)
    os.kill(-1, signal.SIGTERM)  # everything in this PID namespace
    end = time.monotonic() + 10
    while time.monotonic() < end and (
        list(reap()) or len([p for p in os.listdir("/proc") if p.isdigit()]) > 1
    ):
        time.sleep(0.05)


def reap() -> Iterator[tuple[int, int]]:
    """Collect the ended processes, orphans of the machine among them: PID 1 must."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, status


def private_folders(machine: Machine) -> None:
    """Give the machine its own /proc, /var, /tmp and /run.

    They are prepared beside each other and put in place last, through file descriptors, because the
    state and the cache may themselves lie in a folder that gets covered.
    """

    def mount(*argv: str | Path, **options: Any) -> None:
        run("mount", "-c", *argv, **options)

    mount("-t", "proc", "proc", "/proc")
    for name, value in KUBELET_SYSCTLS.items():
        # Kubelet sets these for the whole kernel if they differ; here it reads that they are as it
        # wants them.
        mount("--bind", write(machine.dir / "sysctl" / name, f"{value}\n"), f"/proc/sys/{name}")
    for folder in ("run", "tmp", "var/volumes", "var/log", "var/lib", "var/cache", "var/tmp"):
        (machine.dir / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("tmp", "var/tmp"):
        (machine.dir / folder).chmod(0o1777)
    if not (machine.dir / "var/run").is_symlink():
        (machine.dir / "var/run").symlink_to("/run")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", machine.dir / "run")
    for folder, source in (("run/bin", BIN), ("var/volumes", machine.cluster.dir / "volumes")):
        (machine.dir / folder).mkdir(exist_ok=True)
        mount("--bind", source, machine.dir / folder)
    (machine.dir / "pid.new").rename(machine.dir / "pid")
    folders = {name: os.open(machine.dir / name, os.O_PATH) for name in ("tmp", "run", "var")}
    for name, fd in folders.items():
        mount("--rbind", f"/proc/self/fd/{fd}", f"/{name}", pass_fds=[fd])
        os.close(fd)
    mount("--make-rshared", "/")
