"""A volume that all pods of a namespace and the test share, and the test's way into it."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness import pods
from harness.kubectl import Api, kubectl
from harness.waiting import wait_for

CLAIM = "shared"
MOUNT = "/shared"
_HELPER = "volume-access"


class Volume(Protocol):
    """Files on the shared volume; names are relative to its root."""

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file that every pod can read, with the directories above it."""

    def read(self, name: str) -> str:
        """Return a file's text."""

    def names(self, folder: str = ".") -> Sequence[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""


def wait_for_files(volume: Volume, folder: str, count: int, timeout: float = 120) -> Sequence[str]:
    """Return the names in *folder* once there are *count* of them: tasks tell so where they are."""
    return wait_for(
        f"{count} files in {folder} of the shared volume",
        lambda: names if len(names := volume.names(folder)) >= count else (),
        timeout,
    )


class Folder:
    """A volume whose folder this machine sees."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.chmod(0o777)

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file that every pod can read, with the directories above it."""
        path = self._root / name
        for folder in reversed(path.relative_to(self._root).parents[:-1]):
            (self._root / folder).mkdir(exist_ok=True)
            (self._root / folder).chmod(0o777)
        # Renamed into place, because a task may be waiting to read it.
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(_encoded(content))
        partial.replace(path)

    def read(self, name: str) -> str:
        """Return a file's text."""
        return (self._root / name).read_text()

    def names(self, folder: str = ".") -> Sequence[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""
        try:
            return sorted(n for n in os.listdir(self._root / folder) if not n.startswith("."))
        except FileNotFoundError:
            return ()


class ThroughPod:
    """A volume somewhere else, reached through a pod that mounts it."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file that every pod can read, with the directories above it."""
        self._shell(
            'mkdir -p "$(dirname "$0")" && base64 -d >"$0.partial" && mv "$0.partial" "$0"',
            f"{MOUNT}/{name}",
            stdin=base64.b64encode(_encoded(content)).decode(),
        )

    def read(self, name: str) -> str:
        """Return a file's text."""
        return self._shell('cat "$0"', f"{MOUNT}/{name}")

    def names(self, folder: str = ".") -> Sequence[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""
        found = self._shell('test ! -d "$0" || ls "$0"', f"{MOUNT}/{folder}").splitlines()
        return sorted(name for name in found if not name.endswith(".partial"))

    def _shell(self, script: str, argument: str, stdin: str | None = None) -> str:
        interactive = () if stdin is None else ("--stdin",)
        command = ("--namespace", self._namespace, "exec", *interactive, _HELPER, "--", "sh", "-c")
        return kubectl(*command, script, argument, stdin=stdin).stdout


def _encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def shared_volume(api: Api, namespace: str, image: str, local: str | None) -> Volume:
    """Make the namespace's claim and return the way into its volume.

    Args:
        api: The API server.
        namespace: Where.
        image: Of a pod that mounts the volume, where that is needed.
        local: Name of the cluster of ``kube/``, whose volumes are folders of this machine.
    """
    claim = {
        "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
            **_storage_class(),
        },
    }
    api.create("persistentvolumeclaims", namespace, claim)
    if local is None:
        spec = pods.spec(
            image, "import signal; signal.pause()", volumes=(pods.claim(CLAIM, MOUNT),)
        )
        api.create("pods", namespace, {"metadata": {"name": _HELPER}, "spec": spec})
        kubectl(
            "-n", namespace, "wait", f"pod/{_HELPER}", "--for=condition=Ready", "--timeout=120s"
        )
        return ThroughPod(namespace)

    def folder() -> str:
        found = api.get("persistentvolumeclaims", namespace, CLAIM)
        assert found is not None, f"claim {CLAIM} is gone"
        return str(found["spec"].get("volumeName", ""))

    volume = wait_for(f"claim {CLAIM} to be bound", folder)
    return Folder(Path(os.environ["KUBECONFIG"]).parent / "volumes" / volume)


def _storage_class() -> dict[str, str]:
    """Return the class of volumes that several nodes can mount, where the default cannot."""
    name = os.environ.get("DISCO_TEST_STORAGE_CLASS")
    return {"storageClassName": name} if name else {}
