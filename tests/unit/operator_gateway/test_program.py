"""The program: over TLS, with a certificate that its callers can check."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web

from disco.v1 import jobs_pb2, jobs_pb2_grpc
from disco_engine.rpc import credentials_of
from disco_operator.gateway.__main__ import main
from disco_operator.gateway.certificate import names_of

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: test, user: {{token: "{token}"}}}}]
"""


@asynccontextmanager
async def _running(
    server: Any, token: str, folder: Path
) -> AsyncIterator[tuple[dict[str, int], Process]]:
    """Run a gateway; give its ports."""
    application = web.Application(client_max_size=8 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = folder / "kubeconfig"
    config.write_text(KUBECONFIG.format(port=runner.addresses[0][1], token=token))
    ports = ("--grpc-port=0", "--http-port=0", "--probe-port=0", "--host=127.0.0.1")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "disco_operator.gateway", *ports, "--server-name=gate.example"),
        env={**os.environ, "KUBECONFIG": str(config), "POD_NAMESPACE": "disco-system"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield await _ports(process), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        await runner.cleanup()


async def _ports(process: Process) -> dict[str, int]:
    assert process.stderr is not None
    seen = []
    async for line in process.stderr:
        seen.append(line.decode())
        if '"event": "serving"' in seen[-1]:
            found: dict[str, int] = json.loads(line)
            return found
    raise AssertionError(f"it did not begin to serve: {''.join(seen)}")


async def test_it_serves_over_tls_and_stops_when_asked(build: Any, tmp_path: Path) -> None:
    server = build.ApiServer(users={build.ALICE: {"username": "alice"}})
    async with _running(server, build.OWN_TOKEN, tmp_path) as (ports, process):
        published = server.objects["configmaps", "disco-system", "disco-gateway-ca"]
        ca = published["data"]["ca.crt"].encode()
        for name in ("disco-gateway.disco-system.svc", "gate.example", "localhost"):
            async with grpc.aio.secure_channel(
                f"127.0.0.1:{ports['grpc']}",
                grpc.ssl_channel_credentials(ca),
                options=[("grpc.ssl_target_name_override", name)],
            ) as channel:
                stub = jobs_pb2_grpc.JobsStub(channel)
                about = await stub.About(
                    jobs_pb2.AboutRequest(), metadata=credentials_of(build.ALICE)
                )
                assert (about.kind, about.user) == ("kubernetes", "alice")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0


async def test_two_replicas_show_the_same_certificate(build: Any, tmp_path: Path) -> None:
    server = build.ApiServer()
    shown = []
    for _ in range(2):
        async with _running(server, build.OWN_TOKEN, tmp_path):
            found = server.objects["configmaps", "disco-system", "disco-gateway-ca"]
            shown.append(found["data"]["ca.crt"])
    assert shown[0] == shown[1]


def test_it_must_be_told_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    with pytest.raises(SystemExit):
        main([])
    assert "POD_NAMESPACE" in capsys.readouterr().err


def test_it_is_called_by_many_names() -> None:
    names = names_of("disco-gateway", "home", ["a.example", "localhost"])
    assert names[:4] == [
        "disco-gateway",
        "disco-gateway.home",
        "disco-gateway.home.svc",
        "disco-gateway.home.svc.cluster.local",
    ]
    assert names.count("localhost") == 1
    assert "a.example" in names
