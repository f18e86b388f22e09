"""How much memory a gateway takes with many watchers, streams of results and uploads at once.

Needs a cluster with the chart installed, `kubectl` and `grpc` reaching the gateway's Service (on a
cluster of `tests/cluster/kube`: run it with `kube exec`), and KUBECONFIG; makes a namespace of its
own and removes it. Readers of results are slow on purpose, so that all streams are open at once and
what the gateway keeps for each of them is full.

    python bench/gateway_load.py --watchers 200 --readers 50 --uploads 20
"""

import argparse
import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

from disco.client.aio import AsyncClient
from disco.client.connection import resolve
from disco.client.submission import Submission
from disco.v1 import job_pb2

NAMESPACE = "disco-bench"
CODE = """\
import os
import time
from disco import Job


class Bulk(Job):
    partitions = 4

    @staticmethod
    def map(task, params):
        for number in range(16):
            yield int(task) * 16 + number, os.urandom(1 << 18)

    @staticmethod
    def reduce(pairs, params):
        return pairs


class Endless(Job):
    @staticmethod
    def map(task, params):
        for number in range(1_000_000):
            print("line", number)
            time.sleep(1)
        yield 1, 1
"""
SPEC: dict[str, Any] = {"code": {"inline": CODE}, "workers": {"replicas": 1}}


def kubectl(*arguments: str) -> str:
    """Return what kubectl prints."""
    return subprocess.run(
        ["kubectl", *arguments], check=True, capture_output=True, text=True
    ).stdout


def memory_mib(namespace: str, field: str) -> Sequence[float]:
    """Return a field of /proc/1/status of every gateway pod in MiB: VmRSS, or its peak, VmHWM."""
    selector = "app.kubernetes.io/name=disco-gateway"
    pods = kubectl("-n", namespace, "get", "pods", "-l", selector, "-o", "name").split()
    found = []
    for pod in pods:
        status = kubectl("-n", namespace, "exec", pod, "--", "cat", "/proc/1/status")
        (line,) = (row for row in status.splitlines() if row.startswith(f"{field}:"))
        found.append(int(line.split()[1]) / 1024)
    return found


@contextmanager
def own_namespace() -> Iterator[None]:
    """Make the namespace, with an account that may edit jobs in it; remove both in the end."""
    kubectl("create", "namespace", NAMESPACE)
    try:
        kubectl("-n", NAMESPACE, "create", "serviceaccount", "bench")
        subject = f"--serviceaccount={NAMESPACE}:bench"
        kubectl("-n", NAMESPACE, "create", "rolebinding", "bench", "--clusterrole=edit", subject)
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


class Load:
    """Opens clients, each with a connection of its own, and keeps them busy."""

    def __init__(self, connection: Any, stack: AsyncExitStack, tasks: asyncio.TaskGroup) -> None:
        self._connection = connection
        self._stack = stack
        self._tasks = tasks
        self.running: list[asyncio.Task[None]] = []

    async def start(self, count: int, use: Any) -> None:
        """Have *count* more clients used."""
        for _ in range(count):
            client = await self._stack.enter_async_context(AsyncClient(self._connection))
            await client.about()  # one after the other: to connect costs more than to be connected
            self.running.append(self._tasks.create_task(use(client)))


async def watch(client: AsyncClient) -> None:
    """Follow the job that never ends, and what it prints."""
    async for _ in client.logs("endless", follow=True):
        pass


async def read_slowly(client: AsyncClient) -> None:
    """Read the results again and again, with pauses."""
    while True:
        async for _ in client.results("bulk"):
            await asyncio.sleep(0.2)


async def upload(client: AsyncClient) -> None:
    """Upload code again and again, never the same; a full store is no reason to stop."""
    while True:
        try:
            code = job_pb2.JobCode(loader="disco.program:load", modules_zip=os.urandom(899_000))
            await client.upload_code(code.SerializeToString(), namespace=NAMESPACE)
        except Exception as error:
            print(f"upload: {error}"[:200])
            await asyncio.sleep(5)


async def run(options: argparse.Namespace) -> None:
    """Measure with nothing to do, then with each kind of load on top."""
    service = f"{options.release}-gateway"
    host = f"{service}.{options.namespace}.svc"
    with own_namespace(), tempfile.TemporaryDirectory() as folder:
        ca_file = Path(folder) / "ca.crt"
        field = "jsonpath={.data.ca\\.crt}"
        ca = kubectl("-n", options.namespace, "get", "configmap", f"{service}-ca", "-o", field)
        ca_file.write_text(ca)
        connection = resolve(
            server=f"{host}:7070",
            token=kubectl("-n", NAMESPACE, "create", "token", "bench", "--duration=2h").strip(),
            namespace=NAMESPACE,
            ca_file=ca_file,
            server_name=host,
            environment={},
        )

        def tell(what: str) -> None:
            now = memory_mib(options.namespace, "VmRSS")
            peak = memory_mib(options.namespace, "VmHWM")
            pods = ", ".join(f"{a:.0f} (peak {b:.0f})" for a, b in zip(now, peak, strict=True))
            print(f"{what}: {pods} MiB", flush=True)

        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(AsyncClient(connection))
            inputs = [f"raw://{number}" for number in range(16)]
            bulk = {**SPEC, "job": "bench:Bulk", "inputs": inputs}
            await client.submit(Submission(spec=bulk, name="bulk"))
            endless = {**SPEC, "job": "bench:Endless", "inputs": ["raw://1"]}
            await client.submit(Submission(spec=endless, name="endless"))
            await client.wait("bulk", timeout_s=300)
            tell("nothing to do")
            async with asyncio.TaskGroup() as tasks:
                load = Load(connection, stack, tasks)
                for count, use, what in (
                    (options.watchers, watch, "watchers"),
                    (options.readers, read_slowly, "readers"),
                    (options.uploads, upload, "uploads"),
                ):
                    await load.start(count, use)
                    await asyncio.sleep(options.seconds)
                    tell(f"+ {count} {what}")
                for task in load.running:
                    task.cancel()
            tell("without them")


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description="Measure a gateway's memory under load.")
    parser.add_argument("--watchers", type=int, default=200, help="that follow a running job")
    parser.add_argument("--readers", type=int, default=50, help="of 64 MiB of results, slowly")
    parser.add_argument("--uploads", type=int, default=20, help="of 0.9 MB of code each, at once")
    parser.add_argument("--seconds", type=float, default=20, help="of each load before a look")
    parser.add_argument("--namespace", default="disco-system", help="of the release")
    parser.add_argument("--release", default="disco", help="its name")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
