"""``python -m disco_operator.gateway``: answer ``disco.v1.Jobs`` in front of a cluster."""

import argparse
import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from disco_engine import logs
from disco_engine.process import EXIT_PORT_TAKEN, leaves_of, stop_requested
from disco_engine.rpc import IdentityError, Line, PortTakenError
from disco_gateway.certificate import Certificate
from disco_gateway.codestore import FsspecCodeStore
from disco_gateway.serving import serving
from disco_operator.api import Api
from disco_operator.cluster import Cluster, ClusterError
from disco_operator.deep_json import bear_deep_json
from disco_operator.gateway import metrics
from disco_operator.gateway.access import Access
from disco_operator.gateway.backend import KubernetesBackend
from disco_operator.gateway.certificate import CA_ENTRY, derived, names_of, published, written
from disco_operator.gateway.code_maps import ConfigMapCodeStore
from disco_operator.gateway.hub import Hub
from disco_operator.gateway.jobs import Jobs
from disco_operator.identity import Identities, MasterKeyError, master_key
from disco_operator.kube import KubeCluster, OpenFence
from disco_operator.lines import Lines
from disco_operator.model import GATEWAY, JobKey
from disco_operator.names import coordinator_address
from disco_operator.patience import patiently
from disco_operator.probes import probed

log = logging.getLogger(__name__)

EXIT_FAILED = 1
LEAVING_S = 3.0
"""From when this replica says that it goes until it closes its doors: who routes calls to it needs
a moment to notice."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one replica of the gateway; return the exit status.

    0: stopped as asked. 1: it could not go on; started again it may do better. 3: a port is taken.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    home = os.environ.get("POD_NAMESPACE", "")
    if not home:
        parser.error("the environment variable POD_NAMESPACE must name the gateway's namespace")
    logs.configure(options.log_level)
    bear_deep_json()
    try:
        asyncio.run(_run(options, home))
    except Exception as error:
        return explain(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m disco_operator.gateway",
        description="Let people and programs submit DiscoJobs and read what becomes of them, with"
        " their own rights. Any number of replicas may run.",
        epilog="POD_NAMESPACE must name the namespace of the operator's master key. The API server"
        " is the pod's own, or that of the kubeconfig.",
    )
    parser.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="to serve; repeatable (default: all)",
    )
    parser.add_argument(
        "--default-namespace",
        default="",
        metavar="NAME",
        help='of jobs that name none (default: the first that is served, or "default")',
    )
    parser.add_argument("--host", default="0.0.0.0", help="where to listen")
    parser.add_argument("--grpc-port", type=int, default=7070, help="0: any")
    parser.add_argument("--http-port", type=int, default=7073, help="HTTP with JSON; 0: any")
    parser.add_argument(
        "--probe-port", type=int, default=8080, help="health and metrics, in plaintext; 0: any"
    )
    parser.add_argument(
        "--service",
        default="disco-gateway",
        metavar="NAME",
        help="the cluster's Service that leads here",
    )
    parser.add_argument(
        "--server-name",
        action="append",
        default=[],
        metavar="NAME",
        help="another name or address under which it is called; repeatable",
    )
    parser.add_argument(
        "--tls-dir",
        type=Path,
        metavar="DIR",
        help="has tls.crt and tls.key, and ca.crt if others do not know their authority; they are"
        " read again when they change (default: a certificate is derived from the master key)",
    )
    parser.add_argument(
        "--ca-config-map",
        default="disco-gateway-ca",
        metavar="NAME",
        help="where to publish the authority's certificate",
    )
    parser.add_argument(
        "--code-store",
        default="",
        metavar="URL",
        help="where uploaded code waits, any URL that fsspec knows and all replicas share"
        " (default: in ConfigMaps, up to 900,000 bytes each)",
    )
    parser.add_argument(
        "--max-code-bytes", type=int, default=16 * 1024 * 1024, help="of one upload"
    )
    parser.add_argument("--log-level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")
    return parser


@dataclass(slots=True)
class _Leaving:
    """Whether this replica has said that it goes."""

    said: bool = False

    def hindrances(self) -> tuple[str, ...]:
        """Return why nobody new should call."""
        return ("it is being stopped",) if self.said else ()


async def _run(options: argparse.Namespace, home: str) -> None:
    instance = os.environ.get("POD_NAME", "") or socket.gethostname()
    api = await Api.connect(user_agent=GATEWAY, connections=0)  # the hub and the doors bound them
    async with AsyncExitStack() as stack:
        stack.push_async_callback(api.close)
        stop = await stack.enter_async_context(stop_requested(exit_on_stdin_eof=False))
        cluster = KubeCluster(api, fence=OpenFence(), instance=instance)
        identities = Identities(await patiently(lambda: master_key(cluster, home)))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tls = await _certificate(options, cluster, identities, home, directory)
        jobs = Jobs(api, namespaces=tuple(dict.fromkeys(options.namespace)))

        lines = Lines(identities)

        def to_coordinator(key: JobKey, uid: str) -> Line:
            return lines.to(uid, coordinator_address(key))

        hub = await stack.enter_async_context(Hub(jobs, to_coordinator))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        code = _code_store(options, api, home)
        sweeping = tasks.create_task(code.keep_swept(), name="sweep code")
        backend = KubernetesBackend(
            jobs=jobs,
            access=Access(api),
            hub=hub,
            code=code,
            connect=lines.to,
            default_namespace=options.default_namespace or next(iter(jobs.namespaces), "default"),
        )
        leaving = _Leaving()
        served = await stack.enter_async_context(
            serving(
                backend,
                grpc_address=f"{options.host}:{options.grpc_port}",
                http_address=f"{options.host}:{options.http_port}",
                tls=tls,
            )
        )
        probe_port = await stack.enter_async_context(
            probed(
                options.probe_port,
                ills=lambda: (),
                hindrances=leaving.hindrances,
                metrics=metrics.metrics_of(hub),
                content_type=metrics.CONTENT_TYPE,
            )
        )
        log.info(
            "serving",
            extra={"grpc": served.grpc_port, "http": served.http_port, "probes": probe_port},
        )
        await stop.wait()
        leaving.said = True
        await asyncio.sleep(LEAVING_S)
        sweeping.cancel()


def _code_store(
    options: argparse.Namespace, api: Api, home: str
) -> ConfigMapCodeStore | FsspecCodeStore:
    if options.code_store:
        return FsspecCodeStore(options.code_store, max_bytes=options.max_code_bytes)
    return ConfigMapCodeStore(api, home, max_bytes=options.max_code_bytes)


async def _certificate(
    options: argparse.Namespace,
    cluster: Cluster,
    identities: Identities,
    home: str,
    directory: Path,
) -> Certificate:
    """Return what the doors show, and publish whose word callers have to take for it."""
    if options.tls_dir is not None:
        ca = options.tls_dir / CA_ENTRY
        if ca.exists():
            body = published(options.ca_config_map, home, ca.read_bytes())
            await patiently(lambda: cluster.apply(body))
        return Certificate(chain=options.tls_dir / "tls.crt", key=options.tls_dir / "tls.key")
    names = names_of(options.service, home, options.server_name)
    identity = await patiently(lambda: derived(cluster, identities, home, names))
    body = published(options.ca_config_map, home, identity.ca)
    await patiently(lambda: cluster.apply(body))
    return written(identity, directory)


def explain(error: Exception) -> int:
    """Log why the process ends; return its exit status."""
    for leaf in leaves_of(error):
        if isinstance(leaf, ClusterError | MasterKeyError | IdentityError):
            log.error("the gateway cannot go on", extra={"reason": str(leaf)})
            return EXIT_FAILED
        if isinstance(leaf, PortTakenError):
            print(leaf, file=sys.stderr)
            return EXIT_PORT_TAKEN
    log.error("the gateway has a bug and must end", exc_info=error)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
