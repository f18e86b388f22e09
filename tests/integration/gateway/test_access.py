"""Who may do what, and what those hear who may not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.rpc import code_pb2  # type: ignore[import-untyped]

from disco.v1 import jobs_pb2
from disco_gateway.backend import Verb
from disco_gateway.errors import UnavailableError
from disco_gateway.fake import TOKEN, FakeBackend

from .conftest import ALICE, Gateway, gateway_over, http_of, refused, showing
from .test_grpc_calls import upload

BOB = showing("token-of-bob")
JOB: dict[str, Any] = {"namespace": "team", "name": "count"}


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def gateway(backend: FakeBackend, clock: Clock) -> AsyncIterator[Gateway]:
    backend.add_caller("bob", "token-of-bob")
    async with gateway_over(backend, clock=clock) as running:
        yield running


CALLS: list[tuple[str, Any, Verb]] = [
    ("Submit", jobs_pb2.SubmitRequest(namespace="team", name="count"), Verb.CREATE),
    ("Get", jobs_pb2.GetRequest(**JOB), Verb.GET),
    ("List", jobs_pb2.ListRequest(namespace="team"), Verb.LIST),
    ("Watch", jobs_pb2.WatchJobRequest(**JOB), Verb.WATCH),
    ("Logs", jobs_pb2.LogsRequest(**JOB), Verb.GET),
    ("Results", jobs_pb2.ResultsRequest(**JOB), Verb.GET),
    ("Cancel", jobs_pb2.CancelJobRequest(**JOB), Verb.PATCH),
    ("Retry", jobs_pb2.RetryRequest(**JOB), Verb.PATCH),
    ("Delete", jobs_pb2.DeleteRequest(**JOB), Verb.DELETE),
    ("UploadCode", None, Verb.CREATE),
]


def made(gateway: Gateway, name: str, request: Any, metadata: Any) -> Any:
    # Without chunks: what Python's client says of an answer that comes while it sends depends on
    # the moment.
    return getattr(gateway.stub, name)(request or upload(chunks=False), metadata=metadata)


@pytest.mark.parametrize(("name", "request_", "verb"), CALLS, ids=lambda v: str(v)[:10])
async def test_who_may_not_hears_the_same_whether_or_not_there_is_something(
    gateway: Gateway, name: str, request_: Any, verb: Verb
) -> None:
    before = await refused(made(gateway, name, request_, BOB))
    gateway.backend.add("team", "count")
    after = await refused(made(gateway, name, request_, BOB))
    assert before == after
    assert before.code == code_pb2.PERMISSION_DENIED
    assert before.message == f"'bob' may not {verb} discojobs in namespace 'team'"
    assert gateway.backend.asked[-1] == ("bob", verb, "team")


async def test_all_namespaces_are_a_right_of_their_own(gateway: Gateway) -> None:
    gateway.backend.rights.add(("bob", "list", "team"))
    await gateway.stub.List(jobs_pb2.ListRequest(namespace="team"), metadata=BOB)
    status = await refused(gateway.stub.List(jobs_pb2.ListRequest(), metadata=BOB))
    assert status.message == "'bob' may not list discojobs in all namespaces"


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer "),),
        (("authorization", TOKEN),),
        (("authorization", f"Basic {TOKEN}"),),
        showing("wrong"),
        showing("x" * 5_000),
    ],
    ids=lambda metadata: str(metadata)[:40],
)
@pytest.mark.parametrize("name", [name for name, *_ in CALLS])
async def test_nobody_is_refused_before_anything_is_looked_at(
    gateway: Gateway, name: str, metadata: Any
) -> None:
    request = {call: request for call, request, _ in CALLS}[name]
    status = await refused(made(gateway, name, request, metadata))
    assert status.code == code_pb2.UNAUTHENTICATED
    assert TOKEN not in status.message
    assert gateway.backend.asked == []


async def test_http_refuses_nobody_with_a_challenge(gateway: Gateway) -> None:
    for token in ("", "wrong"):
        async with http_of(gateway, token) as http, http.get("/v1/jobs") as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_is_not_asked_about_all_the_time(gateway: Gateway, clock: Clock) -> None:
    request = jobs_pb2.ListRequest()
    for _ in range(5):
        await gateway.stub.List(request, metadata=ALICE)
    assert gateway.backend.authenticated == 1
    clock.now_s += 11
    await gateway.stub.List(request, metadata=ALICE)
    assert gateway.backend.authenticated == 2


async def test_an_expired_token_is_noticed(gateway: Gateway, clock: Clock) -> None:
    request = jobs_pb2.ListRequest()
    await gateway.stub.List(request, metadata=ALICE)
    del gateway.backend.tokens[TOKEN]
    clock.now_s += 11
    status = await refused(gateway.stub.List(request, metadata=ALICE))
    assert status.code == code_pb2.UNAUTHENTICATED


async def test_a_refusal_is_not_remembered(gateway: Gateway) -> None:
    """A token that was not accepted while the API server did not answer is not lost."""
    gateway.backend.failures["authenticate"] = [UnavailableError("no answer")]
    request = jobs_pb2.ListRequest()
    status = await refused(gateway.stub.List(request, metadata=ALICE))
    assert status.code == code_pb2.UNAVAILABLE
    await gateway.stub.List(request, metadata=ALICE)


@pytest.mark.parametrize("name", ["Watch", "Logs"])
@pytest.mark.parametrize(
    ("loss", "code"),
    [("right", code_pb2.PERMISSION_DENIED), ("token", code_pb2.UNAUTHENTICATED)],
)
async def test_a_stream_tells_nothing_more_to_who_lost_his_rights(
    gateway: Gateway, clock: Clock, name: str, loss: str, code: int
) -> None:
    gateway.backend.add("team", "count")
    request: Any = (
        jobs_pb2.WatchJobRequest(**JOB)
        if name == "Watch"
        else jobs_pb2.LogsRequest(**JOB, follow=True)
    )
    call = getattr(gateway.stub, name)(request, metadata=ALICE)
    replies = aiter(call)
    await anext(replies)
    if loss == "right":
        gateway.backend.rights.clear()
    else:
        gateway.backend.tokens.clear()
    gateway.backend.print("team", "count", "soon after")
    await anext(replies)  # rights are asked for about once a minute
    clock.now_s += 61
    gateway.backend.print("team", "count", "secret")
    status = await refused(replies)
    assert status.code == code
