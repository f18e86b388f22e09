"""What tasks put beside their records, through both doors."""

import base64
import json
from typing import Any

from google.rpc import code_pb2  # type: ignore[import-untyped]

from disco.v1 import jobs_pb2
from disco_gateway.errors import NotPossibleError

from .conftest import ALICE, Gateway, http_of, refused

JOB: dict[str, Any] = {"namespace": "team", "name": "count"}


def has(gateway: Gateway, **values: bytes) -> None:
    gateway.backend.add("team", "count").values.update(values)


def asked(gateway: Gateway, **fields: Any) -> Any:
    return gateway.stub.Values(jobs_pb2.JobValuesRequest(**JOB, **fields), metadata=ALICE)


async def told(gateway: Gateway, **fields: Any) -> dict[str, bytes]:
    replies = [reply async for reply in asked(gateway, **fields)]
    assert [reply.last for reply in replies] == [False] * (len(replies) - 1) + [True]
    return {value.key: value.value for reply in replies for value in reply.values}


async def test_values_are_chosen_by_key_or_prefix(gateway: Gateway) -> None:
    has(gateway, beta=b"2", alpha=b"1", alps=b"\xff")
    assert list(await told(gateway)) == ["alpha", "alps", "beta"]
    assert await told(gateway, key="alps") == {"alps": b"\xff"}
    assert await told(gateway, prefix="al") == {"alpha": b"1", "alps": b"\xff"}
    assert await told(gateway, prefix="al", keys_only=True) == {"alpha": b"", "alps": b""}
    assert await told(gateway, key="none") == {}


async def test_large_ones_come_in_pieces_and_reading_goes_on_behind_any(gateway: Gateway) -> None:
    large = {f"k{number}": bytes([number]) * 600_000 for number in range(5)}
    has(gateway, **large)
    first = await anext(aiter(asked(gateway)))
    assert [value.key for value in first.values] == ["k0", "k1"]
    assert list(await told(gateway, cursor=first.cursor)) == ["k2", "k3", "k4"]
    assert await told(gateway) == large


async def test_http_has_them_in_base64(gateway: Gateway) -> None:
    has(gateway, alpha=b"\xff")
    async with (
        http_of(gateway) as http,
        http.get("/v1/namespaces/team/jobs/count:values?key=alpha") as answer,
    ):
        first, last = map(json.loads, (await answer.text()).splitlines())
    (value,) = first["values"]
    assert (value["key"], base64.b64decode(value["value"])) == ("alpha", b"\xff")
    assert last["last"] is True


async def test_what_cannot_be_a_key_is_named(gateway: Gateway) -> None:
    has(gateway)
    status = await refused(asked(gateway, key="a b", prefix="ä"))
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert "key: it must consist of letters" in status.message
    assert "prefix: it must consist of letters" in status.message


async def test_values_that_are_gone_are_refused_with_the_reason(gateway: Gateway) -> None:
    has(gateway)
    gateway.backend.failures["values"] = [NotPossibleError("team/count", "not kept any more")]
    status = await refused(asked(gateway))
    assert (status.code, status.message) == (code_pb2.FAILED_PRECONDITION, "not kept any more")


async def test_a_job_that_is_not_there_has_none(gateway: Gateway) -> None:
    assert (await refused(asked(gateway))).code == code_pb2.NOT_FOUND
