"""``python -m disco_operator``: follow until the lease is ours, then reconcile DiscoJobs.

A leader that loses the lease ends as a whole, so that nothing of it is left to write, and begins
anew in its container: kubelets wait up to five minutes before they start again what has ended
often, and an API server that is slow for a while would leave a cluster with all replicas waiting.
"""

import argparse
import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence
from uuid import uuid4

from disco_engine import logs, memory
from disco_engine.process import EXIT_FENCED, EXIT_PORT_TAKEN, leaves_of, stop_requested
from disco_engine.rpc import PortTakenError
from disco_operator.api import Api
from disco_operator.cluster import ClusterError, FencedError
from disco_operator.deep_json import bear_deep_json
from disco_operator.doors import WatchEndedError
from disco_operator.health import Signs, serving
from disco_operator.identity import MasterKeyError
from disco_operator.kube_lease import KubeLeases
from disco_operator.leading import Leader, Scope
from disco_operator.lease import Leadership, LeadershipLostError, boottime
from disco_operator.metrics import REGISTRY, StandingCollector
from disco_operator.model import OperatorSettings
from disco_operator.resync import ScopeChangedError

log = logging.getLogger(__name__)

EXIT_FAILED = 1
ENDING_S = 4.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one replica of the operator; return the exit status.

    0: stopped as asked. 1: it could not go on; started again it may do better. 3: the HTTP port is
    taken. 4: it led, and another replica may do so now; this one may follow again.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.namespace_mode == "namespaced") != bool(options.namespace):
        parser.error("--namespace goes with --namespace-mode=namespaced, and the other way round")
    home = os.environ.get("POD_NAMESPACE", "")
    if not home:
        parser.error("the environment variable POD_NAMESPACE must name the operator's namespace")
    logs.configure(options.log_level)
    bear_deep_json()
    # Started when the process begins to end. A replica that neither follows, leads nor is gone,
    # because a task cannot be cancelled, is the one thing that must not be.
    deadline = threading.Timer(ENDING_S, os._exit, (EXIT_FAILED,))
    deadline.daemon = True
    try:
        asyncio.run(_run(options, home, deadline))
    except Exception as error:
        return explain(error)
    finally:
        deadline.cancel()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m disco_operator",
        description="Turn DiscoJobs into running jobs. Several replicas may run; one works.",
        epilog="POD_NAMESPACE must name the namespace of the Lease and of the master key, POD_NAME"
        " may name this replica. The API server is the pod's own, or that of the kubeconfig.",
    )
    parser.add_argument(
        "--namespace-mode",
        choices=("cluster", "namespaced"),
        default="cluster",
        help="serve all namespaces, or those given",
    )
    parser.add_argument(
        "--namespace", action="append", default=[], metavar="NAME", help="to serve; repeatable"
    )
    parser.add_argument("--job-image", required=True, help="image of jobs that name none")
    parser.add_argument("--lease-name", default="disco-operator", help="which Lease to lead by")
    parser.add_argument("--http-port", type=int, default=8080, help="health and metrics; 0: any")
    parser.add_argument("--log-level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")
    return parser


async def _run(options: argparse.Namespace, home: str, deadline: threading.Timer) -> None:
    pod = os.environ.get("POD_NAME", "") or socket.gethostname()
    scope = Scope(
        namespaces=tuple(options.namespace), home=home, lease=options.lease_name, instance=pod
    )
    api = await Api.connect()
    try:
        # A container that is started again has its pod's name, but is not who held the lease.
        leadership = Leadership(
            KubeLeases(api, namespace=home, name=options.lease_name), f"{pod}_{uuid4().hex[:8]}"
        )
        leader: Leader | None = None

        def signs() -> Signs:
            if leader is not None:
                return leader.signs()
            return Signs(leader=leadership.leader, lease_idle_s=leadership.idle_s())

        REGISTRY.register(StandingCollector(lambda: leader))
        async with (
            memory.seldom_collected(),
            stop_requested(exit_on_stdin_eof=False) as stop,
            serving(options.http_port, signs) as port,
        ):
            log.info("serving", extra={"port": port, "instance": pod})
            if not await _acquired(leadership, stop):
                return
            leader = Leader(
                api=api,
                leadership=leadership,
                scope=scope,
                settings=OperatorSettings(job_image=options.job_image, namespace=home),
                clock=boottime,
            )
            await leader.run(stop, ending=deadline.start)
    finally:
        await api.close()


async def _acquired(leadership: Leadership, stop: asyncio.Event) -> bool:
    """Wait for the lease; return False if asked to stop first."""
    async with asyncio.TaskGroup() as tasks:
        acquiring = tasks.create_task(leadership.acquire())
        stopping = tasks.create_task(stop.wait())
        await asyncio.wait((acquiring, stopping), return_when=asyncio.FIRST_COMPLETED)
        acquired = acquiring.done()
        acquiring.cancel()
        stopping.cancel()
    return acquired


def explain(error: Exception) -> int:
    """Log why the process ends; return its exit status."""
    leaves = tuple(leaves_of(error))
    for leaf in leaves:
        if isinstance(leaf, LeadershipLostError | FencedError):
            log.error("leadership lost", extra={"reason": str(leaf)})
            return EXIT_FENCED
    for leaf in leaves:
        if isinstance(leaf, WatchEndedError | ScopeChangedError | MasterKeyError | ClusterError):
            log.error("the operator cannot go on", extra={"reason": str(leaf)})
            return EXIT_FAILED
        if isinstance(leaf, PortTakenError):
            print(leaf, file=sys.stderr)
            return EXIT_PORT_TAKEN
    log.error("the operator has a bug and must end", exc_info=error)
    return EXIT_FAILED


def program() -> None:
    """Run a replica in this process, and in its place another one if it has lost the lease."""
    status = main()
    if status == EXIT_FENCED:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    sys.exit(status)


if __name__ == "__main__":
    program()
