"""How an operator does with many DiscoJobs at once that all have their pods, and do not end.

Needs a cluster with the chart installed, KUBECONFIG, `kubectl`, and nodes that kwok simulates: pods
are marked as running there and nothing runs in them, so what is measured is the control plane. Jobs
are added up to each of the sizes; at the end some are suspended, resumed, deleted, then all are.

    KUBE_NAME=many tests/cluster/kube/kube up --nodes 1 --fake 80
    python bench/many_jobs.py --sizes 200,500,1000,2000

A line per size and change; figures of the operator are those of the replica that leads.
"""

import argparse
import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from submissions import JOBS, NAMESPACE, PARALLEL, submit

from disco_operator.api import MERGE_PATCH, Api

PLACES = {
    "deployments": f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
    "statefulsets": f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets",
    "pods": f"/api/v1/namespaces/{NAMESPACE}/pods",
    "services": f"/api/v1/namespaces/{NAMESPACE}/services",
    "secrets": f"/api/v1/namespaces/{NAMESPACE}/secrets",
    "networkpolicies": f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies",
}
PER_JOB = {"deployments": 2, "statefulsets": 1, "services": 2, "networkpolicies": 1}
CHANGED = 100
PODS_OF_JOB = 3  # coordinator, partition service, worker
PATIENCE_S = 1_800.0
LOOK_S = 1.0

_NODE = {
    "nodeSelector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
}
SPEC: dict[str, Any] = {
    "workers": {"replicas": 1, **_NODE},
    "coordinator": _NODE,
    "partitionService": _NODE,
}

_ASK = """
import os, time, urllib.request
told = urllib.request.urlopen("http://localhost:8080/metrics", timeout=20).read().decode()
fields = open("/proc/1/stat").read().rpartition(")")[2].split()
(rss,) = (line.split()[1] for line in open("/proc/1/status") if line.startswith("VmRSS:"))
print((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(rss) / 1024, time.time())
print(told)
"""


def kubectl(*arguments: str) -> str:
    """Return what kubectl prints."""
    return subprocess.run(
        ["kubectl", *arguments], check=True, capture_output=True, text=True
    ).stdout


def total(metrics: str, name: str, *labels: str) -> float:
    """Return the sum of a metric's values, of those that have all of some labels."""
    rows = (line.rpartition(" ") for line in metrics.splitlines())
    return sum(
        float(value)
        for row, _, value in rows
        if row.partition("{")[0] == name and all(label in row for label in labels)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the leading operator, and the API server, have done since they started.

    Attributes:
        at_s: When.
        cpu_s: Processor time of the operator.
        memory_mib: Resident now.
        looks: Its reconciliations.
        errors: Of these, that failed.
        missed: Changes that its watch did not tell.
        watch_age_s: Since its watch told anything.
        statuses: Of DiscoJobs, written; nobody else does that.
        requests: To the API server, of everybody.
    """

    at_s: float
    cpu_s: float
    memory_mib: float
    looks: float
    errors: float
    missed: float
    watch_age_s: float
    statuses: float
    requests: float


def sample(namespace: str, lease: str) -> Sample:
    """Ask both."""
    holder = kubectl("-n", namespace, "get", "lease", lease, "-o=jsonpath={.spec.holderIdentity}")
    pod = holder.rpartition("_")[0]
    told = kubectl("-n", namespace, "exec", pod, "--", "python", "-c", _ASK)
    head, _, ours = told.partition("\n")
    cpu_s, memory_mib, at_s = map(float, head.split())
    server = kubectl("get", "--raw", "/metrics")
    requests = "apiserver_request_total"
    return Sample(
        at_s=at_s,
        cpu_s=cpu_s,
        memory_mib=memory_mib,
        looks=total(ours, "disco_operator_reconcile_seconds_count"),
        errors=total(ours, "disco_operator_reconcile_errors_total"),
        missed=total(ours, "disco_operator_missed_watch_events_total"),
        watch_age_s=total(ours, "disco_operator_watch_age_seconds"),
        statuses=total(server, requests, 'resource="discojobs"', 'subresource="status"'),
        requests=total(server, requests),
    )


class Bench:
    """The jobs, and how they are.

    Args:
        api: Of the cluster.
        take: Takes a sample.
    """

    def __init__(self, api: Api, take: Callable[[], Sample]) -> None:
        self._api = api
        self._take = take

    async def sizes(self, sizes: Sequence[int], seconds: float) -> None:
        """Add jobs up to each size, and see how it is with so many."""
        there = 0
        for size in sizes:
            await self.grow(there, size)
            await self.settle(size, seconds)
            there = size

    async def grow(self, there: int, size: int) -> None:
        """Add jobs until there are *size*, one of them when half of the others are there."""
        names = [f"many-{number}" for number in range(there, size - 1)]
        before, began = self._take(), time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            submitting = tasks.create_task(submit(self._api, names, **SPEC))
            await self._until(partial(self._there, JOBS, there + len(names) // 2))
            lag_s = await self._first_status_s(f"many-{size - 1}")
            await submitting
        submitted_s = time.monotonic() - began
        await self._until(partial(self._have_children, size))
        taken_s = time.monotonic() - began
        self._print(
            f"{there} to {size} jobs: submitted in {submitted_s:.0f} s, all have their children"
            f" after {taken_s:.0f} s ({(size - there) / taken_s:.1f}/s), one in the middle is"
            f" looked at after {lag_s:.1f} s",
            before,
        )

    async def settle(self, size: int, seconds: float) -> None:
        """Measure while nothing is asked for, once all pods are there."""
        began = time.monotonic()
        await self._until(partial(self._there, PLACES["pods"], PODS_OF_JOB * size))
        print(f"{size} jobs: all pods are there {time.monotonic() - began:.0f} s later", flush=True)
        before = self._take()
        await asyncio.sleep(seconds)
        self._print(f"{size} jobs, nothing happens", before)

    async def change(self, size: int) -> None:
        """Suspend some, resume them, and delete them."""
        names = [f"many-{number}" for number in range(min(size, CHANGED))]
        for suspend, wanted in ((True, ("Suspended",)), (False, ("Pending", "Running"))):
            before, began = self._take(), time.monotonic()
            await self._each(names, "PATCH", {"spec": {"suspend": suspend}})
            await self._until(partial(self._are, names, wanted))
            what = "suspended" if suspend else "resumed"
            self._print(f"{len(names)} {what}: after {time.monotonic() - began:.1f} s", before)
        before, began = self._take(), time.monotonic()
        there = await self._count(PLACES["services"])
        await self._each(names, "DELETE", None)
        left = there - len(names) * PER_JOB["services"]
        await self._until(partial(self._at_most, PLACES["services"], left))
        self._print(f"{len(names)} deleted: after {time.monotonic() - began:.1f} s", before)

    async def clear(self, size: int) -> None:
        """Delete all, and see that nothing is left."""
        before, began = self._take(), time.monotonic()
        # One by one: the API server gives up on a whole collection after a minute.
        await self._each([f"many-{number}" for number in range(size)], "DELETE", None)
        for place in (JOBS, *PLACES.values()):
            await self._until(partial(self._at_most, place, 0))
        self._print(f"all deleted, nothing is left after {time.monotonic() - began:.0f} s", before)

    # --- asking

    async def _count(self, place: str) -> int:
        reply = await self._api.call("GET", place, query={"limit": "1"})
        return len(reply.body["items"]) + int(reply.body["metadata"].get("remainingItemCount", 0))

    async def _there(self, place: str, number: int) -> bool:
        return await self._count(place) >= number

    async def _at_most(self, place: str, number: int) -> bool:
        return await self._count(place) <= number

    async def _have_children(self, jobs: int) -> bool:
        """Tell whether so many jobs have what the operator makes for them."""
        counts = {kind: await self._count(PLACES[kind]) for kind in PER_JOB}
        return all(counts[kind] >= jobs * each for kind, each in PER_JOB.items())

    async def _are(self, names: Sequence[str], phases: Sequence[str]) -> bool:
        for name in names:
            if (await self._status(name))["phase"] not in phases:
                return False
        return True

    async def _status(self, name: str) -> dict[str, Any]:
        reply = await self._api.call("GET", f"{JOBS}/{name}")
        found: dict[str, Any] = reply.body["status"]
        return found

    async def _first_status_s(self, name: str) -> float:
        """Return how long a new job waits until its status is the operator's."""
        began = time.monotonic()
        await submit(self._api, [name], **SPEC)
        while "observedGeneration" not in await self._status(name):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def _each(self, names: Sequence[str], method: str, body: Any) -> None:
        waiting = list(names)

        async def work() -> None:
            while waiting:
                place = f"{JOBS}/{waiting.pop()}"
                await self._api.call(method, place, body=body, content_type=MERGE_PATCH)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(PARALLEL):
                tasks.create_task(work())

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for what nobody tells."""
        async with asyncio.timeout(PATIENCE_S):
            while not await condition():  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S)

    def _print(self, what: str, before: Sample) -> None:
        after = self._take()
        took_s = after.at_s - before.at_s

        def rate(name: str) -> float:
            return float(getattr(after, name) - getattr(before, name)) / took_s

        print(
            f"{what}\n    operator: {rate('cpu_s'):.2f} cores, {after.memory_mib:.0f} MiB,"
            f" {rate('looks'):.0f} looks/s, {after.errors - before.errors:.0f} of them failed,"
            f" {rate('statuses'):.0f} statuses/s; {after.missed - before.missed:.0f} changes"
            f" missed, watch heard {after.watch_age_s:.0f} s ago; API server:"
            f" {rate('requests'):.0f} requests/s",
            flush=True,
        )


async def run(options: argparse.Namespace) -> None:
    """Measure, and remove everything."""
    api = await Api.connect()
    bench = Bench(api, lambda: sample(options.namespace, options.lease))
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    await api.call("POST", "/api/v1/namespaces", body=body)
    try:
        sizes = [int(size) for size in options.sizes.split(",")]
        await bench.sizes(sizes, options.seconds)
        await bench.change(sizes[-1])
        await bench.clear(sizes[-1])
    finally:
        await api.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
        await api.close()


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description="Measure an operator with many jobs.")
    parser.add_argument("--sizes", default="200,500,1000,2000", help="jobs at a time, ascending")
    parser.add_argument("--seconds", type=float, default=60, help="to watch each size")
    parser.add_argument("--namespace", default="disco-system", help="of the operator")
    parser.add_argument("--lease", default="disco-operator", help="of the operator")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
