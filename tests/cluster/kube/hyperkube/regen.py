#!/usr/bin/env python3
"""Rewrites go.mod and go.sum for another Kubernetes: python3 regen.py v1.37.2."""

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(version: str) -> None:
    """Rewrite both files for a version such as v1.37.2."""
    staging = "v0" + version[2:]  # the k8s.io/* modules of Kubernetes v1.x.y are released as v0.x.y
    download = ["go", "mod", "download", "-json", f"k8s.io/kubernetes@{version}"]
    source = Path(json.loads(subprocess.check_output(download, cwd=HERE))["GoMod"]).read_text()
    modules = [
        module
        for module in re.findall(r"^\s+(k8s\.io/\S+) => \./staging", source, re.M)
        if "/sample-" not in module  # those are not released
    ]
    required = [
        line
        for line in re.findall(r"^\t(\S+ v\S+)", source, re.M)
        if line.split()[0] not in modules and "/sample-" not in line
    ]
    lines = [
        "module example/hyperkube",
        "",
        *re.findall(r"^(?:go|godebug) .*", source, re.M),
        "",
        "require (",
        f"\tk8s.io/kubernetes {version}",
        *(f"\t{line}" for line in required),
        *(f"\t{module} {staging}" for module in modules),
        ")",
        "",
        "replace (",
        *(f"\t{module} => {module} {staging}" for module in modules),
        ")",
        "",
    ]
    (HERE / "go.mod").write_text("\n".join(lines))
    subprocess.check_call(["go", "mod", "tidy"], cwd=HERE)


if __name__ == "__main__":
    main(sys.argv[1])
