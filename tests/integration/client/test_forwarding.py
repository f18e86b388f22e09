"""A gateway that is not exposed is reached through kubectl: here a program that acts like it."""

import asyncio
import base64
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from disco.client.aio import AsyncClient
from disco.client.config import Context, Kubectl, load, save, set_context
from disco.client.connection import Connection, resolve
from disco.client.errors import NotConnectedError, UnauthenticatedError
from disco.client.sync import Client
from disco_gateway.fake import TOKEN, FakeBackend

from .conftest import Replicas
from .test_connecting import Authority

KUBECTL = """
    import json, os, selectors, socket, sys, threading
    from pathlib import Path

    place = Path(os.environ["FAKE_KUBECTL"])
    with (place / "calls").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\\n")
    answers = json.loads((place / "answers.json").read_text())
    command = next(text for text in answers if sys.argv[1:][:len(text.split())] == text.split())
    answer = answers[command]
    if isinstance(answer, str):
        print(answer, file=sys.stderr)
        sys.exit(1)
    if command != "port-forward":
        print(json.dumps(answer))
        sys.exit(0)

    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    (place / "forwarder").write_text(str(os.getpid()))
    asked = sys.argv[4].partition(":")[0]
    listener = socket.create_server(("127.0.0.1", int(asked or 0)))
    port = listener.getsockname()[1]
    print(f"Forwarding from 127.0.0.1:{port} -> 7070", flush=True)
    while True:
        near, _ = listener.accept()
        print(f"Handling connection for {port}", flush=True)
        far = socket.create_connection(("127.0.0.1", answer["port"]))
        for pair in ((near, far), (far, near)):
            threading.Thread(target=pump, args=pair, daemon=True).start()
"""


def jwt(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"header.{body}.signature"


@dataclass
class FakeKubectl:
    """What the program is told to answer, and what it was asked."""

    directory: Path
    answers: dict[str, Any]

    def set(self, **answers: Any) -> None:
        """Change answers: names of commands with "_" for spaces and "-"."""
        for name, answer in answers.items():
            command = next(c for c in self.answers if c.replace("-", "_").replace(" ", "_") == name)
            self.answers[command] = answer
        (self.directory / "answers.json").write_text(json.dumps(self.answers))

    @property
    def calls(self) -> list[list[str]]:
        lines = (self.directory / "calls").read_text().splitlines()
        return [json.loads(line) for line in lines]

    @property
    def forwarder(self) -> int:
        return int((self.directory / "forwarder").read_text())


@pytest.fixture
async def gateway(backend: FakeBackend, tmp_path: Path) -> AsyncIterator[Replicas]:
    replicas = Replicas(backend)
    authority = Authority(tmp_path / "authority", name="disco-gateway.disco-system.svc")
    await replicas.start(tls=authority.served)
    yield replicas
    await replicas.stop()


@pytest.fixture
def kubectl(gateway: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "kubectl"
    program.write_text(f"#!{sys.executable} -S\n{dedent(KUBECTL)}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_KUBECTL", str(directory))
    fake = FakeKubectl(
        directory,
        {
            "port-forward": {"port": gateway.port},
            "get configmap": {"data": {"ca.crt": (tmp_path / "authority" / "ca.crt").read_text()}},
            "create token": {"status": {"token": jwt(exp=time.time() + 3600)}},
            "config view": {"users": [{"name": "me", "user": {"token": TOKEN}}]},
        },
    )
    fake.set()
    return fake


def through(kubectl: Kubectl | None = None, **more: Any) -> Connection:
    """Return a connection whose context of the config file names kubectl."""
    config = set_context(load(), "prod", Context(kubectl=kubectl or Kubectl(), **more))
    save(config)
    return resolve(environment={})


async def test_a_gateway_is_reached_with_the_kubeconfig_s_token(kubectl: FakeKubectl) -> None:
    connection = through(Kubectl(context="prod-cluster"), namespace="analytics")
    assert (connection.server, connection.namespace) == ("prod", "analytics")
    async with AsyncClient(connection) as client:
        assert (await client.about()).user == "alice"
    forward, ca, view = kubectl.calls
    assert forward[:4] == [
        *("port-forward", "--address=127.0.0.1", "service/disco-gateway", ":grpc")
    ]
    assert set(forward[4:]) == {"--context=prod-cluster", "--namespace=disco-system"}
    assert ca[:3] == ["get", "configmap", "disco-gateway-ca"]
    assert view[:4] == ["config", "view", "--minify", "--raw"]


async def test_a_token_of_a_service_account_is_asked_for_and_never_on_a_command_line(
    kubectl: FakeKubectl, backend: FakeBackend
) -> None:
    token = kubectl.answers["create token"]["status"]["token"]
    backend.add_caller("robot", token, ("*", "*"))
    async with AsyncClient(through(Kubectl(service_account="team-a/submitter"))) as client:
        assert (await client.about()).user == "robot"
        assert (await client.about()).user == "robot"
    (asked,) = [call for call in kubectl.calls if call[:2] == ["create", "token"]]
    assert asked[2] == "submitter"
    assert "--namespace=team-a" in asked
    assert not any(token in argument for call in kubectl.calls for argument in call)


async def test_a_token_is_renewed_before_it_expires(
    kubectl: FakeKubectl, backend: FakeBackend
) -> None:
    expiring = jwt(exp=time.time() - 1)
    kubectl.set(create_token={"status": {"token": expiring}})
    backend.add_caller("early", expiring, ("*", "*"))
    async with AsyncClient(through(Kubectl(service_account="robot"))) as client:
        assert (await client.about()).user == "early"
        later = jwt(exp=time.time() + 3600)
        kubectl.set(create_token={"status": {"token": later}})
        backend.add_caller("late", later, ("*", "*"))
        assert (await client.about()).user == "late"


async def test_a_token_of_the_context_is_used_instead(
    kubectl: FakeKubectl, backend: FakeBackend
) -> None:
    backend.add_caller("bob", "token-of-bob", ("*", "*"))
    async with AsyncClient(through(token="token-of-bob")) as client:
        assert (await client.about()).user == "bob"
    assert ["config", "view"] not in [call[:2] for call in kubectl.calls]


async def test_a_forwarding_that_dies_is_started_again_on_the_same_port(
    kubectl: FakeKubectl, backend: FakeBackend
) -> None:
    backend.add("default", "words")
    async with AsyncClient(through()) as client:
        replies = client.watch("words", namespace="default")
        await anext(replies)
        os.kill(kubectl.forwarder, signal.SIGKILL)
        backend.print("default", "words", "after it died")
        backend.finish("default", "words")
        texts = [event.text async for reply in replies for event in reply.events]
    assert texts == ["after it died", ""]


async def test_nothing_of_it_is_left(kubectl: FakeKubectl) -> None:
    before = asyncio.all_tasks()
    async with AsyncClient(through()) as client:
        await client.about()
        forwarder = kubectl.forwarder
    with pytest.raises(ProcessLookupError):
        os.kill(forwarder, 0)
    assert [task for task in asyncio.all_tasks() - before if "disco/client" in repr(task)] == []


@pytest.mark.parametrize(
    ("command", "answer", "message"),
    [
        (
            "port_forward",
            'error: services "disco-gateway" not found',
            'service disco-system/disco-gateway: kubectl port-forward: error: services "disco-gate',
        ),
        ("get_configmap", "Error from server (Forbidden)", "kubectl get configmap: Error from ser"),
        ("get_configmap", {"data": {}}, "ConfigMap disco-gateway-ca has no ca.crt"),
    ],
)
async def test_what_kubectl_cannot_do_is_told_in_its_words(
    kubectl: FakeKubectl, command: str, answer: Any, message: str
) -> None:
    kubectl.set(**{command: answer})
    with pytest.raises(NotConnectedError) as caught:
        async with AsyncClient(through()):
            pass
    assert message in str(caught.value)


async def test_a_kubeconfig_without_a_token_is_told_with_the_remedy(kubectl: FakeKubectl) -> None:
    kubectl.set(config_view={"users": [{"user": {"client-certificate-data": "…"}}]})
    async with AsyncClient(through()) as client:
        with pytest.raises(UnauthenticatedError, match=r"kubectl\.service_account"):
            await client.about()


async def test_no_kubectl_at_all_is_told(
    kubectl: FakeKubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotConnectedError, match=r"kubectl cannot be run .* install kubectl"):
        async with AsyncClient(through()):
            pass


async def test_a_program_without_an_event_loop_gets_there_too(kubectl: FakeKubectl) -> None:
    def use() -> str:
        with Client(through()) as client:
            return client.about().user

    assert await asyncio.to_thread(use) == "alice"
