"""The control groups of machines, in version 1 or 2."""

from __future__ import annotations

import os
from pathlib import Path

from .common import wait_for


def cgroup_hierarchies() -> list[Path]:
    """The mount points of the cgroup hierarchies: one with cgroup v2, several with v1."""
    base = Path("/sys/fs/cgroup")
    if (base / "cgroup.controllers").exists():
        return [base]
    return sorted({p.resolve() for p in base.iterdir() if (p / "cgroup.procs").exists()})


def make_cgroup(path: str) -> None:
    """Create a cgroup in every hierarchy, usable at once.

    That means with CPUs and memory nodes, and with the controllers passed on.
    """
    for hierarchy in cgroup_hierarchies():
        at = hierarchy
        for part in path.split("/"):
            parent, at = at, at / part
            if (controllers := parent / "cgroup.controllers").exists():
                (parent / "cgroup.subtree_control").write_text(
                    " ".join(f"+{c}" for c in controllers.read_text().split())
                )
            at.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if hierarchy.name == "cpuset" and not (at / file).read_text().strip():
                    (at / file).write_text((parent / file).read_text())


def remove_cgroup(path: str) -> None:
    """Remove a cgroup and those below it, once the last process has left them."""

    def gone() -> bool:
        for hierarchy in cgroup_hierarchies():
            for folder, _, _ in os.walk(hierarchy / path, topdown=False):
                os.rmdir(folder)
        return True

    wait_for(f"cgroup {path} to empty", gone, 15, 0.05)
