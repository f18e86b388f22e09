"""Submissions: once each, whole or not at all."""

import asyncio
import io

import pytest
from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2  # type: ignore[import-untyped]

from disco.v1 import jobs_pb2
from disco_gateway.backend import Caller, NewJob
from disco_gateway.fake import FakeBackend
from disco_gateway.limits import Limits

from .conftest import ALICE, Gateway, detail, gateway_over, http_of, refused, showing
from .test_grpc_calls import SHA256, submission, upload


async def test_a_request_that_is_repeated_finds_its_job(gateway: Gateway) -> None:
    request = submission(namespace="team", request_id="r1", name_prefix="count")
    one = await gateway.stub.Submit(request, metadata=ALICE)
    async with gateway_over(gateway.backend) as other:
        again = await other.stub.Submit(request, metadata=ALICE)
    assert again.uid == one.uid
    assert one.name.startswith("count-")
    assert len(gateway.backend.jobs) == 1


async def test_requests_of_two_callers_never_share_a_job(gateway: Gateway) -> None:
    gateway.backend.add_caller("bob", "token-of-bob", ("create", "team"))
    request = submission(namespace="team", request_id="r1")
    one = await gateway.stub.Submit(request, metadata=ALICE)
    other = await gateway.stub.Submit(request, metadata=showing("token-of-bob"))
    assert one.name != other.name
    request = submission(namespace="team", request_id="r1", name="count")
    await gateway.stub.Submit(request, metadata=ALICE)
    status = await refused(gateway.stub.Submit(request, metadata=showing("token-of-bob")))
    assert status.code == code_pb2.ALREADY_EXISTS


async def test_a_name_that_is_taken_is_told(gateway: Gateway) -> None:
    request = submission(namespace="team", name="count")
    await gateway.stub.Submit(request, metadata=ALICE)
    status = await refused(gateway.stub.Submit(request, metadata=ALICE))
    assert status.code == code_pb2.ALREADY_EXISTS
    assert detail(status, error_details_pb2.ResourceInfo).resource_name == "team/count"


async def test_without_a_namespace_it_is_the_default(gateway: Gateway) -> None:
    job = await gateway.stub.Submit(submission(), metadata=ALICE)
    assert job.namespace == "default"
    assert gateway.backend.asked[-1] == ("alice", "create", "default")


async def test_a_dry_run_makes_nothing(gateway: Gateway) -> None:
    job = await gateway.stub.Submit(submission(name="count", dry_run=True), metadata=ALICE)
    assert (job.name, job.uid) == ("count", "")
    assert job.spec["job"] == "wordcount:WordCount"
    assert gateway.backend.jobs == {}


async def test_code_that_is_not_there_must_be_uploaded(gateway: Gateway) -> None:
    request = submission(namespace="team", code_sha256=SHA256)
    status = await refused(gateway.stub.Submit(request, metadata=ALICE))
    assert status.code == code_pb2.FAILED_PRECONDITION
    (violation,) = detail(status, error_details_pb2.PreconditionFailure).violations
    assert violation.subject == "code"
    assert "upload it" in violation.description


async def test_code_of_another_namespace_is_not_there(gateway: Gateway) -> None:
    await gateway.stub.UploadCode(upload(namespace="other"), metadata=ALICE)
    request = submission(namespace="team", code_sha256=SHA256)
    status = await refused(gateway.stub.Submit(request, metadata=ALICE))
    assert status.code == code_pb2.FAILED_PRECONDITION


async def test_a_hundred_submissions_at_once_make_a_hundred_jobs(gateway: Gateway) -> None:
    async def submit(number: int) -> jobs_pb2.Job:
        request = submission(namespace="team", request_id=f"r{number}")
        one, again = await asyncio.gather(
            gateway.stub.Submit(request, metadata=ALICE),
            gateway.stub.Submit(request, metadata=ALICE),
        )
        assert one.uid == again.uid
        return one

    jobs = await asyncio.gather(*map(submit, range(100)))
    assert len({job.uid for job in jobs}) == 100
    page = await gateway.stub.List(
        jobs_pb2.ListRequest(namespace="team", page_size=500), metadata=ALICE
    )
    assert [job.name for job in page.jobs] == sorted(job.name for job in jobs)


class Slow(FakeBackend):
    """A backend that counts how many submissions it has at once: at least two."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._pair = asyncio.Barrier(2)

    async def create(self, caller: Caller, new: NewJob, *, dry_run: bool) -> jobs_pb2.Job:
        self.now += 1
        self.most = max(self.now, self.most)
        async with asyncio.timeout(60):
            await self._pair.wait()
        await asyncio.sleep(0.01)  # time for a third, if there were room
        self.now -= 1
        return await super().create(caller, new, dry_run=dry_run)


@pytest.mark.parametrize("door", ["grpc", "http"])
async def test_large_submissions_wait_for_one_another(door: str) -> None:
    """A few megabytes of JSON take many times as much, once they are parsed."""
    backend = Slow()
    limits = Limits(request_memory_bytes=5_000_000)
    request = submission(namespace="team")
    request.spec.update({"params": {"text": "x" * 2_000_000}})
    async with gateway_over(backend, limits=limits) as gateway, http_of(gateway) as http:

        async def submit() -> None:
            if door == "grpc":
                await gateway.stub.Submit(request, metadata=ALICE)
                return
            body = io.BytesIO(json_format.MessageToJson(request).encode())
            async with http.post("/v1/namespaces/team/jobs", data=body) as response:
                assert response.status == 200, await response.text()

        await asyncio.gather(*(submit() for _ in range(12)))
    assert len(backend.jobs) == 12
    assert backend.most == 2


async def test_pages_have_every_job_once(gateway: Gateway) -> None:
    for namespace in ("a", "a-b", "b"):
        for number in range(7):
            gateway.backend.add(namespace, f"job-{number}", labels={"n": str(number)})
    found, token = [], ""
    while True:
        request = jobs_pb2.ListRequest(page_size=4, page_token=token, label_selector="n!=3")
        page = await gateway.stub.List(request, metadata=ALICE)
        found += [(job.namespace, job.name) for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(set(found))
    assert len(found) == 18
