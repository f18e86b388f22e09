"""A password in a job's URL is refused by the API server, before anybody else can see it."""

import json
from typing import Any

import pytest
from harness.jobs import discojob
from harness.namespaces import Namespace
from harness.waiting import wait_for
from tests.unit.inputs.test_passwords import FINE, REFUSED

PASSWORD = "s3://key:hunter2@bucket/x"
MANY = [f"s3://bucket/folder/{number:08d}" for number in range(20_000)]


def _created(space: Namespace, *options: str, **spec: Any) -> str:
    """Create a job that waits; return why it is refused, "" if it is not.

    Not by ``kubectl apply``, which has no room in its annotation for many inputs.
    """
    manifest = discojob("waiting", job="words:Count", shared=False, suspend=True, **spec)
    return space.kubectl(
        "create", *options, "-f", "-", stdin=json.dumps(manifest), check=False
    ).stderr


def _refused(space: Namespace, **spec: Any) -> str:
    return _created(space, "--dry-run=server", **spec)


@pytest.fixture
def guarded(namespace: Namespace) -> Namespace:
    """A namespace in which the policy is in force; that takes the API server a moment."""
    wait_for("the policy to be in force", lambda: _refused(namespace, inputs=[PASSWORD]))
    return namespace


def test_a_job_with_a_password_is_not_stored(guarded: Namespace) -> None:
    manifest = discojob("secretive", job="words:Count", shared=False, inputs=[PASSWORD])

    said = guarded.apply(manifest, check=False).stderr

    assert "denied request: spec.inputs: a URL has a password in it" in said
    assert "in spec.workers.env, from a Secret" in said
    assert "hunter2" not in said
    assert guarded.api.list("discojobs", guarded.name) == []


def test_passwords_are_found_wherever_they_may_stand(guarded: Namespace) -> None:
    archive = {"archive": {"url": "https://me:hunter2@host/a.zip", "sha256": "0" * 64}}
    cases: list[tuple[str, dict[str, Any]]] = [
        *(("inputs", {"inputs": [["s3://bucket/x", url]]}) for url, _ in REFUSED),
        ("inputs", {"inputs": [PASSWORD, *MANY]}),
        ("output.url", {"output": {"url": PASSWORD}}),
        ("code.archive.url", {"code": archive}),
        ("requirements", {"requirements": ["thing @ https://me:hunter2@host/thing.whl"]}),
    ]
    for field, spec in cases:
        assert f"spec.{field}: a URL has a password in it" in _refused(guarded, **spec), field


def test_jobs_without_one_are_stored_and_changed(guarded: Namespace) -> None:
    assert _refused(guarded, inputs=[*FINE, FINE, MANY]) == ""
    assert _created(guarded, inputs=MANY) == ""

    def patch(spec: dict[str, Any]) -> str:
        change = ("--type=merge", "-p", json.dumps({"spec": spec}))
        return guarded.kubectl("patch", "discojob", "waiting", *change, check=False).stderr

    assert patch({"cancel": True}) == ""
    assert "spec.inputs: a URL has a password in it" in patch({"inputs": [PASSWORD]})
