"""Jobs that read the results of others on the same server, from the processes that have them."""

from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.json_format import MessageToDict

from .conftest import Gates, Person, Serve, gated


async def parts_of(person: Person, name: str) -> list[str]:
    """Return the URLs of a job's result, once it has succeeded."""
    job = await person.until(name, "SUCCEEDED")
    where = f"disco://any:1/default/{name}/{job.uid}"
    return [f"{where}/{number}" for number in range(job.results.parts)]


async def refusal_of(person: Person, spec: dict[str, Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await person.submit("refused", spec)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return refused.value.details() or ""


async def test_results_stay_while_a_job_reads_them_and_no_longer(
    serve: Serve, gates: Gates
) -> None:
    server = await serve(workers=3, per_job=1, keep_results=1)
    ann = server.ann
    opened, closed = next(gates), next(gates)
    opened.open()
    await ann.submit("first", gated(opened, tasks=2))
    urls = await parts_of(ann, "first")
    await ann.submit("reader", {**gated(closed), "inputs": urls})
    await ann.submit("newer", gated(opened))
    await parts_of(ann, "newer")
    assert (await ann.get("first")).results.lost == ""  # although there is a newer one
    closed.open()
    await parts_of(ann, "reader")
    _info, records = await ann.results("reader")
    assert records == 2
    spec = MessageToDict((await ann.get("reader")).spec)
    assert spec["inputs"] == urls  # where they are is nobody's business
    lost = (await ann.get("first")).results.lost
    assert "keeps those of the newest 1 jobs" in lost
    refusal = await refusal_of(ann, {**gated(opened), "inputs": urls})
    assert f"the results of default/first are gone: {lost}" in refusal


async def test_who_deletes_what_a_job_reads_ends_that_job(serve: Serve, gates: Gates) -> None:
    server = await serve(workers=2, per_job=1)
    ann = server.ann
    opened, closed = next(gates), next(gates)
    opened.open()
    await ann.submit("first", gated(opened))
    urls = await parts_of(ann, "first")
    await ann.submit("reader", {**gated(closed), "inputs": urls})
    await ann.until("reader", "RUNNING")
    await ann.delete("first")
    job = await ann.until("reader", "CANCELLED")
    assert job.message == "it reads the results of default/first, which ann has deleted"
    refusal = await refusal_of(ann, {**gated(opened), "inputs": urls})
    assert "the job default/first that made this result is not, or no more, on this" in refusal


async def test_what_is_no_result_of_the_server_is_refused(serve: Serve, gates: Gates) -> None:
    ann = (await serve(workers=1)).ann
    gate = next(gates)
    gate.open()
    await ann.submit("first", gated(gate))
    (url,) = await parts_of(ann, "first")
    for wrong, message in (
        ([url.removesuffix("0") + "7"], "the result of default/first has 1 parts"),
        ([url.replace("/first/", "/none/")], "the job default/none that made this result is not"),
        (["disco://127.0.0.1:7/uid/2/0"], "expected a part of the result of a job of this server"),
        ([[url, "raw://x"]], "expected a part of the result of a job of this server, alone"),
        (["disco://nowhere"], "is no part of a result"),
    ):
        assert message in await refusal_of(ann, {**gated(gate), "inputs": wrong})
