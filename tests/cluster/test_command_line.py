"""The way of the guide: from a Python file to a job on a cluster, through a forwarded port."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness.gateway import Gateway
from harness.kubectl import kubectl
from harness.namespaces import Namespace
from harness.release import NAMESPACE

WORDCOUNT = """\
from collections import Counter

from disco import Job
from words import words_of


class WordCount(Job):
    partitions = 2

    @staticmethod
    def map(line, params):
        for word in words_of(line):
            print("seen", word)
            yield word, 1

    @staticmethod
    def reduce(pairs, params):
        totals = Counter()
        for word, count in pairs:
            totals[word] += count
        return totals.items()
"""
WORDS = """\
def words_of(line):
    return (line.decode() if isinstance(line, bytes) else line).split()
"""


class Shell:
    """Runs ``disco`` as somebody does who has a kubeconfig and an empty home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        given = {"KUBECONFIG", "PATH"}
        self._environment = {
            **{name: value for name, value in os.environ.items() if name in given},
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
        }

    def __call__(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command, which must end with *status*."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "disco.cli.main", *arguments],
            cwd=self.home,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, f"disco {' '.join(arguments)}: {done}"
        return done


@pytest.fixture
def disco(tmp_path: Path, gateway: Gateway, namespace: Namespace) -> Shell:
    """The command, told as the guide says where the cluster is and who asks."""
    (tmp_path / "wordcount.py").write_text(WORDCOUNT)
    (tmp_path / "words.py").write_text(WORDS)
    namespace.kubectl("create", "serviceaccount", "me")
    account = f"--serviceaccount={namespace.name}:me"
    namespace.kubectl("create", "rolebinding", "me-edit", "--clusterrole=edit", account)
    shell = Shell(tmp_path)
    shell(
        *("config", "set-context", "cluster", "--current"),
        *("--kubectl-context", kubectl("config", "current-context").stdout.strip()),
        *("--kubectl-namespace", NAMESPACE),
        *("--service-account", f"{namespace.name}/me", "--namespace", namespace.name),
    )
    return shell


def test_a_file_becomes_a_job_through_a_forwarded_port(disco: Shell, namespace: Namespace) -> None:
    assert f"you are system:serviceaccount:{namespace.name}:me" in disco("version").stdout

    submitted = disco(
        *("submit", "wordcount.py", "raw://a b a", "raw://b a"),
        *("--name", "count", "--follow", "--head", "all"),
    )
    assert sorted(submitted.stdout.splitlines()) == ["a\t3", "b\t2"]
    assert "words.py" in submitted.stderr  # what it imports goes along, and it says so

    assert "count" in disco("ls").stdout
    assert "succeeded" in disco("status", "count").stdout
    assert "seen a" in disco("logs", "count", "--stage", "map").stdout
    assert "stage-finished" in disco("events", "count").stdout
    disco("results", "count", "--output", "counts.csv")
    rows = (disco.home / "counts.csv").read_text().split()
    assert sorted(rows) == ["a,3", "b,2", "key,value"]
    disco("delete", "count")
    assert "there is no job 'count'" in disco("status", "count", status=2).stderr


def test_nobody_gets_further_than_kubectl_would_let_him(
    disco: Shell, other_namespace: Namespace
) -> None:
    refused = disco("ls", "--namespace", other_namespace.name, status=3)
    assert f"may not list discojobs in namespace '{other_namespace.name}'" in refused.stderr
