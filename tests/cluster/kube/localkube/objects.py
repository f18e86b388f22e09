"""What a new cluster has in its API server from the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .addresses import CONTROL_IP, DNS_IP
from .machines import Cluster
from .volumes import PROVISIONER


def bootstrap_objects(cluster: Cluster) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a new cluster needs: nodes with their pod networks, DNS, a default storage class."""
    for node in cluster.nodes:
        yield (
            "/api/v1/nodes",
            {
                "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name}},
                "spec": {"podCIDR": node.pods, "podCIDRs": [node.pods]},
                "status": {
                    "addresses": [
                        {"type": "InternalIP", "address": node.ip},
                        {"type": "Hostname", "address": node.name},
                    ]
                },
            },
        )
    for i in range(cluster.settings["fake"]):
        yield (
            "/api/v1/nodes",
            {
                "metadata": {
                    "name": f"fake-{i + 1}",
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                    "labels": {
                        "type": "kwok",
                        "kubernetes.io/hostname": f"fake-{i + 1}",
                        "kubernetes.io/os": "linux",
                    },
                },
                "spec": {
                    "taints": [
                        {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
                    ]
                },
                "status": {
                    r: {"cpu": "32", "memory": "256Gi", "pods": "110"}
                    for r in ("allocatable", "capacity")
                },
            },
        )
    yield (
        "/apis/storage.k8s.io/v1/storageclasses",
        {
            "metadata": {
                "name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": PROVISIONER,
        },
    )
    rbac = "rbac.authorization.k8s.io"
    for user, resources in (
        (
            "coredns",
            {"": ["services", "pods", "namespaces"], "discovery.k8s.io": ["endpointslices"]},
        ),
        ("netpol", {"": ["pods", "namespaces"], "networking.k8s.io": ["networkpolicies"]}),
    ):
        role = {"apiGroup": rbac, "kind": "ClusterRole", "name": f"system:{user}"}
        yield (
            f"/apis/{rbac}/v1/clusterroles",
            {
                "metadata": {"name": role["name"]},
                "rules": [
                    {"apiGroups": [group], "resources": names, "verbs": ["list", "watch"]}
                    for group, names in resources.items()
                ],
            },
        )
        yield (
            f"/apis/{rbac}/v1/clusterrolebindings",
            {
                "metadata": {"name": role["name"]},
                "roleRef": role,
                "subjects": [{"apiGroup": rbac, "kind": "User", "name": f"system:{user}"}],
            },
        )
    ports = [
        {"name": "dns", "protocol": "UDP", "port": 53},
        {"name": "dns-tcp", "protocol": "TCP", "port": 53},
    ]
    yield (
        "/api/v1/namespaces/kube-system/services",
        {"metadata": {"name": "kube-dns"}, "spec": {"clusterIP": DNS_IP, "ports": ports}},
    )
    yield (
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
        {
            "metadata": {"name": "kube-dns", "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [CONTROL_IP], "conditions": {"ready": True}}],
            "ports": ports,
        },
    )
