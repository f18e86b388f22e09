"""The addresses of a cluster: the same in every cluster, since each has a network of its own."""

from __future__ import annotations

CONTROL_IP = "10.89.0.1"
NODE_IP = "10.89.0.{}"

NODE_PODS = "10.244.{}.0/24"

POD_NET = "10.244.0.0/16"
SERVICE_NET = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DNS_IP = "10.96.0.10"
API_URL = f"https://{CONTROL_IP}:6443"

MAX_NODES = 200
