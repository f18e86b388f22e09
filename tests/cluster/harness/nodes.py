"""Breaking nodes: power cuts, pulled cables, and putting all of it right again."""

import subprocess
from collections.abc import Sequence
from functools import partial

from harness.kubectl import Api, Object, kubectl
from harness.settings import TOOL
from harness.waiting import wait_for


class Nodes:
    """The nodes of a cluster of ``kube/``."""

    def __init__(self, api: Api, cluster: str) -> None:
        self._api = api
        self._cluster = cluster
        self._hurt: set[str] = set()

    def names(self) -> Sequence[str]:
        """Return the real nodes' names."""
        nodes = self._api.list("nodes", None)
        return sorted(n["metadata"]["name"] for n in nodes if not _simulated(n))

    def kill(self, node: str) -> None:
        """Cut the power of a node: nothing on it says goodbye."""
        self._hurt.add(node)
        self._tool("kill", node)

    def start(self, node: str) -> None:
        """Boot a node."""
        self._tool("start", node)

    def partition(self, node: str) -> None:
        """Cut a node off the network; what is on it runs on."""
        self._hurt.add(node)
        self._tool("partition", node)

    def heal(self, node: str) -> None:
        """Connect a node again."""
        self._tool("heal", node)

    def cordon(self, node: str) -> None:
        """Let no new pod onto a node."""
        self._hurt.add(node)
        self._api.patch("nodes", None, node, {"spec": {"unschedulable": True}})

    def drain(self, node: str) -> None:
        """Empty a node as for its maintenance, and return once every pod has left it."""
        self._hurt.add(node)
        kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force")

    def uncordon(self, node: str) -> None:
        """Let pods onto a node again."""
        self._api.patch("nodes", None, node, {"spec": {"unschedulable": None}})

    def ready(self, node: str) -> bool:
        """Return whether the API server takes a node for ready, and lets pods onto it."""
        found = self._api.get("nodes", None, node)
        assert found is not None, f"there is no node {node}"
        tainted = any(
            taint["key"].startswith("node.kubernetes.io/")
            for taint in found["spec"].get("taints", ())
        )
        return not tainted and any(
            c["type"] == "Ready" and c["status"] == "True" for c in found["status"]["conditions"]
        )

    def wait_until_lost(self, node: str) -> None:
        """Return once the API server knows that a node is gone."""
        wait_for(f"{node} to be noticed as lost", lambda: not self.ready(node))

    def restore(self) -> None:
        """Put all nodes right that were hurt."""
        for node in sorted(self._hurt):
            self.start(node)
            self.heal(node)
            self.uncordon(node)
        for node in sorted(self._hurt):
            wait_for(f"{node} to be ready again", partial(self.ready, node))
        self._hurt.clear()

    def _tool(self, action: str, node: str) -> None:
        done = subprocess.run(
            [str(TOOL), "node", "--name", self._cluster, action, node],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"kube node {action} {node}: {done.stdout}{done.stderr}"


def _simulated(node: Object) -> bool:
    return bool(node["metadata"].get("labels", {}).get("type") == "kwok")
