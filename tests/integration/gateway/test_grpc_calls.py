"""Every call over gRPC, as any client makes them."""

import hashlib
from collections.abc import Iterator
from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.rpc import code_pb2, error_details_pb2  # type: ignore[import-untyped]

from disco.v1 import coordinator_pb2, job_pb2, jobs_pb2

from .conftest import ALICE, Gateway, detail, refused, showing

SPEC = {"job": "wordcount:WordCount", "inputs": ["https://example.org/a.txt"]}
CODE = job_pb2.JobCode(loader="disco.program:load", payload=b"x" * 3_000_000).SerializeToString()
SHA256 = hashlib.sha256(CODE).hexdigest()


def struct(**fields: Any) -> Struct:
    made = Struct()
    made.update(fields)
    return made


def submission(**fields: Any) -> jobs_pb2.SubmitRequest:
    fields.setdefault("spec", struct(**SPEC))
    return jobs_pb2.SubmitRequest(**fields)


def upload(
    code: bytes = CODE, *, namespace: str = "team", chunks: bool = True, **header: Any
) -> Iterator[jobs_pb2.UploadCodeRequest]:
    header = {
        "sha256": hashlib.sha256(code).hexdigest(),
        "size_bytes": len(code),
        "namespace": namespace,
        **header,
    }
    yield jobs_pb2.UploadCodeRequest(header=jobs_pb2.CodeHeader(**header))
    for start in range(0, len(code) if chunks else 0, 1024 * 1024):
        yield jobs_pb2.UploadCodeRequest(chunk=code[start : start + 1024 * 1024])


async def test_a_submitted_job_is_there(gateway: Gateway) -> None:
    job = await gateway.stub.Submit(
        submission(namespace="team", name="count", labels={"team": "a"}), metadata=ALICE
    )
    assert (job.namespace, job.name, job.submitted_by) == ("team", "count", "alice")
    request = jobs_pb2.GetRequest(namespace="team", name="count")
    assert await gateway.stub.Get(request, metadata=ALICE) == job
    new = gateway.backend.jobs["team", "count"].new
    assert new is not None
    assert new.manifest_spec == SPEC
    assert new.spec.job == "wordcount:WordCount"


async def test_a_watch_tells_what_happens_until_the_end(gateway: Gateway) -> None:
    gateway.backend.add("team", "count")
    gateway.backend.print("team", "count", "hello")
    call = gateway.stub.Watch(
        jobs_pb2.WatchJobRequest(namespace="team", name="count"), metadata=ALICE
    )
    replies = aiter(call)
    first = await anext(replies)
    assert [event.text for event in first.events] == ["hello"]
    gateway.backend.finish("team", "count", message="done")
    rest = [reply async for reply in replies]
    assert [event.kind for reply in rest for event in reply.events] == ["job-finished"]
    assert rest[-1].job.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED


async def test_uploaded_code_goes_with_a_submission(gateway: Gateway) -> None:
    reply = await gateway.stub.UploadCode(upload(), metadata=ALICE)
    assert (reply.sha256, reply.size_bytes, reply.was_there) == (SHA256, len(CODE), False)
    await gateway.stub.Submit(
        submission(namespace="team", name="count", code_sha256=SHA256), metadata=ALICE
    )
    new = gateway.backend.jobs["team", "count"].new
    assert new is not None
    assert new.code == CODE
    assert (await gateway.stub.UploadCode(upload(chunks=False), metadata=ALICE)).was_there


async def test_about_needs_no_token(gateway: Gateway) -> None:
    about = await gateway.stub.About(jobs_pb2.AboutRequest())
    assert (about.kind, about.user, about.default_namespace) == ("kubernetes", "", "default")
    assert (await gateway.stub.About(jobs_pb2.AboutRequest(), metadata=ALICE)).user == "alice"
    assert (await gateway.stub.About(jobs_pb2.AboutRequest(), metadata=showing("x"))).user == ""


async def test_an_unknown_job_is_named(gateway: Gateway) -> None:
    request = jobs_pb2.GetRequest(namespace="team", name="none")
    status = await refused(gateway.stub.Get(request, metadata=ALICE))
    assert status.code == code_pb2.NOT_FOUND
    assert detail(status, error_details_pb2.ResourceInfo).resource_name == "team/none"
