"""Every reason that the operator gives is explained in the manual."""

import re
from pathlib import Path

import disco_operator

SOURCES = ("crd/status", "decide", "endings", "reconcile", "saying", "trouble", "working")
NOT_REASONS = {
    "Insufficient",
    "Pending",
    "Running",
    "Deployment",
    "StatefulSet",
    "Pod",
    "DiscoJob",
    "Normal",
    "Warning",
    "True",
    "False",
    "Unknown",
}


def test_every_reason_is_in_the_manual() -> None:
    """A word in quotes that looks like a reason, and is none of Kubernetes' own, is one."""
    package = Path(disco_operator.__file__).parent
    manual = (package.parents[1] / "docs/operating.md").read_text()
    text = "".join((package / f"{name}.py").read_text() for name in SOURCES)
    given = set(re.findall(r'"((?:[A-Z]+[a-z]+)+)"', text)) - NOT_REASONS
    kubernetes = {"ReplicaFailure", "PodScheduled", "ContainerCreating", "DisruptionTarget"}
    kubernetes |= {"Workers", "All"}
    kubernetes |= set(re.findall(r'"(\w+)"', text[text.index("_IMAGE_REASONS") :][:400]))
    missing = {reason for reason in given - kubernetes if f"`{reason}`" not in manual}
    assert missing == set()
