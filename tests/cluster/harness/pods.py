"""Pods of the tests' own: Python in the project's image, under the restricted pod security."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from harness.kubectl import Api, Object, kubectl
from harness.waiting import wait_for

Mounted: TypeAlias = tuple[Object, Object]
"""A volume of a pod, and its mount in the container."""

USER = 65532


def claim(name: str, path: str) -> Mounted:
    """Return a volume claim, mounted at *path*."""
    volume = {"name": name, "persistentVolumeClaim": {"claimName": name}}
    return volume, {"name": name, "mountPath": path}


def secret(name: str, path: str) -> Mounted:
    """Return a Secret, mounted at *path*."""
    volume = {"name": name, "secret": {"secretName": name}}
    return volume, {"name": name, "mountPath": path, "readOnly": True}


def spec(
    image: str,
    code: str,
    *,
    volumes: Sequence[Mounted] = (),
    env: Mapping[str, str] | None = None,
    secret_env: Mapping[str, tuple[str, str]] | None = None,
) -> Object:
    """Return the spec of a pod that runs a Python program once.

    Args:
        image: The project's.
        code: The program's text.
        volumes: What it mounts beside /tmp.
        env: Its environment variables.
        secret_env: More of them, from Secrets: (name, key).
    """
    scratch = ({"name": "tmp", "emptyDir": {}}, {"name": "tmp", "mountPath": "/tmp"})
    mounted = (scratch, *volumes)
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": ["python", "-P", "-c", code],
                "env": [
                    *({"name": name, "value": value} for name, value in (env or {}).items()),
                    *(
                        {"name": name, "valueFrom": {"secretKeyRef": {"name": of, "key": key}}}
                        for name, (of, key) in (secret_env or {}).items()
                    ),
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [mount for _, mount in mounted],
            }
        ],
        "volumes": [volume for volume, _ in mounted],
    }


def run(
    api: Api,
    namespace: str,
    name: str,
    pod_spec: Object,
    labels: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> str:
    """Run a pod to its end and return what it printed.

    Raises:
        AssertionError: It failed; the message has its output.
    """
    metadata = {"name": name, "labels": dict(labels or {})}
    api.create("pods", namespace, {"metadata": metadata, "spec": pod_spec})

    def ended() -> str:
        pod = api.get("pods", namespace, name)
        phase = pod["status"].get("phase", "") if pod else "gone"
        return phase if phase in ("Succeeded", "Failed", "gone") else ""

    phase = wait_for(f"pod {name} to end", ended, timeout)
    printed = kubectl("-n", namespace, "logs", name, check=False).stdout
    api.delete("pods", namespace, name, grace_s=0)
    assert phase == "Succeeded", f"pod {name}: {phase}; it printed: {printed}"
    return printed
