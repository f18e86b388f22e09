"""The configuration files of every component."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .addresses import API_SERVICE_IP, CONTROL_IP, DNS_IP, POD_NET
from .certificates import certificate, kubeconfig
from .common import output, write
from .machines import Machine
from .programs import cni_dir
from .store import PAUSE_IMAGE


def configure_control(control: Machine) -> None:
    """Write the control plane's certificates and configuration."""
    etc, ca, front = control.etc, control.etc / "ca", control.etc / "front-proxy-ca"
    components = ("kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "netpol")
    certificate(ca, "/CN=kubernetes")
    certificate(front, "/CN=front-proxy")
    service = ",".join(
        f"DNS:kubernetes{suffix}"
        for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")
    )
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda a: certificate(*a),
                [
                    (
                        etc / "kube-apiserver",
                        "/CN=kube-apiserver",
                        ca,
                        f"{service},DNS:localhost,IP:{API_SERVICE_IP},IP:{CONTROL_IP},IP:127.0.0.1",
                    ),
                    (
                        etc / "kubelet-client",
                        "/O=system:masters/CN=kube-apiserver-kubelet-client",
                        ca,
                    ),
                    (etc / "front-proxy-client", "/CN=front-proxy-client", front),
                    (etc / "admin", "/O=system:masters/CN=admin", ca),
                    *((etc / name, f"/CN=system:{name}", ca) for name in components),
                ],
            )
        )
    for name in ("admin", *components):
        kubeconfig(etc / f"{name}.conf", etc / name, ca)
    output(
        "openssl",
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-out",
        etc / "sa.key",
    )
    output("openssl", "pkey", "-in", etc / "sa.key", "-pubout", "-out", etc / "sa.pub")
    write(
        etc / "Corefile",
        f"""\
. {{
    bind {CONTROL_IP}
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig /var/lib/kube/coredns.conf
        pods verified
        ttl 1
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
    loadbalance
}}
""",
    )
    write(
        etc / "kube-proxy.json", kube_proxy_config("node-1")
    )  # last: its presence says that all is written


def configure_node(node: Machine) -> None:
    """Write one node's certificate and configuration."""
    etc, ca = node.etc, node.cluster.control.etc / "ca"
    write(etc / "ca.crt", Path(f"{ca}.crt").read_text())
    certificate(
        etc / "kubelet",
        f"/O=system:nodes/CN=system:node:{node.name}",
        ca,
        f"DNS:{node.name},IP:{node.ip}",
    )
    kubeconfig(etc / "kubelet.conf", etc / "kubelet", ca)
    for name in ("kube-proxy", "netpol"):
        shutil.copy(node.cluster.control.etc / f"{name}.conf", etc)
    write(etc / "resolv.conf", f"nameserver {CONTROL_IP}\n")
    write(
        etc / "kubelet.json",
        {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "authentication": {
                "x509": {"clientCAFile": "/var/lib/kube/ca.crt"},
                "webhook": {"enabled": True},
                "anonymous": {"enabled": False},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": "/var/lib/kube/kubelet.crt",
            "tlsPrivateKeyFile": "/var/lib/kube/kubelet.key",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{node.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [DNS_IP],
            "clusterDomain": "cluster.local",
            "resolvConf": "/var/lib/kube/resolv.conf",
            "nodeStatusUpdateFrequency": "2s",
            "volumeStatsAggPeriod": "10s",  # until a pod is evicted whose volume is too full
            "nodeLeaseDurationSeconds": 8,
            "maxPods": 250,
            "serializeImagePulls": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "50Mi",
                "nodefs.available": "0%",
                "imagefs.available": "0%",
            },
        },
    )
    filesystem = output("findmnt", "-no", "FSTYPE", "-T", node.dir).strip()
    write(
        etc / "containerd.toml",
        f"""\
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{"native" if filesystem.startswith("overlay") else "overlayfs"}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_dir()}"
    conf_dir = "/var/lib/kube/cni"
""",
    )
    write(
        etc / "cni/10-pods.conflist",
        {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": node.pods}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
    )
    write(
        etc / "kube-proxy.json", kube_proxy_config(node.name)
    )  # last: its presence says that all is written


def kube_proxy_config(node: str) -> dict[str, Any]:
    """The configuration of kube-proxy on a node.

    The control plane runs a kube-proxy too, for webhooks and for `kube exec`, but it is not a node,
    so there kube-proxy goes by the name of the first one (without a node it would wait half a
    minute).
    """
    return {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": "/var/lib/kube/kube-proxy.conf"},
        "hostnameOverride": node,
        "clusterCIDR": POD_NET,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
