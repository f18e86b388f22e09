"""Reaches a gateway that is not exposed, through ``kubectl port-forward``, as a kubectl user may.

kubectl brings the connection, the certificate of the gateway's authority and a token; nothing of
these appears on a command line. A forwarding that ends is started again, on the same port.
"""

import asyncio
import base64
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from disco.client.calls import Endpoint
from disco.client.config import Kubectl
from disco.client.credentials import token_in
from disco.client.errors import NotConnectedError, UnauthenticatedError

log = logging.getLogger(__name__)

_CA_KEY = "ca.crt"

_START_S = 30.0
_COMMAND_S = 30.0
_MOST_TOLD = 4096
_RESTART_S = 0.5
_TOKEN_S = 3600
_RENEW_BEFORE_S = 300.0
_SERVICE_PORT = "grpc"
_FORWARDING = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) ->")


@asynccontextmanager
async def forwarded(kubectl: Kubectl, *, program: str = "kubectl") -> AsyncIterator["Forwarding"]:
    """Let a port of this machine lead to the gateway until the block ends.

    Args:
        kubectl: How kubectl reaches it.
        program: kubectl.

    Raises:
        NotConnectedError: kubectl cannot.
    """
    forwarding = Forwarding(kubectl, program)
    await forwarding.start()
    # Not in a TaskGroup, which would wrap what the block raises. It only ends when it is told to.
    keeper = asyncio.create_task(forwarding.keep(), name="keep-forwarding")
    try:
        yield forwarding
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
        await forwarding.end()


class Forwarding:
    """A port of this machine that leads to the gateway, and what kubectl knows about it."""

    def __init__(self, kubectl: Kubectl, program: str) -> None:
        self._kubectl = kubectl
        self._program = program
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._token = ""
        self._renew_at_s = 0.0
        self._renewing = asyncio.Lock()

    async def start(self) -> None:
        """Start to forward; return once it does.

        Raises:
            NotConnectedError: It does not.
        """
        port = f"{self._port or ''}:{_SERVICE_PORT}"
        service = f"service/{self._kubectl.service}"
        process = await self._run("port-forward", "--address=127.0.0.1", service, port)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(_START_S):
                match = _FORWARDING.match(await process.stdout.readline())
                if match:
                    self._port, self._process = int(match.group(1)), process
                    return
                told = (await process.stderr.read(_MOST_TOLD)).decode(errors="replace")
        except TimeoutError:
            told = f"it has not begun within {_START_S:g} s"
        except BaseException:
            await _end(process)
            raise
        await _end(process)
        raise self._failed(f"kubectl port-forward: {told.strip()}")

    async def keep(self) -> None:
        """Start again what ends, until this is cancelled."""
        while True:
            if self._process is not None:
                await _drain(self._process)
                await self.end()
            await asyncio.sleep(_RESTART_S)
            try:
                await self.start()
            except NotConnectedError as error:  # calls fail meanwhile, and are tried again
                log.warning("port-forward does not start", extra={"reason": str(error)})

    async def end(self) -> None:
        """End the forwarding that runs."""
        if self._process is not None:
            await _end(self._process)
            self._process = None

    async def endpoint(self) -> Endpoint:
        """Return where the gateway is now, and how its certificate is checked.

        Raises:
            NotConnectedError: kubectl cannot tell.
        """
        config_map = f"{self._kubectl.service}-ca"
        found = await self._json("get", "configmap", config_map)
        certificate = found.get("data", {}).get(_CA_KEY, "")
        if not certificate:
            raise self._failed(
                f"ConfigMap {config_map} has no {_CA_KEY}", "see how the chart was installed"
            )
        return Endpoint(
            address=f"127.0.0.1:{self._port}",
            plaintext=False,
            ca=certificate.encode(),
            server_name=f"{self._kubectl.service}.{self._kubectl.namespace}.svc",
        )

    async def token(self) -> str:
        """Return a token that is valid for a while yet.

        Raises:
            UnauthenticatedError: kubectl gives none.
        """
        async with self._renewing:
            if time.monotonic() >= self._renew_at_s:
                if self._kubectl.service_account:
                    await self._renew(self._kubectl.service_account)
                else:
                    self._token = await self._own_token()
                    self._renew_at_s = time.monotonic() + _RENEW_BEFORE_S
        return self._token

    async def _renew(self, account: str) -> None:
        namespace, _, name = account.rpartition("/")
        found = await self._json(
            *("create", "token", name, f"--duration={_TOKEN_S}s"),
            namespace=namespace or self._kubectl.namespace,
        )
        self._token = found.get("status", {}).get("token", "")
        lifetime_s = _lifetime_s(self._token) or _TOKEN_S
        self._renew_at_s = time.monotonic() + max(lifetime_s - _RENEW_BEFORE_S, lifetime_s / 2)

    async def _own_token(self) -> str:
        """Return the bearer token of the kubeconfig's own user."""
        config = await self._json("config", "view", "--minify", "--raw", everywhere=True)
        users = config.get("users") or [{}]
        user = users[0].get("user") or {}
        if user.get("tokenFile"):
            return token_in(Path(user["tokenFile"]))
        if user.get("token"):
            return str(user["token"])
        raise UnauthenticatedError(
            "the kubeconfig has no bearer token that could be shown to the gateway (it may have a"
            " certificate, or ask a program): name a ServiceAccount whose token to ask for"
            " (kubectl.service_account), or give a token"
        )

    async def _json(
        self, *arguments: str, namespace: str | None = None, everywhere: bool = False
    ) -> Any:
        """Return what a kubectl command answers.

        Raises:
            NotConnectedError: It fails.
        """
        process = await self._run(
            *arguments, "--output=json", namespace=namespace, everywhere=everywhere
        )
        try:
            async with asyncio.timeout(_COMMAND_S):
                out, told = await process.communicate()
        except TimeoutError:
            raise self._failed(f"kubectl {arguments[0]} takes too long") from None
        finally:
            await _end(process)
        if process.returncode != 0:
            text = told.decode(errors="replace").strip()
            raise self._failed(f"kubectl {' '.join(arguments[:2])}: {text}")
        try:
            return json.loads(out)
        except ValueError as error:
            raise self._failed(f"kubectl {arguments[0]} answers no JSON") from error

    async def _run(
        self, *arguments: str, namespace: str | None = None, everywhere: bool = False
    ) -> asyncio.subprocess.Process:
        command = [self._program, *arguments]
        if self._kubectl.context:
            command.append(f"--context={self._kubectl.context}")
        if not everywhere:
            command.append(f"--namespace={namespace or self._kubectl.namespace}")
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us: calls that end need the connection
            )
        except OSError as error:
            raise self._failed(
                f"{self._program} cannot be run ({error.strerror})", "install kubectl"
            ) from error

    def _failed(
        self, reason: str, remedy: str = "see whether kubectl itself can do that"
    ) -> NotConnectedError:
        place = f"service {self._kubectl.namespace}/{self._kubectl.service}"
        through = f" of context {self._kubectl.context}" if self._kubectl.context else ""
        return NotConnectedError(f"{place}{through}", reason, remedy)


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what kubectl says, so that it never waits for a reader, until it ends."""
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as tasks:
        for stream in (process.stdout, process.stderr):
            tasks.create_task(_read_all(stream))
    await process.wait()


async def _read_all(stream: asyncio.StreamReader) -> None:
    while await stream.read(_MOST_TOLD):
        pass


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a process unless it has ended, and wait for its end, whatever is cancelled meanwhile."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    await asyncio.shield(process.wait())


def _lifetime_s(token: str) -> float:
    """Return for how many seconds a token is valid, as it says itself; 0: it does not."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"]) - time.time()
    except (LookupError, TypeError, ValueError):
        return 0.0
