"""The OpenAPI document, and whether the HTTP door keeps what it says."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from disco.v1 import coordinator_pb2
from disco_gateway.backend import Position, Update
from disco_gateway.fake import TOKEN, FakeBackend
from disco_gateway.fake_partition import serving_partition, source_of
from disco_gateway.openapi import document
from disco_gateway.serving import serving

from .conftest import Gateway, http_of
from .test_http_calls import answer

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
]
OPERATIONS = [
    found.ok()
    for found in schemathesis.openapi.from_dict(document()).get_all_operations()
    if isinstance(found, Ok)
]
EXAMPLES = 8
JOB = {"namespace": "team", "name": "count"}


class Brief(FakeBackend):
    """A backend whose jobs are not followed for longer than a moment."""

    async def follow(
        self, namespace: str, name: str, since: Position
    ) -> AsyncGenerator[Update, None]:
        async for update in super().follow(namespace, name, since):
            yield update
            return

    async def delete(self, *_: object) -> None:
        """Leave the job there, for the requests that follow."""


async def serve(told: "list[str]", ready: threading.Event, stop: asyncio.Event) -> None:
    backend = Brief()
    async with serving_partition([[(1, b"a")], [(2, b"b"), (3, b"c")]]) as partition:
        backend.add("team", "count", labels={"team": "a"})
        backend.print("team", "count", "hello")
        backend.finish("team", "count", source=source_of(partition))
        backend.add("team", "failed", phase=coordinator_pb2.JOB_PHASE_FAILED)
        async with serving(backend, http_address="127.0.0.1:0") as served:
            told.append(f"http://127.0.0.1:{served.http_port}")
            ready.set()
            await stop.wait()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A gateway with an event loop of its own: those who fuzz it block theirs."""
    told: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve(told, ready, stop))

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(30)
    yield told[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("known", [True, False], ids=["known-job", "any-job"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_whatever_is_asked_is_answered_as_the_document_says(
    url: str, operation: Any, known: bool, mode: Any
) -> None:
    if mode is schemathesis.GenerationMode.NEGATIVE and not list(operation.iter_parameters()):
        pytest.skip("there is nothing that could be wrong")
    names = {name for name in JOB if f"{{{name}}}" in operation.path}
    fixed = {"path_parameters": {name: JOB[name] for name in names}} if known and names else {}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode, **fixed))
    def ask(case: Any) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=30)

    ask()


async def test_the_document_is_served(gateway: Gateway) -> None:
    async with http_of(gateway, "") as http:
        told = await answer(http.get("/openapi.json"))
    assert told["openapi"].startswith("3.1")
    assert set(told["paths"]) == {
        "/v1/about",
        "/v1/jobs",
        "/v1/namespaces/{namespace}/code",
        "/v1/namespaces/{namespace}/jobs",
        "/v1/namespaces/{namespace}/jobs/{name}",
        "/v1/namespaces/{namespace}/jobs/{name}:cancel",
        "/v1/namespaces/{namespace}/jobs/{name}:logs",
        "/v1/namespaces/{namespace}/jobs/{name}:results",
        "/v1/namespaces/{namespace}/jobs/{name}:retry",
        "/v1/namespaces/{namespace}/jobs/{name}:values",
        "/v1/namespaces/{namespace}/jobs/{name}:watch",
    }
    uid = told["components"]["schemas"]["disco.v1.Job"]["properties"]["uid"]
    assert uid["description"].startswith("Tells it from")
