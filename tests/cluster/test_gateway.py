"""Jobs through the chart's gateway: who may what, and what he is told."""

import asyncio
import base64
import hashlib
import json
import os
import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest
from doubled import Doubled
from google.protobuf import json_format
from harness.gated import GatedJob
from harness.gateway import ADDRESS, HOST, Gateway, token_of
from harness.jobs import RunningJob, discojob
from harness.kubectl import Api
from harness.namespaces import Namespace
from harness.volumes import Volume
from harness.waiting import wait_for

from disco import Params
from disco.client.aio import AsyncClient
from disco.client.errors import (
    DeniedError,
    ExistsError,
    InvalidError,
    NotFoundError,
    NotPossibleError,
    UnauthenticatedError,
)
from disco.client.submission import Submission
from disco.client.submitting import submission_of
from disco.v1 import coordinator_pb2, jobs_pb2
from disco_operator.identity import Identities

COUNT = """\
from disco import Job


class Count(Job):
    partitions = 2

    @staticmethod
    def map(text, params):
        print("mapping", text)
        for word in str(text, "ascii").split() if isinstance(text, bytes) else text.split():
            yield word, 1

    @staticmethod
    def reduce(pairs, params):
        totals = {}
        for word, count in pairs:
            totals[word] = totals.get(word, 0) + count
        return totals.items()
"""
BROKEN = COUNT.replace("totals = {}", "raise ValueError('no sums today')")
SPEC: dict[str, Any] = {
    "job": "count:Count",
    "code": {"inline": COUNT},
    "inputs": ["raw://the quick brown fox", "raw://the lazy dog"],
    "workers": {"replicas": 1, "slots": 2},
}


async def _ended(client: AsyncClient, name: str) -> jobs_pb2.Job:
    async with asyncio.timeout(180):
        return await client.wait(name)


async def _records(client: AsyncClient, name: str) -> list[tuple[Any, Any]]:
    return [pair async for pair in client.records(name, trust=True)]


def _secret(job: jobs_pb2.Job) -> dict[str, Any]:
    """Return what a job's spec says of its code."""
    spec: dict[str, Any] = json_format.MessageToDict(job.spec)
    found: dict[str, Any] = spec["code"]["secret"]
    return found


async def _printed(client: AsyncClient, name: str) -> list[str]:
    return [entry.text async for reply in client.logs(name) for entry in reply.entries]


async def test_a_job_is_submitted_watched_read_and_deleted(
    gateway: Gateway, namespace: Namespace, api: Api
) -> None:
    async with gateway.client(token_of(namespace), namespace.name) as client:
        about = await client.about()
        assert about.kind == "kubernetes"
        assert about.user.startswith(f"system:serviceaccount:{namespace.name}:person-")
        job = await client.submit(Submission(spec=SPEC, name_prefix="count"))
        assert job.submitted_by == about.user
        events: list[str] = []
        last = job
        async with asyncio.timeout(180):
            async for reply in client.watch(job.name):
                events += [event.kind for event in reply.events]
                last = reply.job
        assert last.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
        assert events[-1] == "job-finished"
        assert events.count("stage-finished") == 2
        found = dict(await _records(client, job.name))
        assert found == {"the": 2, "quick": 1, "brown": 1, "fox": 1, "lazy": 1, "dog": 1}
        assert any("mapping" in text for text in await _printed(client, job.name))
        assert [other.name async for other in client.list()] == [job.name]
        whole = await client.get(job.name)
        assert whole.results.records == 6
        assert whole.spec["job"] == "count:Count"
        await client.delete(job.name, uid=job.uid)
        with pytest.raises(NotFoundError):
            await client.get(job.name)


async def test_what_a_job_printed_outlives_its_pods(
    gateway: Gateway, namespace: Namespace, api: Api
) -> None:
    token = token_of(namespace)
    async with gateway.client(token, namespace.name) as client:
        job = await client.submit(Submission(spec={**SPEC, "code": {"inline": BROKEN}}, name="no"))
        ended = await _ended(client, job.name)
        assert ended.phase == coordinator_pb2.JOB_PHASE_FAILED
        running = RunningJob(api, namespace.name, job.name)
        wait_for("the coordinator to be gone", lambda: not running.pods("coordinator"))
        printed = await _printed(client, job.name)
        assert any("mapping" in text for text in printed)
        first = await _printed(client, job.name)
        assert first == printed
        again = [reply async for reply in client.watch(job.name)]
        assert again[-1].events[-1].kind == "job-finished"
        whole = await client.get(job.name)
        assert any("no sums today" in report.failure.message for report in whole.failures)


async def test_a_failed_job_is_retried_and_followed_in_its_new_run(
    gateway: Gateway, namespace: Namespace, shared_volume: Volume
) -> None:
    code = COUNT.replace(
        "totals = {}",
        "import os\n        assert os.path.exists('/shared/may')\n        totals = {}",
    )
    manifest = discojob("again", job="count:Count", code=code, inputs=SPEC["inputs"])
    shared_volume.write("there", "")
    async with gateway.client(token_of(namespace), namespace.name) as client:
        with pytest.raises(NotFoundError):
            await client.retry("again")
        await client.submit(Submission(spec=manifest["spec"], name="again"))
        ended = await _ended(client, "again")
        assert ended.phase == coordinator_pb2.JOB_PHASE_FAILED
        shared_volume.write("may", "")
        retried = await client.retry("again")
        assert retried.phase == coordinator_pb2.JOB_PHASE_PENDING
        ended = await _ended(client, "again")
        assert ended.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
        with pytest.raises(NotPossibleError, match="only failed jobs"):
            await client.retry("again")


async def test_a_job_is_cancelled_with_the_reason_for_everybody_to_read(
    gateway: Gateway, namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume)
    gated.wait_until_inside()
    async with gateway.client(token_of(namespace), namespace.name) as client:
        await client.cancel("gated", reason="the input was the wrong one")
        ended = await _ended(client, "gated")
        assert ended.phase == coordinator_pb2.JOB_PHASE_CANCELLED
        assert "the input was the wrong one" in ended.message


async def test_who_may_nothing_is_told_so_and_nothing_else(
    gateway: Gateway, namespace: Namespace, other_namespace: Namespace
) -> None:
    stranger = token_of(namespace, role=None)
    reader = token_of(namespace, role="view")
    neighbour = token_of(other_namespace)
    async with gateway.client(token_of(namespace), namespace.name) as client:
        await client.submit(Submission(spec={**SPEC, "suspend": True}, name="mine"))
    for token in (stranger, neighbour):
        async with gateway.client(token, namespace.name) as client:
            for name in ("mine", "nobodys"):  # whether it exists makes no difference
                with pytest.raises(
                    DeniedError, match=f"may not get discojobs in .*{namespace.name}"
                ):
                    await client.get(name)
            with pytest.raises(DeniedError):
                await client.submit(Submission(spec=SPEC, name="theirs"))
            with pytest.raises(DeniedError):
                [job async for job in client.list(all_namespaces=True)]
            with pytest.raises(DeniedError):
                [reply async for reply in client.watch("mine")]
            with pytest.raises(DeniedError):
                await client.upload_code(b"code")
    async with gateway.client(reader, namespace.name) as client:
        assert (await client.get("mine")).phase == coordinator_pb2.JOB_PHASE_SUSPENDED
        for refused in (client.cancel("mine"), client.delete("mine"), client.retry("mine")):
            with pytest.raises(DeniedError):
                await refused


async def test_what_is_no_token_of_the_cluster_is_not_accepted(
    gateway: Gateway, namespace: Namespace
) -> None:
    good = token_of(namespace)
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["sub"] = "system:serviceaccount:kube-system:admin"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    expired = dict(claims, exp=1)
    stale = base64.urlsafe_b64encode(json.dumps(expired).encode()).rstrip(b"=").decode()
    for token in ("guessed", f"{head}.{forged}.{signature}", f"{head}.{stale}.{signature}"):
        async with gateway.client(token, namespace.name) as client:
            with pytest.raises(UnauthenticatedError, match="not accepted"):
                await client.get("mine")


async def test_a_token_ends_with_its_account(gateway: Gateway, namespace: Namespace) -> None:
    token = token_of(namespace)
    async with gateway.client(token, namespace.name) as client:
        await client.submit(Submission(spec={**SPEC, "suspend": True}, name="mine"))
        accounts = namespace.kubectl("get", "serviceaccounts", "-o", "name").stdout.split()
        (account,) = (name for name in accounts if "person-" in name)
        namespace.kubectl("delete", account)

        async def until_refused() -> None:
            while True:
                await client.get("mine")
                await asyncio.sleep(0.5)

        with pytest.raises(UnauthenticatedError):
            await asyncio.wait_for(until_refused(), 60)


async def test_what_the_cluster_refuses_is_told_in_its_words(
    gateway: Gateway, namespace: Namespace
) -> None:
    async with gateway.client(token_of(namespace), namespace.name) as client:
        with pytest.raises(InvalidError, match=r"spec\.colour"):
            await client.submit(Submission(spec={**SPEC, "colour": "red"}, name="red"))
        await client.submit(Submission(spec={**SPEC, "suspend": True}, name="one"))
        with pytest.raises(ExistsError):
            await client.submit(Submission(spec={**SPEC, "suspend": True}, name="one"))
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "one-job"},
            "spec": {"hard": {"count/discojobs.discoproject.org": "1"}},
        }
        namespace.apply(quota)
        wait_for(
            "the quota to be counted",
            lambda: (
                '"count/discojobs.discoproject.org":"1"'
                in namespace.kubectl(
                    "get", "resourcequota", "one-job", "-o", "jsonpath={.status.used}"
                ).stdout
            ),
        )
        with pytest.raises(NotPossibleError, match="exceeded quota: one-job"):
            await client.submit(Submission(spec={**SPEC, "suspend": True}, name="two"))


async def test_the_same_request_makes_one_job(gateway: Gateway, namespace: Namespace) -> None:
    async with gateway.client(token_of(namespace), namespace.name) as client:
        submission = Submission(spec={**SPEC, "suspend": True}, name_prefix="once")
        jobs = await asyncio.gather(
            *(client.submit(submission, request_id="r-1") for _ in range(10))
        )
        assert len({job.uid for job in jobs}) == 1
        dry = await client.submit(submission, request_id="r-2", dry_run=True)
        assert [job.name async for job in client.list()] == [jobs[0].name]
        assert dry.name != jobs[0].name


def _doubled(ballast: int = 0) -> Submission:
    """Return a job with so many bytes of code that do not compress."""
    noise = hashlib.shake_256(b"noise").digest(ballast)
    job = Doubled()
    return submission_of(
        job,
        {"input": ["raw://21"], "params": Params(ballast=noise)},
        name_prefix="doubled",
        workers=1,
    )


async def test_code_is_uploaded_runs_and_goes_with_its_job(
    gateway: Gateway, namespace: Namespace, api: Api
) -> None:
    async with gateway.client(token_of(namespace), namespace.name) as client:
        job = await client.submit(_doubled(500_000))
        ended = await _ended(client, job.name)
        assert ended.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, ended.message
        assert await _records(client, job.name) == [(42, 500_000)]
        secret = _secret(job)["name"]
        assert api.get("secrets", namespace.name, secret) is not None
        await client.delete(job.name)
        wait_for("its code to be gone", lambda: not api.get("secrets", namespace.name, secret))


async def test_code_that_somebody_else_put_there_is_not_run(
    gateway: Gateway, namespace: Namespace, api: Api
) -> None:
    async with gateway.client(token_of(namespace), namespace.name) as client:
        submission = _doubled()
        waiting = Submission(
            spec={**submission.spec, "suspend": True}, code=submission.code, name="tampered"
        )
        job = await client.submit(waiting)
        secret = _secret(job)["name"]
        body = api.get("secrets", namespace.name, secret)
        assert body is not None
        api.delete("secrets", namespace.name, secret)
        evil = base64.b64encode(submission.code.replace(b"Doubled", b"Trebled")).decode()
        fresh = {"metadata": {"name": secret}, "data": {"code.pb": evil}}
        wait_for("the Secret to go", lambda: not api.get("secrets", namespace.name, secret))
        api.create("secrets", namespace.name, fresh)
        running = RunningJob(api, namespace.name, job.name)
        running.patch(suspend=False)
        condition = running.wait_for_reason("PodCrashes")
        assert "is not what was submitted" in condition["message"]


def _own_certificate(api: Api) -> tuple[str, str]:
    """Make a Secret with a certificate of an authority of ours; return its name and our CA's."""
    identity = Identities(os.urandom(32)).gateway_identity("ours", datetime.now(UTC), [HOST])
    files = {"tls.crt": identity.certificate, "tls.key": identity.key, "ca.crt": identity.ca}
    secret = {
        "metadata": {"name": "own-certificate"},
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }
    api.delete("secrets", "disco-system", "own-certificate")
    api.create("secrets", "disco-system", secret)
    return "own-certificate", identity.ca.decode()


async def test_larger_code_waits_on_a_volume_and_a_certificate_of_ones_own_is_shown(
    gateway: Gateway, namespace: Namespace, api: Api
) -> None:
    claim = {
        "metadata": {"name": "gateway-code"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    if api.get("persistentvolumeclaims", "disco-system", "gateway-code") is None:
        api.create("persistentvolumeclaims", "disco-system", claim)
    token = token_of(namespace)
    async with gateway.client(token, namespace.name) as client:
        with pytest.raises(InvalidError, match=r"900,?000"):
            await client.submit(_doubled(3_000_000))
    volume = {"persistentVolumeClaim": {"claimName": "gateway-code"}}
    secret, authority = _own_certificate(api)
    values = {
        "codeStore": {"url": "file:///code", "volume": volume},
        "tls": {"secretName": secret},
    }
    with gateway.configured({"gateway": values}):
        assert gateway.ca_file.read_text() == authority
        async with gateway.client(token, namespace.name) as client:
            job = await client.submit(_doubled(3_000_000))
            assert _secret(job)["parts"] >= 4
            ended = await _ended(client, job.name)
            assert ended.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, ended.message
            assert await _records(client, job.name) == [(42, 3_000_000)]
    api.delete("persistentvolumeclaims", "disco-system", "gateway-code")
    api.delete("secrets", "disco-system", secret)


def _grpcurl(
    gateway: Gateway, token: str, *arguments: str, data: Any = None
) -> subprocess.CompletedProcess[str]:
    given = () if data is None else ("-d", json.dumps(data))
    options = ("-cacert", str(gateway.ca_file), "-H", f"authorization: Bearer {token}")
    return subprocess.run(
        ["grpcurl", *options, *given, ADDRESS, *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_grpcurl_finds_the_service_and_submits_a_job(
    gateway: Gateway, namespace: Namespace, api: Api
) -> None:
    token = token_of(namespace)
    listed = _grpcurl(gateway, token, "list")
    assert "disco.v1.Jobs" in listed.stdout.split(), listed.stderr
    request = {"namespace": namespace.name, "name": "by-grpcurl", "spec": SPEC}
    made = _grpcurl(gateway, token, "disco.v1.Jobs/Submit", data=request)
    assert json.loads(made.stdout)["name"] == "by-grpcurl", made.stderr
    RunningJob(api, namespace.name, "by-grpcurl").wait_until_succeeded()
    place = {"namespace": namespace.name, "name": "by-grpcurl"}
    watched = _grpcurl(gateway, token, "disco.v1.Jobs/Watch", data=place)
    assert "JOB_PHASE_SUCCEEDED" in watched.stdout, watched.stderr
    refused = _grpcurl(gateway, "guessed", "disco.v1.Jobs/Get", data=place)
    assert "Unauthenticated" in refused.stderr


def test_curl_does_the_same_over_http(gateway: Gateway, namespace: Namespace) -> None:
    token = token_of(namespace)
    jobs = f"/v1/namespaces/{namespace.name}/jobs"
    status, about = gateway.curl("GET", "/v1/about")
    assert (status, about["kind"]) == (200, "kubernetes")
    status, job = gateway.curl("POST", jobs, token, {"name": "by-curl", "spec": SPEC})
    assert (status, job["name"]) == (200, "by-curl"), job

    def phase() -> str:
        return str(gateway.curl("GET", f"{jobs}/by-curl", token)[1]["phase"])

    wait_for("the job to succeed", lambda: phase() == "JOB_PHASE_SUCCEEDED")
    status, listed = gateway.curl("GET", jobs, token)
    assert [entry["name"] for entry in listed["jobs"]] == ["by-curl"]
    assert gateway.curl("GET", jobs)[0] == 401
    assert gateway.curl("GET", jobs, "guessed")[0] == 401
    assert gateway.curl("GET", "/v1/jobs", token)[0] == 403
    assert gateway.curl("GET", f"{jobs}/another", token)[0] == 404
    assert gateway.curl("DELETE", f"{jobs}/by-curl", token)[0] == 200
