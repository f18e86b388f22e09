"""The real client against a small real server that answers what a test prepares."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from disco_operator.api import Api
from disco_operator.cluster import (
    RESOURCES,
    Cluster,
    ClusterError,
    FencedError,
    ForbiddenError,
    InvalidError,
    Kind,
    QuotaError,
    UnavailableError,
    kind_of,
)
from disco_operator.fake_cluster import FakeCluster
from disco_operator.identity import Identities
from disco_operator.kube import KubeCluster, OpenFence, event_about, path_of
from disco_operator.kube_lease import KubeLeases
from disco_operator.lease import Lease
from disco_operator.model import API_VERSION, Json

POD: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"namespace": "ns", "name": "p", "uid": "u1", "resourceVersion": "5"},
}
JOB: Json = {
    "apiVersion": API_VERSION,
    "kind": "DiscoJob",
    "metadata": {"namespace": "ns", "name": "j", "uid": "u1"},
}


CLUSTERS: tuple[type[Cluster], ...] = (KubeCluster, FakeCluster)
"""Both have all that reconciling needs: mypy checks this line."""


class Asked(NamedTuple):
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    content_type: str
    body: Any


class Server:
    """Answers requests in order, and notes them."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: deque[tuple[int, Any]] = deque()
        self.tokens: list[str] = []
        self.hang = asyncio.Event()

    def will_say(self, status: int, body: Any) -> None:
        self.answers.append((status, body))

    def will_refuse(self, status: int, reason: str, message: str = "because") -> None:
        self.will_say(status, {"kind": "Status", "reason": reason, "message": message})

    async def answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        if "Authorization" in request.headers:
            self.tokens.append(request.headers["Authorization"])
        self.asked.append(
            Asked(
                request.method,
                request.path,
                dict(request.query),
                request.content_type,
                json.loads(text) if text else None,
            )
        )
        if not self.answers:
            await self.hang.wait()
        status, body = self.answers.popleft()
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status)


class ShutFence:
    """A replica that does not lead, or not for long."""

    def __init__(self, allowance_s: float = 0.0) -> None:
        self._allowance_s = allowance_s

    def allowance_s(self) -> float:
        return self._allowance_s


@asynccontextmanager
async def a_server() -> AsyncIterator[tuple[Server, Api]]:
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    api = Api(Configuration(host=f"http://{host}:{port}"))
    try:
        yield server, api
    finally:
        server.hang.set()
        await api.close()
        await runner.cleanup()


def cluster_of(api: Api) -> KubeCluster:
    return KubeCluster(api, fence=OpenFence(), instance="operator-0")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Kind.DISCOJOB, "/apis/discoproject.org/v1alpha1/namespaces/ns/discojobs/x"),
        (Kind.POD, "/api/v1/namespaces/ns/pods/x"),
        (Kind.NETWORKPOLICY, "/apis/networking.k8s.io/v1/namespaces/ns/networkpolicies/x"),
        (Kind.NODE, "/api/v1/nodes/x"),
    ],
)
def test_paths(kind: Kind, path: str) -> None:
    assert path_of(kind, "ns", "x") == path


def test_every_kind_is_found_by_its_manifest() -> None:
    for kind, resource in RESOURCES.items():
        assert kind_of({"apiVersion": resource.api_version, "kind": resource.kind}) is kind


# --- reading


async def test_get_returns_the_object_or_none() -> None:
    async with a_server() as (server, api):
        server.will_say(200, POD)
        server.will_refuse(404, "NotFound")
        cluster = cluster_of(api)
        assert await cluster.get(Kind.POD, "ns", "p") == POD
        assert await cluster.get(Kind.POD, "ns", "q") is None


async def test_list_follows_the_pages_and_says_what_the_items_are() -> None:
    async with a_server() as (server, api):
        bare = {"metadata": POD["metadata"]}
        server.will_say(
            200, {"metadata": {"continue": "more", "resourceVersion": "9"}, "items": [bare]}
        )
        server.will_say(200, {"metadata": {"resourceVersion": "9"}, "items": [bare]})
        listing = await cluster_of(api).list(Kind.POD, None, labels="a=b")
        assert listing.resource_version == "9"
        assert listing.items == [POD, POD]
        first, second = server.asked
        assert first.path == "/api/v1/pods"
        assert first.query["labelSelector"] == "a=b"
        assert second.query["continue"] == "more"


async def test_a_list_that_was_paged_too_slowly_may_be_tried_again() -> None:
    async with a_server() as (server, api):
        server.will_refuse(410, "Expired")
        with pytest.raises(UnavailableError):
            await cluster_of(api).list(Kind.POD, None)


async def test_a_kind_that_the_cluster_lacks_is_named_with_what_to_do() -> None:
    async with a_server() as (server, api):
        server.will_refuse(404, "NotFound")
        with pytest.raises(UnavailableError, match=r"discojobs.*is its CRD installed"):
            await cluster_of(api).list(Kind.DISCOJOB, None)


# --- writing


async def test_create_returns_the_object_or_none_if_there_is_one() -> None:
    async with a_server() as (server, api):
        server.will_say(201, POD)
        server.will_refuse(409, "AlreadyExists")
        cluster = cluster_of(api)
        assert await cluster.create(POD) == POD
        assert await cluster.create(POD) is None
        assert server.asked[0].method == "POST"
        assert server.asked[0].path == "/api/v1/namespaces/ns/pods"
        assert server.asked[0].body == POD


async def test_a_quota_that_changed_meanwhile_is_not_an_object_that_exists() -> None:
    async with a_server() as (server, api):
        server.will_refuse(409, "Conflict", "the object has been modified: resourcequotas")
        with pytest.raises(UnavailableError):
            await cluster_of(api).create(POD)


async def test_apply_is_forced_server_side_apply() -> None:
    async with a_server() as (server, api):
        server.will_say(200, POD)
        assert await cluster_of(api).apply(POD) == POD
        asked = server.asked[0]
        assert (asked.method, asked.path) == ("PATCH", "/api/v1/namespaces/ns/pods/p")
        assert asked.query == {"fieldManager": "disco-operator", "force": "true"}
        assert asked.content_type == "application/apply-patch+yaml"
        assert asked.body == POD


async def test_scaling_changes_the_number_of_pods_and_nothing_else() -> None:
    async with a_server() as (server, api):
        server.will_say(200, {})
        await cluster_of(api).scale(Kind.STATEFULSET, "ns", "j-ps", 0)
        server.will_refuse(404, "NotFound")
        await cluster_of(api).scale(Kind.DEPLOYMENT, "ns", "gone", 2)
        asked = server.asked[0]
        assert asked.method == "PATCH"
        assert asked.path == "/apis/apps/v1/namespaces/ns/statefulsets/j-ps"
        assert asked.content_type == "application/merge-patch+json"
        assert asked.body == {"spec": {"replicas": 0}}


@pytest.mark.parametrize(("status", "reason"), [(404, "NotFound"), (409, "Conflict")])
async def test_deleting_what_is_gone_or_another_is_normal(status: int, reason: str) -> None:
    async with a_server() as (server, api):
        server.will_refuse(status, reason)
        await cluster_of(api).delete(Kind.POD, "ns", "p", uid="u1", grace_s=0)
        options = server.asked[0].body
        assert options["preconditions"] == {"uid": "u1"}
        assert options["gracePeriodSeconds"] == 0
        assert options["propagationPolicy"] == "Background"


async def test_a_manifest_that_no_server_can_merge_is_refused_and_not_tried_again() -> None:
    """It is answered 500 each time; taken for a passing fault, it was tried for ever."""
    async with a_server() as (server, api):
        message = 'failed to create typed patch object: duplicate entries for key [name="HOME"]'
        server.will_refuse(500, "", message)
        with pytest.raises(InvalidError, match="HOME"):
            await cluster_of(api).apply(POD)


async def test_a_status_is_replaced_if_the_job_is_the_one_we_mean() -> None:
    async with a_server() as (server, api):
        server.will_say(200, JOB)
        assert await cluster_of(api).write_status("ns", "j", "u1", {"phase": "X", "old": None})
        asked = server.asked[0]
        assert asked.path.endswith("/discojobs/j/status")
        assert asked.content_type == "application/json-patch+json"
        assert asked.body == [
            {"op": "test", "path": "/metadata/uid", "value": "u1"},
            {"op": "add", "path": "/status", "value": {"phase": "X"}},
        ]


async def test_the_status_of_a_job_that_is_gone_is_not_written() -> None:
    async with a_server() as (server, api):
        server.will_refuse(404, "NotFound")
        assert await cluster_of(api).write_status("ns", "j", "u1", {}) is None


async def test_the_status_of_a_successor_is_not_written() -> None:
    async with a_server() as (server, api):
        server.will_refuse(422, "Invalid", "the server rejected our request")
        server.will_say(200, JOB)
        assert await cluster_of(api).write_status("ns", "j", "u0", {}) is None


async def test_a_status_that_the_schema_refuses_is_an_error() -> None:
    async with a_server() as (server, api):
        server.will_refuse(422, "Invalid", "status.stages: Too long")
        server.will_say(200, JOB)
        with pytest.raises(InvalidError, match="Too long"):
            await cluster_of(api).write_status("ns", "j", "u1", {})


# --- failures


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (403, 'pods "p" is forbidden: cannot create', ForbiddenError),
        (403, 'pods "p" is forbidden: exceeded quota: compute, requested …', QuotaError),
        (422, "spec.containers: Required value", InvalidError),
        (400, "admission webhook denied the request", InvalidError),
        (413, "Request entity too large", InvalidError),
        (404, 'namespaces "ns" not found', UnavailableError),
        (401, "Unauthorized", UnavailableError),
        (429, "too many requests", UnavailableError),
        (500, "etcdserver: leader changed", UnavailableError),
        (503, "apiserver is shutting down", UnavailableError),
    ],
)
async def test_answers_become_errors_that_say_what_to_do(
    status: int, message: str, expected: type[ClusterError]
) -> None:
    async with a_server() as (server, api):
        server.will_refuse(status, "", message)
        with pytest.raises(expected, match=message.split(":")[0]) as raised:
            await cluster_of(api).create(POD)
        assert type(raised.value) is expected


async def test_an_answer_that_is_not_json_is_quoted() -> None:
    async with a_server() as (server, api):
        server.will_say(400, "<html>proxy error</html>")
        with pytest.raises(InvalidError, match="proxy error"):
            await cluster_of(api).apply(POD)


async def test_an_api_server_that_does_not_answer_is_unavailable() -> None:
    async with a_server() as (_, api):
        with pytest.raises(UnavailableError, match=r"more than 0\.1 s"):
            await api.call("GET", "/api/v1/pods", timeout_s=0.1)


async def test_an_api_server_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    api = Api(Configuration(host=f"http://127.0.0.1:{unused_tcp_port}"))
    try:
        with pytest.raises(UnavailableError):
            await api.call("GET", "/api/v1/pods")
    finally:
        await api.close()


# --- the fence


async def test_without_the_lease_nothing_is_sent() -> None:
    async with a_server() as (server, api):
        cluster = KubeCluster(api, fence=ShutFence(), instance="operator-0")
        with pytest.raises(FencedError):
            await cluster.create(POD)
        with pytest.raises(FencedError):
            await cluster.apply(POD)
        with pytest.raises(FencedError):
            await cluster.delete(Kind.POD, "ns", "p")
        with pytest.raises(FencedError):
            await cluster.write_status("ns", "j", "u1", {})
        await cluster.post_event(JOB, "Normal", "Planned", "never raises")
        assert server.asked == []
        server.will_say(200, POD)
        assert await cluster.get(Kind.POD, "ns", "p") == POD  # reading does no harm


async def test_a_write_takes_no_longer_than_the_lease_lasts() -> None:
    async with a_server() as (_, api):
        cluster = KubeCluster(api, fence=ShutFence(0.1), instance="operator-0")
        with pytest.raises(UnavailableError, match=r"more than 0\.1 s"):
            await cluster.create(POD)


# --- events


def test_an_event_is_about_the_job_and_of_bounded_length() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    event = event_about(JOB, "Warning", "Failed", "ü" * 2000, now=now, instance="operator-0")
    assert event["regarding"]["uid"] == "u1"
    assert event["metadata"]["namespace"] == "ns"
    assert event["reportingController"] == "discoproject.org/operator"
    assert event["eventTime"] == "2026-01-02T03:04:05.000678Z"
    assert len(event["note"].encode()) <= 1000
    assert event["note"].endswith("…")


def test_the_names_of_events_are_in_the_order_in_which_they_happened() -> None:
    moments = [datetime(2026, 1, 2, 3, 4, 5, microsecond, tzinfo=UTC) for microsecond in range(50)]
    names = [
        event_about(JOB, "Normal", "Started", "", now=now, instance="operator-0")["metadata"][
            "name"
        ]
        for now in moments
    ]
    assert names == sorted(names)


async def test_an_event_that_cannot_be_posted_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with a_server() as (server, api):
        server.will_refuse(403, "Forbidden", "events is forbidden")
        await cluster_of(api).post_event(JOB, "Normal", "Planned", "3 stages")
    assert [record.message for record in caplog.records] == ["event not posted"]


# --- calls in somebody's name


async def test_a_call_in_somebodys_name_shows_his_token_and_learns_that_it_is_refused() -> None:
    async with a_server() as (server, api):
        server.will_refuse(401, "Unauthorized")
        reply = await api.call("GET", "/x", token="his")
        assert (reply.status, server.tokens) == (401, ["Bearer his"])
        server.will_refuse(401, "Unauthorized")
        with pytest.raises(UnavailableError):  # ours was rotated, and is read again
            await api.call("GET", "/x")


async def test_who_calls_for_somebody_does_not_show_his_own_certificate(tmp_path: Path) -> None:
    """The API server would take the call for ours, whatever the token says."""
    identity = Identities(b"k" * 32).client_identity("u", datetime(2026, 1, 1, tzinfo=UTC))
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(identity.certificate)
    key.write_bytes(identity.key)
    async with a_server() as (server, plain):
        configuration = Configuration(host=plain._configuration.host)
        configuration.cert_file, configuration.key_file = str(certificate), str(key)
        api = Api(configuration)
        assert api._without_certificate().configuration.cert_file is None
        server.will_say(200, {})
        await api.call("GET", "/x", token="his")
        assert server.tokens == ["Bearer his"]
        await api.close()


async def test_changes_are_told_until_the_server_ends_the_watch() -> None:
    async with a_server() as (server, api):
        events = [{"type": "ADDED", "object": POD}, {"type": "DELETED", "object": POD}]
        server.will_say(200, "".join(f"{json.dumps(event)}\n" for event in events))
        told = [change async for change in api.changes("/x", query={"a": "b"}, timeout_s=60)]
        assert told == events
        assert server.asked[0].query == {"watch": "1", "timeoutSeconds": "60", "a": "b"}
        server.will_refuse(410, "Expired", "too old")
        with pytest.raises(UnavailableError, match="too old"):
            await anext(api.changes("/x", query={}, timeout_s=60))


# --- the Lease


async def test_a_lease_survives_the_way_to_the_server_and_back() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    lease = Lease(holder="a", duration_s=10, acquired=now, renewed=now, transitions=3)
    async with a_server() as (server, api):
        leases = KubeLeases(api, namespace="home", name="operator")
        server.will_refuse(404, "NotFound")
        assert await leases.read(timeout_s=1) is None
        server.will_say(201, {"metadata": {"resourceVersion": "7"}, "spec": {}})
        await leases.write(lease, timeout_s=1)
        created = server.asked[-1]
        assert (created.method, created.path[-7:]) == ("POST", "/leases")
        server.will_say(200, {"metadata": {"resourceVersion": "7"}, "spec": created.body["spec"]})
        read = await leases.read(timeout_s=1)
        assert read is not None
        assert (read.holder, read.renewed, read.transitions) == ("a", now, 3)
        server.will_refuse(409, "Conflict")
        assert await leases.write(read, timeout_s=1) is None
        replaced = server.asked[-1]
        assert replaced.method == "PUT"
        assert replaced.body["metadata"]["resourceVersion"] == "7"
        server.will_refuse(404, "NotFound")
        assert await leases.write(read, timeout_s=1) is None
        server.will_refuse(403, "Forbidden", "leases is forbidden")
        with pytest.raises(ForbiddenError, match="lease home/operator"):
            await leases.write(read, timeout_s=1)
