"""Finds pods that nobody else will ever remove: they should have ended, on nodes that are gone."""

from datetime import datetime, timedelta

from disco_operator.model import read_time
from disco_operator.wanted import Observed

LOST_POD_GRACE = timedelta(seconds=5)
"""A pod on a lost node is removed so long after its own time to end is over."""
UNKNOWN_NODE_GRACE = timedelta(seconds=60)


def lost_pods(observed: Observed, now: datetime) -> tuple[tuple[str, str], ...]:
    """Return (name, uid) of pods that should have ended, on nodes where nobody can end them.

    Kubernetes waits for the kubelet's word before it forgets a pod, and a StatefulSet waits with
    it. The data of a pod that comes back from the dead is fenced by epochs and incarnations.
    """
    found = []
    for child in observed.children:
        due = child["metadata"].get("deletionTimestamp")
        if child["kind"] != "Pod" or due is None:
            continue
        late = now - read_time(due)
        ready = observed.node_ready(child.get("spec", {}).get("nodeName", ""))
        if (ready is False and late >= LOST_POD_GRACE) or late >= UNKNOWN_NODE_GRACE:
            found.append((child["metadata"]["name"], child["metadata"]["uid"]))
    return tuple(found)
