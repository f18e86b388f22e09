"""Submitting, reading, stopping: over real HTTP, to an API server that notes whose call it was."""

import hashlib
from typing import Any

import pytest

from disco.v1 import coordinator_pb2
from disco_gateway.backend import ListQuery, Verb
from disco_gateway.errors import (
    DeniedError,
    InvalidRequestError,
    JobExistsError,
    JobNotFoundError,
    NotPossibleError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)


async def test_a_job_is_made_in_its_submitters_name(world: Any, build: Any) -> None:
    job = await world.backend.create(build.alice, build.submission(), dry_run=False)
    assert (job.namespace, job.name, job.submitted_by) == ("ns", "j", "alice")
    assert job.phase == coordinator_pb2.JOB_PHASE_PENDING
    assert dict(job.labels) == {"team": "a"}
    (write,) = world.api_server.writes("discojobs")
    assert write.token == build.ALICE
    assert write.body["spec"] == build.SPEC
    assert write.query["fieldValidation"] == "Strict"
    annotations = write.body["metadata"]["annotations"]
    assert annotations["discoproject.org/request-id"] == "request-1"


async def test_the_same_request_again_finds_its_job(world: Any, build: Any) -> None:
    first = await world.backend.create(build.alice, build.submission(), dry_run=False)
    again = await world.backend.create(build.alice, build.submission(), dry_run=False)
    assert again.uid == first.uid


@pytest.mark.parametrize("other", ["request", "submitter"])
async def test_another_request_does_not(world: Any, build: Any, other: str) -> None:
    await world.backend.create(build.alice, build.submission(), dry_run=False)
    bob = type(build.alice)(name="bob", token=build.ALICE)
    caller = bob if other == "submitter" else build.alice
    new = build.submission(request_id="request-2" if other == "request" else "request-1")
    with pytest.raises(JobExistsError):
        await world.backend.create(caller, new, dry_run=False)


async def test_a_dry_run_makes_nothing(world: Any, build: Any) -> None:
    new = build.submission(code=b"code", code_sha256="ab" * 32)
    job = await world.backend.create(build.alice, new, dry_run=True)
    assert job.spec["code"]["secret"]["sha256"] == "ab" * 32
    assert world.api_server.objects == {}


# aiohttp means bodies that take long to send; these have at most 1.3 MB.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_code_becomes_secrets_that_belong_to_the_job(world: Any, build: Any) -> None:
    code = bytes(range(256)) * 8000  # 2,048,000
    sha256 = hashlib.sha256(code).hexdigest()
    new = build.submission(code=code, code_sha256=sha256)
    job = await world.backend.create(build.alice, new, dry_run=False)
    secrets = sorted(world.api_server.of("secrets", "ns"), key=lambda s: s["metadata"]["name"])
    name = job.spec["code"]["secret"]["name"]
    assert [s["metadata"]["name"] for s in secrets] == [name, f"{name}-1", f"{name}-2"]
    assert b"".join(map(build.data, secrets)) == code
    assert job.spec["code"]["secret"]["parts"] == 3
    assert job.spec["code"]["secret"]["sha256"] == sha256
    for secret in secrets:
        assert secret["immutable"] is True
        assert secret["metadata"]["ownerReferences"][0]["uid"] == job.uid
    assert {w.token for w in world.api_server.writes("secrets")} == {build.OWN_TOKEN}


async def test_the_same_request_makes_its_job_whole(world: Any, build: Any) -> None:
    """A gateway may die between the job and its code."""
    new = build.submission(code=b"code", code_sha256="ab" * 32)
    job = await world.backend.create(build.alice, new, dry_run=False)
    name = job.spec["code"]["secret"]["name"]
    world.api_server.remove("secrets", "ns", name)
    again = await world.backend.create(build.alice, new, dry_run=False)
    assert again.uid == job.uid
    assert ("secrets", "ns", name) in world.api_server.objects


async def test_a_job_whose_code_is_refused_is_taken_back(world: Any, build: Any) -> None:
    world.api_server.refusals["secrets"] = [
        build.Refusal(403, "Forbidden", 'secrets "x" is forbidden: exceeded quota: small')
    ]
    new = build.submission(code=b"code", code_sha256="ab" * 32)
    with pytest.raises(OverloadedError, match="exceeded quota: small"):
        await world.backend.create(build.alice, new, dry_run=False)
    assert world.api_server.of("discojobs", "ns") == []


@pytest.mark.parametrize(
    ("status", "reason", "message", "details", "error", "said"),
    [
        (
            422, "Invalid", "DiscoJob is invalid",
            {"causes": [{"field": "spec.workers.min", "message": "min must be at most max"}]},
            InvalidRequestError, "spec.workers.min: min must be at most max",
        ),
        (
            400, "BadRequest", 'strict decoding error: unknown field "spec.colour"', {},
            InvalidRequestError, "spec.colour",
        ),
        (
            403, "Forbidden", "discojobs is forbidden: exceeded quota: ten", {},
            NotPossibleError, "exceeded quota: ten",
        ),
        (
            403, "Forbidden", 'discojobs is forbidden: User "alice" cannot create resource', {},
            DeniedError, "'alice' may not create discojobs in namespace 'ns'",
        ),
        (
            403, "Forbidden", 'admission webhook "p" denied the request: not on Fridays', {},
            NotPossibleError, "not on Fridays",
        ),
        (
            403, "Forbidden", "unable to create new content in namespace ns",
            {"causes": [{"reason": "NamespaceTerminating"}]}, NotPossibleError, "namespace ns",
        ),
        (
            404, "NotFound", 'namespaces "ns" not found', {"kind": "namespaces"},
            NotPossibleError, "there is no namespace 'ns'",
        ),
        (404, "NotFound", "404 page not found", {}, UnavailableError, "definition installed"),
        (401, "Unauthorized", "Unauthorized", {}, UnauthenticatedError, "not accepted any more"),
        (429, "TooManyRequests", "slow down", {}, UnavailableError, "does not answer now"),
    ],
)  # fmt: skip
async def test_what_the_cluster_refuses_is_passed_on(
    world: Any, build: Any, status: int, reason: str, message: str, details: Any, error: Any,
    said: str,
) -> None:  # fmt: skip
    world.api_server.refusals["discojobs"] = [build.Refusal(status, reason, message, **details)]
    with pytest.raises(error) as raised:
        await world.backend.create(build.alice, build.submission(), dry_run=False)
    assert said in str(raised.value)


async def test_a_secret_in_the_way_is_named(
    world: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco_operator.gateway.backend.SECRET_PAUSE_S", 0.0)
    new = build.submission(code=b"code", code_sha256="ab" * 32)
    dry = await world.backend.create(build.alice, new, dry_run=True)
    name = dry.spec["code"]["secret"]["name"]
    world.api_server.put("secrets", {"metadata": {"namespace": "ns", "name": name}})
    with pytest.raises(NotPossibleError, match="in the way"):
        await world.backend.create(build.alice, new, dry_run=False)
    assert world.api_server.of("discojobs", "ns") == []


async def test_a_job_is_read_with_the_gateways_own_rights(world: Any, build: Any) -> None:
    world.api_server.put("discojobs", build.discojob(phase="Running", workers=3))
    job = await world.backend.get("ns", "j")
    assert (job.phase, job.workers) == (coordinator_pb2.JOB_PHASE_RUNNING, 3)
    assert world.api_server.asked[-1].token == build.OWN_TOKEN
    with pytest.raises(JobNotFoundError):
        await world.backend.get("ns", "k")


async def test_pages_have_all_jobs_in_order_and_each_once(world: Any, build: Any) -> None:
    names = [(f"ns-{n % 3}", f"job-{n:02}") for n in range(130)]
    for namespace, name in names:
        world.api_server.put("discojobs", build.discojob(name, namespace, phase="Running"))
    found, after = [], ""
    while True:
        page = await world.backend.list(ListQuery(namespace="", limit=60, after=after))
        found += [(job.namespace, job.name) for job in page.jobs]
        if not (after := page.after):
            break
    assert found == sorted(names)


async def test_lists_are_filtered(world: Any, build: Any) -> None:
    for n in range(4):
        body = build.discojob(f"j{n}", phase="Failed" if n % 2 else "Running")
        body["metadata"]["labels"] = {"team": "a" if n < 2 else "b"}
        world.api_server.put("discojobs", body)
    failed = frozenset({coordinator_pb2.JOB_PHASE_FAILED})
    query = ListQuery(namespace="ns", limit=100, phases=failed, label_selector="team=b")
    page = await world.backend.list(query)
    assert [job.name for job in page.jobs] == ["j3"]


async def test_cancelling_is_done_in_the_callers_name_with_his_words(
    world: Any, build: Any
) -> None:
    world.api_server.put("discojobs", build.discojob(phase="Running"))
    await world.backend.cancel(build.alice, "ns", "j", "wrong input")
    (write,) = world.api_server.writes("discojobs")
    assert write.token == build.ALICE
    assert world.api_server.objects["discojobs", "ns", "j"]["spec"]["cancel"] is True
    annotations = write.body["metadata"]["annotations"]
    assert annotations == {"discoproject.org/cancelled-because": "wrong input"}


async def test_nothing_happens_to_a_job_that_has_ended(world: Any, build: Any) -> None:
    ended = build.discojob(phase="Succeeded", completionTime="2026-01-02T03:05:05Z")
    world.api_server.put("discojobs", ended)
    job = await world.backend.cancel(build.alice, "ns", "j", "")
    assert job.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert world.api_server.writes("discojobs") == []


async def test_a_failed_job_runs_again_once_however_often_it_is_asked(
    world: Any, build: Any
) -> None:
    failed = build.discojob(phase="Failed", completionTime="2026-01-02T03:05:05Z", observedRetry=2)
    failed["spec"]["retry"] = 2
    world.api_server.put("discojobs", failed)
    for _ in range(2):
        job = await world.backend.retry(build.alice, "ns", "j")
        assert job.phase == coordinator_pb2.JOB_PHASE_PENDING
    assert world.api_server.objects["discojobs", "ns", "j"]["spec"]["retry"] == 3


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Cancelled"])
async def test_only_failed_jobs_run_again(world: Any, build: Any, phase: str) -> None:
    world.api_server.put("discojobs", build.discojob(phase=phase))
    with pytest.raises(NotPossibleError, match=f"is {phase}"):
        await world.backend.retry(build.alice, "ns", "j")


async def test_deleting_takes_the_job_that_is_meant(world: Any, build: Any) -> None:
    made = world.api_server.put("discojobs", build.discojob())
    with pytest.raises(JobNotFoundError):
        await world.backend.delete(build.alice, "ns", "j", "another")
    await world.backend.delete(build.alice, "ns", "j", made["metadata"]["uid"])
    assert world.api_server.of("discojobs", "ns") == []
    assert {w.token for w in world.api_server.writes("discojobs")} == {build.ALICE}


async def test_an_api_server_that_is_away_is_said(world: Any, build: Any) -> None:
    world.api_server.down = True
    with pytest.raises(UnavailableError):
        await world.backend.get("ns", "j")
    with pytest.raises(UnavailableError):
        await world.backend.authenticate(build.ALICE)
    with pytest.raises(UnavailableError):
        await world.backend.authorize(build.alice, Verb.GET, "ns")
