"""Says whether a cluster can be started on this machine: nothing, or why not and exit status 1."""

import os
import shutil
import sys
from pathlib import Path

CACHE = Path(os.environ.get("KUBE_CACHE") or Path.home() / ".cache/disco-kube")


def obstacle() -> str:
    """Return what keeps ``kube/`` from starting a cluster here, "" if nothing does."""
    if not sys.platform.startswith("linux"):
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root"
    if not (CACHE / "bin" / "hyperkube").exists() and shutil.which("go") is None:
        return "it needs Go 1.26 or later, once, to build Kubernetes"
    if shutil.which("apt-get") is None and shutil.which("containerd") is None:
        return "it needs containerd, or Debian to install it"
    return ""


if __name__ == "__main__":
    why = obstacle()
    print(why)
    sys.exit(bool(why))
