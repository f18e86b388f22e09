"""Answers kubelets and Prometheus: ``/healthz``, ``/readyz`` and ``/metrics``, in plaintext."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from disco_engine.rpc import PortTakenError

Judge = Callable[[], tuple[str, ...]]
"""Returns what is wrong, in sentences; nothing: all is well."""


@asynccontextmanager
async def probed(
    port: int,
    *,
    ills: Judge,
    hindrances: Judge,
    metrics: Callable[[], bytes],
    content_type: str,
    host: str | None = None,
) -> AsyncIterator[int]:
    """Answer while the block runs; give the port.

    Args:
        port: Where; 0: any.
        ills: What ``/healthz`` tells: only a new process would help.
        hindrances: What ``/readyz`` tells.
        metrics: What ``/metrics`` tells.
        content_type: Of the metrics.
        host: One address of this machine; None: all, of both IP versions.

    Raises:
        PortTakenError: Something else answers there.
    """

    async def tell_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": content_type})

    application = web.Application()
    application.add_routes(
        [
            web.get("/healthz", _judging(ills)),
            web.get("/readyz", _judging(hindrances)),
            web.get("/metrics", tell_metrics),
        ]
    )
    # Requests still going on at the end are a probe's or a scrape's: nobody minds losing them.
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise PortTakenError(f"{host or '*'}:{port}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _judging(judge: Judge) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        problems = judge()
        text = "\n".join(problems) or "ok"
        return web.Response(text=f"{text}\n", status=503 if problems else 200)

    return answer
