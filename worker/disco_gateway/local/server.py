"""A whole server on this machine, from its start to its end: doors, jobs, code, signals."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass

from disco_gateway.certificate import Certificate
from disco_gateway.codestore import FsspecCodeStore
from disco_gateway.local.backend import LocalBackend, LocalSettings, local_backend
from disco_gateway.local.users import Users
from disco_gateway.serving import Served, serving

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What to serve, where, and to whom.

    Attributes:
        grpc_address: host:port of the gRPC door.
        http_address: host:port of the HTTP door; empty: there is none.
        tls: What both doors show; None: plaintext.
        users: Who may come.
        code_url: Directory of uploaded code.
        jobs: How jobs are run.
    """

    grpc_address: str
    http_address: str
    tls: Certificate | None
    users: Users
    code_url: str
    jobs: LocalSettings


class _Signals:
    """Those that ask the process to end: the first stops all jobs, the second kills them.

    Attributes:
        first: Set by the first.
        second: Whether there was a second.
    """

    def __init__(
        self, backend: LocalBackend, tasks: asyncio.TaskGroup, on_first: Callable[[], None]
    ) -> None:
        self.first = asyncio.Event()
        self.second = False
        self._backend = backend
        self._tasks = tasks
        self._on_first = on_first

    def listen(self) -> None:
        """Hear signals from now on, but those that are ignored (nohup, scripts' "&")."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._hear)

    def _hear(self) -> None:
        if not self.first.is_set():
            self.first.set()
            self._on_first()
        elif not self.second:
            self.second = True
            self._tasks.create_task(self._backend.kill(), name="kill")


async def serve(
    settings: ServerSettings, *, on_ready: Callable[[Served], None], on_stop: Callable[[], None]
) -> bool:
    """Serve until a signal asks the process to end, and leave no process behind.

    Args:
        settings: What, where, and to whom.
        on_ready: Called when the doors are open.
        on_stop: Called when the first signal has come.

    Returns:
        Whether a second signal had to come.

    Raises:
        ExceptionGroup: Of PortTakenError, if an address cannot be had, or IdentityError, if the
            certificate cannot be used, or there is none where there must be.
    """
    code = FsspecCodeStore(settings.code_url)
    async with (
        asyncio.TaskGroup() as tasks,
        local_backend(settings.jobs, settings.users, code) as backend,
    ):
        signals = _Signals(backend, tasks, on_stop)
        signals.listen()
        async with serving(
            backend,
            grpc_address=settings.grpc_address,
            http_address=settings.http_address,
            tls=settings.tls,
        ) as served:
            sweeping = tasks.create_task(code.keep_swept(), name="sweep")
            on_ready(served)
            await signals.first.wait()
            await backend.stop()  # while the doors are open, so that whoever follows a job is told
        sweeping.cancel()
    return signals.second
