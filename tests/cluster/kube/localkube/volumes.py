"""The provisioner of the default storage class: folders that all machines of a cluster see."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .api import Api
from .common import Failure

PROVISIONER = "kube/folder"


def provide_volumes() -> None:
    """Give every claim of our storage class a folder that all machines see, for ever.

    The volumes are of the kind `local`, not `hostPath`, so that as in a real cluster they belong to
    root and kubelet gives them to a pod's fsGroup.
    """
    api = Api(Path("/var/lib/kube"))

    def provide(claim: dict[str, Any]) -> None:
        meta, spec = claim["metadata"], claim["spec"]
        if meta.get("annotations", {}).get(
            "volume.kubernetes.io/storage-provisioner"
        ) != PROVISIONER or spec.get("volumeName"):
            return
        folder = Path("/var/volumes", f"pvc-{meta['uid']}")
        folder.mkdir(exist_ok=True)
        any_node = {
            "matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]
        }
        api.create(
            "/api/v1/persistentvolumes",
            {
                "metadata": {
                    "name": folder.name,
                    "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
                },
                "spec": {
                    "capacity": spec["resources"]["requests"],
                    "accessModes": spec["accessModes"],
                    "local": {"path": str(folder)},
                    "persistentVolumeReclaimPolicy": "Delete",
                    "storageClassName": spec["storageClassName"],
                    "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
                    | {k: meta[k] for k in ("namespace", "name", "uid")},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [any_node]}},
                },
            },
        )

    def reclaim(volume: dict[str, Any]) -> None:
        meta, spec = volume["metadata"], volume["spec"]
        if (
            meta.get("annotations", {}).get("pv.kubernetes.io/provisioned-by") == PROVISIONER
            and volume.get("status", {}).get("phase") == "Released"
            and spec["persistentVolumeReclaimPolicy"] == "Delete"
            and "deletionTimestamp" not in meta
        ):
            shutil.rmtree(spec["local"]["path"], ignore_errors=True)
            api(f"/api/v1/persistentvolumes/{meta['name']}", method="DELETE")

    def follow(kind: str, handle: Callable[[dict[str, Any]], None]) -> None:
        while True:
            try:
                for event in api.watch(f"/api/v1/{kind}"):
                    if event["type"] in ("ADDED", "MODIFIED"):
                        handle(event["object"])
            except (OSError, ValueError, Failure) as error:
                print(f"{time.ctime()}: {kind}: {error}", flush=True)
                time.sleep(1)

    threading.Thread(target=follow, args=("persistentvolumeclaims", provide), daemon=True).start()
    follow("persistentvolumes", reclaim)
