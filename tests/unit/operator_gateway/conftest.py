"""A small API server over real HTTP: what the gateway needs of one, and the same answers."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from disco.manifest import parse_spec
from disco_engine.rpc import Line
from disco_gateway.backend import Caller, NewJob
from disco_operator.api import Api
from disco_operator.gateway.access import Access
from disco_operator.gateway.backend import KubernetesBackend
from disco_operator.gateway.code_maps import ConfigMapCodeStore
from disco_operator.gateway.hub import Hub
from disco_operator.gateway.jobs import Jobs
from disco_operator.model import Json

OWN_TOKEN = "token-of-the-gateway"
ALICE = "token-of-alice"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Refusal(Exception):
    """What the API server refuses."""

    def __init__(self, status: int, reason: str, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "kind": "Status", "code": status, "reason": reason, "message": message,
            "details": details,
        }  # fmt: skip


@dataclass
class Asked:
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    token: str
    body: Any


@dataclass
class ApiServer:
    """Objects in memory, who has which token, and who may do what.

    Attributes:
        users: TokenReview's user by token.
        denied: (user, verb, namespace) that SubjectAccessReview does not allow.
        asked: All requests but watches' ends.
        refusals: What the next write to a plural raises ("discojobs": [Refusal(...)]).
        down: Answer nothing but 503.
        watches: How many were begun.
    """

    users: dict[str, Json] = field(default_factory=dict)
    denied: set[tuple[str, str, str]] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    refusals: dict[str, list[Refusal]] = field(default_factory=dict)
    objects: dict[tuple[str, str, str], Json] = field(default_factory=dict)
    down: bool = False
    version: int = 100
    watchers: list[tuple[str, str, asyncio.Queue[Json | None]]] = field(default_factory=list)
    watches: int = 0
    history: list[tuple[int, str, str, Json]] = field(default_factory=list)

    # What tests do

    def put(self, plural: str, body: Json) -> Json:
        """Create or replace an object, as somebody else would."""
        body = deepcopy(body)
        metadata = body["metadata"]
        key = (plural, metadata["namespace"], metadata["name"])
        known = self.objects.get(key)
        self.version += 1
        metadata.setdefault("uid", known["metadata"]["uid"] if known else f"uid-{self.version}")
        metadata.setdefault("creationTimestamp", "2026-01-02T03:04:05Z")
        metadata["resourceVersion"] = str(self.version)
        self.objects[key] = body
        self._tell(key, "MODIFIED" if known else "ADDED", body)
        return body

    def set_status(self, namespace: str, name: str, **status: Any) -> None:
        """Do what the operator does."""
        body = self.objects["discojobs", namespace, name]
        self.put("discojobs", {**body, "status": {**body.get("status", {}), **status}})

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object."""
        body = self.objects.pop((plural, namespace, name))
        self.version += 1
        self._tell((plural, namespace, name), "DELETED", body)

    def end_watches(self) -> None:
        """End all watches, as a server does that is updated."""
        for _, _, queue in self.watchers:
            queue.put_nowait(None)

    def of(self, plural: str, namespace: str) -> list[Json]:
        """Return all objects of a kind."""
        return [body for key, body in self.objects.items() if key[:2] == (plural, namespace)]

    def writes(self, plural: str) -> list[Asked]:
        """Return all writes to a kind."""
        return [
            a
            for a in self.asked
            if f"/{plural}" in a.path and a.method in ("POST", "PATCH", "DELETE")
        ]

    # What it answers

    async def answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        body = json.loads(text) if text else None
        asked = Asked(request.method, request.path, dict(request.query), token, body)
        self.asked.append(asked)
        try:
            if self.down:
                raise Refusal(503, "ServiceUnavailable", "etcd is away")
            if token != OWN_TOKEN and token not in self.users:
                raise Refusal(401, "Unauthorized", "Unauthorized")
            if request.path.endswith("/tokenreviews"):
                return web.json_response(self._token_review(asked), status=201)
            if request.path.endswith("/subjectaccessreviews"):
                return web.json_response(self._access_review(asked), status=201)
            plural, namespace, name = _place(request.path)
            if "watch" in request.query:
                return await self._watch(request, plural, namespace)
            return web.json_response(self._object(asked, request, plural, namespace, name))
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.status)

    def _token_review(self, asked: Asked) -> Json:
        user = self.users.get(asked.body["spec"]["token"])
        status = {"authenticated": True, "user": user} if user else {"error": "not authenticated"}
        return {"status": status}

    def _access_review(self, asked: Asked) -> Json:
        spec = asked.body["spec"]
        what = spec["resourceAttributes"]
        assert (what["group"], what["resource"]) == ("discoproject.org", "discojobs")
        asked_for = (spec["user"], what["verb"], what["namespace"])
        return {"status": {"allowed": asked_for not in self.denied}}

    def _object(
        self, asked: Asked, request: web.Request, plural: str, namespace: str, name: str
    ) -> Json:
        if asked.method == "GET" and not name:
            return self._listing(asked, plural, namespace)
        if (refusals := self.refusals.get(plural)) and asked.method != "GET":
            raise refusals.pop(0)
        if asked.method == "POST":
            name = asked.body["metadata"]["name"]
            if (plural, namespace, name) in self.objects:
                raise Refusal(409, "AlreadyExists", f"{plural} {name!r} already exists")
            if asked.query.get("dryRun"):
                made: Json = deepcopy(asked.body)
                made["metadata"] |= {"uid": "dry", "creationTimestamp": "2026-01-02T03:04:05Z"}
                return made
            return self.put(plural, asked.body)
        if request.content_type == APPLY:
            return self.put(plural, asked.body)
        found = self.objects.get((plural, namespace, name))
        if found is None:
            raise Refusal(404, "NotFound", f"{plural} {name!r} not found", kind=plural)
        if asked.method == "GET":
            return found
        if asked.method == "DELETE":
            wanted = (asked.body or {}).get("preconditions", {})
            if any(found["metadata"][key] != value for key, value in wanted.items()):
                raise Refusal(409, "Conflict", "the UID in the precondition is another")
            self.remove(plural, namespace, name)
            return {"kind": "Status", "status": "Success"}
        assert request.content_type == MERGE
        patch = deepcopy(asked.body)
        version = patch.get("metadata", {}).pop("resourceVersion", None)
        if version not in (None, found["metadata"]["resourceVersion"]):
            raise Refusal(409, "Conflict", "the object has been modified")
        return self.put(plural, _merged(found, patch))

    def _listing(self, asked: Asked, plural: str, namespace: str) -> Json:
        field_name = asked.query.get("fieldSelector", "").removeprefix("metadata.name=")
        terms = [term for term in asked.query.get("labelSelector", "").split(",") if term]
        labels = {label: wanted or "*" for label, _, wanted in (t.partition("=") for t in terms)}
        items = [
            body
            for key, body in sorted(self.objects.items())
            if key[0] == plural
            and namespace in ("", key[1])
            and field_name in ("", key[2])
            and all(
                wanted in ("*", body["metadata"].get("labels", {}).get(label))
                and label in body["metadata"].get("labels", {})
                for label, wanted in labels.items()
            )
        ]
        after = int(asked.query.get("continue", "0"))
        limit = int(asked.query.get("limit", "500"))
        metadata = {"resourceVersion": str(self.version)}
        if len(items) > after + limit:
            metadata["continue"] = str(after + limit)
        return {"items": items[after : after + limit] or None, "metadata": metadata}

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[Json | None] = asyncio.Queue()
        name = request.query["fieldSelector"].removeprefix("metadata.name=")
        entry = (plural, f"{namespace}/{name}", queue)
        self.watchers.append(entry)
        self.watches += 1
        since = int(request.query["resourceVersion"])
        for version, *where, change in self.history:
            if version > since and where == [plural, f"{namespace}/{name}"]:
                queue.put_nowait(change)
        try:
            while (told := await queue.get()) is not None:
                await response.write(json.dumps(told).encode() + b"\n")
        finally:
            self.watchers.remove(entry)
        return response

    def _tell(self, key: tuple[str, str, str], kind: str, body: Json) -> None:
        changed = (key[0], f"{key[1]}/{key[2]}")
        change = {"type": kind, "object": deepcopy(body)}
        self.history.append((self.version, *changed, change))
        for plural, place, queue in self.watchers:
            if (plural, place) == changed:
                queue.put_nowait(change)


def _place(path: str) -> tuple[str, str, str]:
    parts = path.split("/")
    if "namespaces" not in parts:
        return parts[-1], "", ""
    namespace, plural, *name = parts[parts.index("namespaces") + 1 :]
    return plural, namespace, name[0] if name else ""


def _merged(base: Any, patch: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return patch
    return {**base, **{key: _merged(base.get(key), value) for key, value in patch.items()}}


class Coordinators:
    """Stands for the network between the gateway and the processes of jobs."""

    def __init__(self) -> None:
        self.lines: dict[str, Any] = {}

    def to(self, address: str) -> Line:
        """Open a connection."""
        return self.lines[address]()  # type: ignore[no-any-return]


@dataclass
class World:
    """A backend in front of an API server."""

    api_server: ApiServer
    api: Api
    hub: Hub
    backend: KubernetesBackend
    network: Coordinators
    code: ConfigMapCodeStore


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Give a backend, with alice who may everything."""
    server = ApiServer(users={ALICE: {"username": "alice", "uid": "a-1", "groups": ["people"]}})
    application = web.Application(client_max_size=8 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    configuration = Configuration(host=f"http://{host}:{port}")
    configuration.api_key = {"BearerToken": f"Bearer {OWN_TOKEN}"}
    api = Api(configuration, user_agent="disco-gateway")
    network = Coordinators()
    jobs = Jobs(api)
    code = ConfigMapCodeStore(api, "disco-system")
    try:
        async with Hub(
            jobs, lambda key, uid: network.to(f"{key.name}-coordinator.{key.namespace}.svc:7071")
        ) as hub:
            backend = KubernetesBackend(
                jobs=jobs,
                access=Access(api),
                hub=hub,
                code=code,
                connect=lambda uid, address: network.to(address),
                default_namespace="default",
            )
            yield World(server, api, hub, backend, network, code)
    finally:
        server.end_watches()
        await api.close()
        await runner.cleanup()


SPEC: Json = {"job": "wc:WC", "inputs": ["/in/a"], "code": {"inline": "x = 1"}}


def discojob(name: str = "j", namespace: str = "ns", **status: Any) -> Json:
    """Return a DiscoJob with a status."""
    return {
        "apiVersion": "discoproject.org/v1alpha1",
        "kind": "DiscoJob",
        "metadata": {"namespace": namespace, "name": name},
        "spec": deepcopy(SPEC),
        "status": status,
    }


def submission(name: str = "j", **fields: Any) -> NewJob:
    """Return a submission that makes sense."""
    spec: Mapping[str, Any] = fields.pop("spec", SPEC)
    if fields.get("code") is not None:
        spec = {key: value for key, value in spec.items() if key != "code"}
    given: dict[str, Any] = {
        "namespace": "ns",
        "name": name,
        "request_id": "request-1",
        "labels": {"team": "a"},
        "manifest_spec": spec,
        "spec": parse_spec(spec),
        **fields,
    }
    return NewJob(**given)


class Builders:
    """What tests build with."""

    ApiServer = ApiServer
    Refusal = Refusal
    ALICE = ALICE
    OWN_TOKEN = OWN_TOKEN
    SPEC = SPEC
    alice = Caller(name="alice", uid="a-1", groups=("people",), token=ALICE)
    discojob = staticmethod(discojob)
    submission = staticmethod(submission)

    @staticmethod
    def data(secret: Json) -> bytes:
        """Return the code in a Secret."""
        return base64.b64decode(secret["data"]["code.pb"])


@pytest.fixture
def build() -> type[Builders]:
    """Give the builders."""
    return Builders
