"""What the API server accepts and refuses, and what it says: the resource definition, for real."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Kubectl
from harness.kubectl import Api
from harness.namespaces import Namespace

HERE = Path(__file__).parent / "crd"
DEFINITION = Path(__file__).parents[2] / "charts/disco/files/crd.yaml"
REFUSED: list[dict[str, Any]] = yaml.safe_load((HERE / "refused.yaml").read_text())
CHANGES: dict[str, Any] = yaml.safe_load((HERE / "changes.yaml").read_text())
ACCEPTED = (HERE / "accepted.yaml").read_text().split("---\n")
MISTAKES = (HERE / "mistakes.yaml").read_text().split("---\n")
HEAD = {"apiVersion": "discoproject.org/v1alpha1", "kind": "DiscoJob"}
STARTED = {"startTime": "2026-01-02T03:04:05Z"}


@pytest.fixture(scope="module")
def definition(kubectl: Kubectl) -> Iterator[None]:
    """The resource definition: that of the chart if it is installed, else for these tests only."""
    name = "discojobs.discoproject.org"
    there = kubectl("get", "crd", name, check=False).returncode == 0
    if not there:
        kubectl("apply", "--server-side", "-f", "-", stdin=DEFINITION.read_text())
        kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")
    yield
    if not there:
        kubectl("delete", "crd", name)


@pytest.fixture
def space(api: Api, definition: None) -> Iterator[Namespace]:
    """A fresh namespace; its jobs are suspended, so no operator gives them pods."""
    space = Namespace.create(api, "resource")
    yield space
    space.remove()


def create(kubectl: Kubectl, text: str) -> tuple[bool, str]:
    """Return whether a manifest would be accepted, and what the API server says."""
    done = kubectl("create", "--dry-run=server", "-f", "-", stdin=text, check=False)
    return done.returncode == 0, done.stderr.strip()


@pytest.mark.parametrize("manifest", ACCEPTED)
def test_a_sensible_manifest_is_accepted(kubectl: Kubectl, space: Namespace, manifest: str) -> None:
    done = kubectl("-n", space.name, "create", "--dry-run=server", "-f", "-", stdin=manifest)

    assert done.stderr == ""


@pytest.mark.parametrize("manifest", MISTAKES)
def test_all_mistakes_of_a_manifest_are_told_at_once(
    kubectl: Kubectl, definition: None, manifest: str
) -> None:
    accepted, said = create(kubectl, manifest)

    assert not accepted
    expected = re.findall(r"^# Refused: (.*)$", manifest, re.MULTILINE)
    assert [line for line in expected if _without_values(line) not in _without_values(said)] == []


def _without_values(text: str) -> str:
    """Drop found values from the API server's messages: not every version has them."""
    return re.sub(r'Invalid value: ("[^"]*": )?', "Invalid value: ", text)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: json.dumps(case["spec"]))
def test_a_mistake_is_refused_with_its_field_and_what_to_do(
    kubectl: Kubectl, definition: None, case: Mapping[str, Any]
) -> None:
    spec = {"job": "words:Count", **case["spec"]}
    manifest = {**HEAD, "metadata": {"name": case.get("name", "refused")}, "spec": spec}

    accepted, said = create(kubectl, json.dumps(manifest))

    assert not accepted
    assert case["refused"] in said


def test_a_started_job_keeps_what_it_was_started_with(kubectl: Kubectl, space: Namespace) -> None:
    space.apply(CHANGES["job"])
    job = ("-n", space.name, "patch", "discojob", "started", "--type=merge")
    kubectl(*job, "--subresource=status", "-p", json.dumps({"status": STARTED}))

    for change in CHANGES["changes"]:
        patch = json.dumps({"spec": change["spec"]})
        done = kubectl(*job, "--dry-run=server", "-p", patch, check=False)
        if "refused" in change:
            assert change["refused"] in done.stderr, patch
        else:
            assert done.stderr == "", patch


def test_a_job_that_has_not_started_may_change(kubectl: Kubectl, space: Namespace) -> None:
    changes = [change for change in CHANGES["changes"] if change["spec"] != {"retry": 0}]
    space.apply(CHANGES["job"])

    for change in changes:
        patch = json.dumps({"spec": change["spec"]})
        kubectl(
            *("-n", space.name, "patch", "discojob", "started", "--type=merge"),
            *("--dry-run=server", "-p", patch),
        )


def test_cancelling_cannot_be_taken_back(kubectl: Kubectl, space: Namespace) -> None:
    job = ("-n", space.name, "patch", "discojob", "started", "--type=merge", "-p")
    space.apply(CHANGES["job"])
    kubectl(*job, '{"spec": {"cancel": true}}')

    done = kubectl(*job, '{"spec": {"cancel": false}}', check=False)

    assert "spec.cancel: Forbidden: spec.cancel cannot be taken back" in done.stderr


def test_a_job_is_pending_as_soon_as_it_is_there_and_says_what_it_waits_for(
    kubectl: Kubectl, space: Namespace
) -> None:
    job = json.dumps({**HEAD, "metadata": {"name": "new"}, "spec": {"job": "words:Count"}})
    done = kubectl("-n", space.name, "create", "-o", "json", "-f", "-", stdin=job)
    status = json.loads(done.stdout)["status"]

    assert (status["phase"], status["reason"]) == ("Pending", "NotSeenYet")
    assert status["observedMessage"].startswith("no operator has looked at the job yet: ")


def test_defaults_are_filled_in(kubectl: Kubectl, space: Namespace) -> None:
    options = ("--dry-run=server", "-o", "json", "-f", "-")
    done = kubectl("-n", space.name, "create", *options, stdin=ACCEPTED[0])

    assert json.loads(done.stdout)["spec"] == {
        "job": "words:Count",
        "workers": {"oomRetryFactor": 1.5},
        "coordinator": {},
        "partitionService": {"replicas": 1, "copies": 1, "keepAfterFailure": "1h"},
        "retries": {},
        "suspend": False,
        "cancel": False,
        "retry": 0,
    }


def test_a_job_in_one_line(kubectl: Kubectl, space: Namespace) -> None:
    space.apply(CHANGES["job"])
    status = {
        "phase": "Running",
        "stage": "map",
        "progress": "37/120",
        "retries": 2,
        "duration": "3m12s",
        "reason": "TasksRunning",
        "observedMessage": "2 workers are at work",
    }
    job = ("-n", space.name, "patch", "discojob", "started", "--type=merge")
    patched = kubectl(
        *(*job, "--subresource=status", "--dry-run=server"),
        *("-p", json.dumps({"status": status}), "-o", "json"),
    )
    assert status.items() <= json.loads(patched.stdout)["status"].items()

    line = kubectl("-n", space.name, "get", "dj", "-o", "wide").stdout.splitlines()[0]

    assert line.split() == [
        *("NAME", "PHASE", "STAGE", "PROGRESS", "RETRIES", "AGE", "DURATION", "REASON", "MESSAGE")
    ]


def test_jobs_are_among_all(kubectl: Kubectl, space: Namespace) -> None:
    space.apply(CHANGES["job"])

    assert "discojob.discoproject.org/started" in kubectl("-n", space.name, "get", "all").stdout


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("discojob.spec.workers", "oomRetryFactor\t<number>"),
        ("discojob.spec.workers.replicas", "May change while the job runs."),
        ("discojob.spec.stages.workers.env.value", "numbers need quotes"),
        ("discojob.status.stages.tasks", "Tasks whose output is kept."),
    ],
)
def test_fields_are_explained(kubectl: Kubectl, definition: None, path: str, expected: str) -> None:
    said = kubectl("explain", path).stdout

    assert expected in re.sub(r" *\n +", " ", said)
