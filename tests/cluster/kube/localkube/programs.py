"""Builds the programs of a cluster: Debian packages, and Kubernetes from Go modules."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from .common import BIN, HERE, Failure, output, run, say

DEBIAN_PACKAGES = {  # program: the Debian package that has it
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "openssl": "openssl",
    "mount": "mount",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}

CNI_DIRS = ("/usr/lib/cni", "/opt/cni/bin")
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)

# module folder: (package to build, module its version is stamped from, variables to stamp)
GO_PROGRAMS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "hyperkube": (
        ".",
        "k8s.io/kubernetes",
        (
            "k8s.io/component-base/version.gitVersion={version}",
            "k8s.io/component-base/version.gitMajor={major}",
            "k8s.io/component-base/version.gitMinor={minor}",
            "k8s.io/component-base/version.gitTreeState=clean",
            "k8s.io/client-go/pkg/version.gitVersion={version}",
        ),
    ),
    "coredns": (".", "", ()),
    "helm": (
        "helm.sh/helm/v4/cmd/helm",
        "helm.sh/helm/v4",
        ("helm.sh/helm/v4/internal/version.version={version}",),
    ),
    "grpcurl": (
        "github.com/fullstorydev/grpcurl/cmd/grpcurl",
        "github.com/fullstorydev/grpcurl",
        ("main.version={version}",),
    ),
    "kwok": (
        "sigs.k8s.io/kwok/cmd/kwok",
        "sigs.k8s.io/kwok",
        ("sigs.k8s.io/kwok/pkg/consts.Version={version}",),
    ),
    "netpol": (".", "", ()),
    "pause": (".", "", ()),
}


def cni_dir() -> str:
    """Where the CNI plugins are."""
    for path in CNI_DIRS:
        if Path(path, "bridge").exists():
            return path
    raise Failure("no CNI plugins; run `kube build`")


def build(args: argparse.Namespace) -> None:
    """Verb `build`: Debian packages and Go programs."""
    packages = {p for program, p in DEBIAN_PACKAGES.items() if not shutil.which(program)}
    if not any(Path(path, "bridge").exists() for path in CNI_DIRS):
        packages.add("containernetworking-plugins")
    if packages:
        say(f"installing {' '.join(sorted(packages))}")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-qq", env=environment, stdout=subprocess.DEVNULL)
        run(
            "apt-get",
            "install",
            "-qq",
            "-y",
            "--no-install-recommends",
            *sorted(packages),
            env=environment,
            stdout=subprocess.DEVNULL,
        )
    BIN.mkdir(parents=True, exist_ok=True)
    for name in GO_PROGRAMS:
        build_go_program(name)
    for name in COMPONENTS:
        link = BIN / name
        if not link.is_symlink():
            link.symlink_to("hyperkube")
    say(f"programs are in {BIN}")


def build_go_program(name: str) -> None:
    """Build one Go module folder into the cache unless its sources have not changed."""
    package, module, stamps = GO_PROGRAMS[name]
    digest = hashlib.sha256(repr(GO_PROGRAMS[name]).encode())
    for file in sorted([*(HERE / name).glob("*.go"), *(HERE / name).glob("go.*")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    key = BIN / f".{name}.key"
    if (BIN / name).exists() and key.exists() and key.read_text() == digest.hexdigest():
        say(f"{name}: up to date")
        return
    if not shutil.which("go"):
        raise Failure("the Go toolchain is needed once, to build the Kubernetes programs")
    version = ""
    if module:
        found = re.search(
            rf"^(?:require)?\s*{re.escape(module)} (v(\d+)\.(\d+)\.\S+)",
            (HERE / name / "go.mod").read_text(),
            re.M,
        )
        if not found:
            raise Failure(f"{name}/go.mod does not require {module}")
        version, major, minor = found.groups()
        stamps = tuple(s.format(version=version, major=major, minor=minor) for s in stamps)
    say(f"{name} {version}: building")
    begin = time.monotonic()
    run(
        "go",
        "build",
        "-buildvcs=false",
        "-o",
        BIN / f".{name}.new",
        "-ldflags",
        " ".join(["-s", "-w", *(f"-X {s}" for s in stamps)]),
        package,
        cwd=HERE / name,
        env=os.environ | {"CGO_ENABLED": "0"},
    )
    if name == "kwok":  # how its nodes and pods behave is data, beside the program in its module
        stages = Path(
            output("go", "-C", HERE / name, "list", "-m", "-f", "{{.Dir}}", module).strip(),
            "kustomize/stage",
        )
        files = sorted(
            [
                *stages.glob("node/fast/node-*.yaml"),
                *stages.glob("node/heartbeat-with-lease/node-*.yaml"),
                *stages.glob("pod/fast/pod-*.yaml"),
            ]
        )
        (BIN / "kwok-stages.yaml").write_text("---\n".join(file.read_text() for file in files))
    (BIN / f".{name}.new").replace(BIN / name)
    key.write_text(digest.hexdigest())
    say(f"{name}: built in {time.monotonic() - begin:.0f} s")
