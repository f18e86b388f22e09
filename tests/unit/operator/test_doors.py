"""kopf itself watches a small API server that lists and streams what a test prepares."""

import asyncio
import json
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from disco_operator.api import Credentials
from disco_operator.cluster import Kind
from disco_operator.doors import Doors, WatchEndedError
from disco_operator.model import Json
from disco_operator.resync import OURS

KINDS = {
    "/api/v1": [("pods", "Pod"), ("nodes", "Node"), ("namespaces", "Namespace")],
    "/apis/apps/v1": [("deployments", "Deployment"), ("statefulsets", "StatefulSet")],
    "/apis/coordination.k8s.io/v1": [("leases", "Lease")],
    "/apis/discoproject.org/v1alpha1": [("discojobs", "DiscoJob")],
    "/apis/apiextensions.k8s.io/v1": [("customresourcedefinitions", "CustomResourceDefinition")],
}
CLUSTER_SCOPED = ("nodes", "namespaces", "customresourcedefinitions")


class FakeApiServer:
    """Discovery, lists and watches, as far as kopf asks for them."""

    def __init__(self) -> None:
        self.listed: dict[str, list[Json]] = defaultdict(list)
        self.streams: dict[str, asyncio.Queue[Json | None]] = defaultdict(asyncio.Queue)
        self.queries: dict[str, dict[str, str]] = {}
        self.watched = asyncio.Event()
        self.refuse_watches = 0

    def tell(self, plural: str, change: str, body: Json) -> None:
        """Send a change to whoever watches *plural*."""
        self.streams[plural].put_nowait({"type": change, "object": body})

    def hang_up(self, plural: str) -> None:
        """End the watch of *plural*."""
        self.streams[plural].put_nowait(None)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/api":
            return web.json_response({"versions": ["v1"]})
        if path == "/apis":
            return web.json_response({"groups": [_group(name) for name in KINDS if "apis" in name]})
        if path in KINDS:
            return web.json_response({"resources": [_resource(*kind) for kind in KINDS[path]]})
        plural = path.rpartition("/")[2]
        if "watch" in request.query:
            return await self._watch(request, plural)
        self.queries[plural] = dict(request.query)
        return web.json_response(
            {"metadata": {"resourceVersion": "10"}, "items": self.listed[plural]}
        )

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        self.queries[f"watch {plural}"] = dict(request.query)
        if self.refuse_watches:
            self.refuse_watches -= 1
            return web.json_response({"message": "shutting down"}, status=503)
        response = web.StreamResponse()
        await response.prepare(request)
        self.watched.set()
        while (event := await self.streams[plural].get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
        return response


def _group(path: str) -> Json:
    _, _, name, version = path.split("/")
    versions = [{"version": version}]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resource(plural: str, kind: str) -> Json:
    return {
        "name": plural,
        "kind": kind,
        "singularName": kind.lower(),
        "namespaced": plural not in CLUSTER_SCOPED,
        "verbs": ["list", "watch", "patch"],
    }


def body(name: str, version: int, namespace: str = "ns") -> Json:
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"uid of {name}",
            "resourceVersion": str(version),
        }
    }


class Story:
    """Doors before a fake API server, and what came through them."""

    def __init__(self, server: FakeApiServer, url: str, *, nodes: bool) -> None:
        self.server = server
        self.heard: asyncio.Queue[tuple[Kind, str | None, str]] = asyncio.Queue()
        self.leases: asyncio.Queue[None] = asyncio.Queue()
        self.stopped = asyncio.Event()
        credentials = Credentials(
            server=url, ca_file="", verify=False, authorization="", cert_file="", key_file=""
        )

        async def known() -> Credentials:
            return credentials

        self.doors = Doors(
            credentials=known,
            namespaces=(),
            nodes=nodes,
            lease=("home", "operator"),
            heard=lambda kind, change, body: self.heard.put_nowait(
                (kind, change, body["metadata"]["name"])
            ),
            heard_lease=lambda: self.leases.put_nowait(None),
            stop=self.stopped.set,
        )
        self.task = asyncio.ensure_future(self.doors.run())

    async def hears(self, *expected: tuple[Kind, str | None, str]) -> None:
        """Wait for so many changes; they must be these, in any order."""
        got = {await asyncio.wait_for(self.heard.get(), 20) for _ in expected}
        assert got == set(expected)


@asynccontextmanager
async def a_story(*, nodes: bool = False) -> AsyncIterator[Story]:
    server = FakeApiServer()
    application = web.Application()
    application.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    story = Story(server, f"http://{host}:{port}", nodes=nodes)
    try:
        yield story
    finally:
        story.task.cancel()
        await asyncio.wait({story.task})
        for stream in list(server.streams.values()):
            stream.put_nowait(None)
        await runner.cleanup()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def test_what_is_there_and_what_changes_comes_through() -> None:
    async with a_story() as story:
        story.server.listed["discojobs"] = [body("old", 5)]
        await story.hears((Kind.DISCOJOB, None, "old"))
        for plural in ("discojobs", "pods", "deployments", "statefulsets"):
            story.server.tell(plural, "ADDED", body(plural, 11))
        await story.hears(
            (Kind.DISCOJOB, "ADDED", "discojobs"),
            (Kind.POD, "ADDED", "pods"),
            (Kind.DEPLOYMENT, "ADDED", "deployments"),
            (Kind.STATEFULSET, "ADDED", "statefulsets"),
        )
        story.server.tell("pods", "MODIFIED", body("pods", 12))
        await story.hears((Kind.POD, "MODIFIED", "pods"))
        story.server.tell("pods", "DELETED", body("pods", 13))
        await story.hears((Kind.POD, "DELETED", "pods"))


async def test_only_our_lease_is_the_canary() -> None:
    async with a_story() as story:
        story.server.tell("leases", "MODIFIED", body("operator", 11, "elsewhere"))
        story.server.tell("leases", "MODIFIED", body("operator", 12, "home") | {"x": 1})
        await asyncio.wait_for(story.leases.get(), 20)
        assert story.leases.empty()


async def test_the_api_server_filters_and_no_request_is_endless() -> None:
    async with a_story() as story:
        story.server.listed["discojobs"] = [body("old", 5)]
        await story.hears((Kind.DISCOJOB, None, "old"))
        story.server.tell("leases", "MODIFIED", body("operator", 12, "home"))
        story.server.tell("pods", "ADDED", body("p", 11))
        await story.hears((Kind.POD, "ADDED", "p"))
        await asyncio.wait_for(story.leases.get(), 20)
        queries = story.server.queries
        assert queries["pods"]["labelSelector"] == OURS
        assert queries["watch pods"]["labelSelector"] == OURS
        assert queries["watch pods"]["timeoutSeconds"] == "240"
        assert queries["watch pods"]["allowWatchBookmarks"] == "true"
        assert "labelSelector" not in queries["discojobs"]
        selector = "metadata.name=operator,metadata.namespace=home"
        assert queries["watch leases"]["fieldSelector"] == selector


async def test_a_watch_that_breaks_is_taken_up_again() -> None:
    async with a_story() as story:
        story.server.tell("pods", "ADDED", body("first", 11))
        await story.hears((Kind.POD, "ADDED", "first"))
        story.server.refuse_watches = 2
        story.server.hang_up("pods")
        story.server.tell("pods", "ADDED", body("second", 12))
        await story.hears((Kind.POD, "ADDED", "second"))
        assert story.server.queries["watch pods"]["resourceVersion"] == "11"


async def test_nodes_are_watched_only_if_asked_for() -> None:
    async with a_story(nodes=True) as story:
        story.server.tell("nodes", "ADDED", body("n", 11))
        await story.hears((Kind.NODE, "ADDED", "n"))
    async with a_story() as story:
        story.server.listed["discojobs"] = [body("old", 5)]
        await story.hears((Kind.DISCOJOB, None, "old"))
        assert "nodes" not in story.server.queries


async def test_kopf_giving_up_ends_the_process() -> None:
    async with a_story() as story:
        await asyncio.wait_for(story.server.watched.wait(), 20)
        story.server.tell("pods", "ERROR", {"code": 500, "message": "etcd is gone"})
        with pytest.raises(WatchEndedError, match="etcd is gone"):
            await asyncio.wait_for(asyncio.shield(story.task), 20)


async def test_kopf_does_not_take_the_signals_for_itself() -> None:
    async with a_story() as story:
        await asyncio.wait_for(story.server.watched.wait(), 20)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(story.stopped.wait(), 20)
        assert not story.task.done()
