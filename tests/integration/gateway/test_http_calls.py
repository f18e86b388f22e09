"""Every call over HTTP, as curl and dashboards make them."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from disco.v1 import coordinator_pb2, job_pb2
from disco_gateway.fake import TOKEN
from disco_gateway.fake_partition import serving_partition, source_of

from .conftest import Gateway

SPEC = {"job": "wordcount:WordCount", "inputs": ["https://example.org/a.txt"], "partitions": 4}
CODE = job_pb2.JobCode(loader="disco.program:load", payload=b"x" * 3_000_000).SerializeToString()
SHA256 = hashlib.sha256(CODE).hexdigest()


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(gateway.url, headers=headers) as session:
        yield session


async def answer(call: Any, status: int = 200) -> Any:
    """Return the JSON that a request is answered with."""
    async with call as response:
        body = await response.text()
        assert response.status == status, body
        assert response.content_type == "application/json"
        return json.loads(body)


async def lines(call: Any) -> list[Any]:
    """Return all lines of a stream."""
    async with call as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/x-ndjson"
        return [json.loads(line) for line in (await response.read()).splitlines()]


async def test_a_submitted_job_is_there(http: aiohttp.ClientSession) -> None:
    body = {"name": "count", "labels": {"team": "a"}, "spec": SPEC}
    job = await answer(http.post("/v1/namespaces/team/jobs", json=body))
    assert (job["namespace"], job["name"], job["submittedBy"]) == ("team", "count", "alice")
    assert job["spec"] == SPEC
    assert await answer(http.get("/v1/namespaces/team/jobs/count")) == job


async def test_a_list_is_filtered_by_parameters(
    gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    for number in range(5):
        gateway.backend.add("team", f"job-{number}", labels={"odd": str(number % 2)})
    gateway.backend.add("other", "job-9", phase=coordinator_pb2.JOB_PHASE_FAILED)
    query = {"label_selector": "odd=0", "page_size": "2"}
    page = await answer(http.get("/v1/namespaces/team/jobs", params=query))
    assert [job["name"] for job in page["jobs"]] == ["job-0"]
    query["pageToken"] = page["nextPageToken"]
    page = await answer(http.get("/v1/namespaces/team/jobs", params=query))
    assert [job["name"] for job in page["jobs"]] == ["job-2"]
    phases = [("phases", "JOB_PHASE_FAILED"), ("phases", "JOB_PHASE_CANCELLED")]
    page = await answer(http.get("/v1/jobs", params=phases))
    assert [job["name"] for job in page["jobs"]] == ["job-9"]


async def test_a_watch_is_lines_until_the_end(
    gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    gateway.backend.add("team", "count")
    gateway.backend.print("team", "count", "hello")
    async with http.get("/v1/namespaces/team/jobs/count:watch") as response:
        first = json.loads(await response.content.readline())
        assert [event["text"] for event in first["events"]] == ["hello"]
        gateway.backend.finish("team", "count")
        last = json.loads(await response.content.readline())
        assert last["job"]["phase"] == "JOB_PHASE_SUCCEEDED"
        assert await response.content.readline() == b""


async def test_logs_are_those_of_one_task(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    gateway.backend.add("team", "count")
    for task in range(3):
        gateway.backend.print("team", "count", f"from {task}", task=task)
    query = {"stage": "map", "task": "1"}
    (reply,) = await lines(http.get("/v1/namespaces/team/jobs/count:logs", params=query))
    assert [entry["text"] for entry in reply["entries"]] == ["from 1"]


async def test_results_are_frames(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    gateway.backend.add("team", "count")
    async with serving_partition([[(2, b"ab"), (1, b"c")], [(4, b"d")]]) as partition:
        gateway.backend.finish("team", "count", source=source_of(partition))
        replies = await lines(http.get("/v1/namespaces/team/jobs/count:results"))
    blocks = [block for reply in replies for block in reply.get("blocks", ())]
    assert [(block.get("part", 0), block["frame"]) for block in blocks] == [
        (0, "YWI="),
        (0, "Yw=="),
        (1, "ZA=="),
    ]
    assert replies[0]["info"]["parts"] == 2
    assert replies[-1]["total"] == {"blocks": "3", "records": "7", "bytes": "4"}


async def test_a_job_is_cancelled_retried_and_deleted(
    gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    gateway.backend.add("team", "count")
    job = await answer(
        http.post("/v1/namespaces/team/jobs/count:cancel", json={"reason": "too slow"})
    )
    assert job["phase"] == "JOB_PHASE_CANCELLED"
    gateway.backend.finish("team", "count", coordinator_pb2.JOB_PHASE_FAILED)
    job = await answer(http.post("/v1/namespaces/team/jobs/count:retry"))
    assert job["phase"] == "JOB_PHASE_PENDING"
    assert await answer(http.delete("/v1/namespaces/team/jobs/count?uid=x"), 404)
    assert await answer(http.delete("/v1/namespaces/team/jobs/count")) == {}


async def test_uploaded_code_goes_with_a_submission(
    gateway: Gateway, http: aiohttp.ClientSession
) -> None:
    place = f"/v1/namespaces/team/code?sha256={SHA256}"
    assert await answer(http.post(place, data=io.BytesIO(CODE))) == {
        "sha256": SHA256,
        "sizeBytes": str(len(CODE)),
    }
    body = {"name": "count", "spec": SPEC, "codeSha256": SHA256}
    await answer(http.post("/v1/namespaces/team/jobs", json=body))
    new = gateway.backend.jobs["team", "count"].new
    assert new is not None
    assert new.code == CODE
    assert (await answer(http.post(place, data=io.BytesIO(CODE))))["wasThere"]


async def test_about_needs_no_token(gateway: Gateway) -> None:
    async with aiohttp.ClientSession(gateway.url) as nobody:
        about = await answer(nobody.get("/v1/about"))
        assert about["defaultNamespace"] == "default"
        assert "user" not in about
