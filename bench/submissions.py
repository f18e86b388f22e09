"""How many DiscoJobs a minute an operator takes on, and how its memory grows with finished jobs.

Needs a cluster with the chart installed, `kubectl`, and KUBECONFIG; makes a namespace of its own
and removes it. The jobs have no pods (those of the first part are suspended, those of the second
are cancelled before they start), so it is the operator and the API server that are measured.

    python bench/submissions.py --jobs 1000 --finished 2000
"""

import argparse
import asyncio
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from disco_operator.api import Api

NAMESPACE = "disco-bench"
JOBS = f"/apis/discoproject.org/v1alpha1/namespaces/{NAMESPACE}/discojobs"
PARALLEL = 20
ROUNDS = 4


def job(name: str, **spec: Any) -> dict[str, Any]:
    """Return a small DiscoJob."""
    return {
        "apiVersion": "discoproject.org/v1alpha1",
        "kind": "DiscoJob",
        "metadata": {"name": name},
        "spec": {
            "job": "small:Small",
            "code": {"inline": "from disco import Job\n\n\nclass Small(Job):\n    pass\n"},
            "inputs": ["raw://one"],
            **spec,
        },
    }


async def submit(api: Api, names: list[str], **spec: Any) -> None:
    """Create jobs, some at a time."""
    waiting = list(reversed(names))

    async def work() -> None:
        while waiting:
            reply = await api.call("POST", JOBS, body=job(waiting.pop(), **spec))
            if reply.status != 201:
                raise SystemExit(f"not created: {reply.message}")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(PARALLEL):
            tasks.create_task(work())


async def phases(api: Api) -> Mapping[str, str]:
    """Return the phase of every job that has one, by name."""
    reply = await api.call("GET", JOBS)
    return {
        item["metadata"]["name"]: item["status"]["phase"]
        for item in reply.body["items"]
        if "phase" in item.get("status", {})
    }


async def until(api: Api, names: list[str], phase: str) -> None:
    """Wait until all jobs are in a phase."""
    while True:
        found = await phases(api)
        if all(found.get(name) == phase for name in names):
            return
        await asyncio.sleep(0.5)


def operator_kib(operator_namespace: str, lease: str) -> int:
    """Return the leader's resident memory in KiB."""

    def kubectl(*arguments: str) -> str:
        command = ["kubectl", "--namespace", operator_namespace, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    holder = kubectl("get", "lease", lease, "--output=jsonpath={.spec.holderIdentity}")
    status = kubectl("exec", holder.rpartition("_")[0], "--", "cat", "/proc/1/status")
    (line,) = (row for row in status.splitlines() if row.startswith("VmRSS:"))
    return int(line.split()[1])


async def run(options: argparse.Namespace) -> None:
    """Measure both, and print them."""
    api = await Api.connect()
    try:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await api.call("POST", "/api/v1/namespaces", body=body)
        names = [f"suspended-{index}" for index in range(options.jobs)]
        began = time.monotonic()
        await submit(api, names, suspend=True)
        submitted_s = time.monotonic() - began
        await until(api, names, "Suspended")
        taken_s = time.monotonic() - began
        print(
            f"{options.jobs} submissions: created in {submitted_s:.1f} s, all reconciled after"
            f" {taken_s:.1f} s: {options.jobs / taken_s * 60:,.0f} a minute"
        )
        share = options.finished // ROUNDS
        print(f"operator: {operator_kib(options.namespace, options.lease) / 1024:.0f} MiB")
        for round_ in range(ROUNDS):
            names = [f"cancelled-{round_}-{index}" for index in range(share)]
            await submit(api, names, cancel=True)
            await until(api, names, "Cancelled")
            memory_mib = operator_kib(options.namespace, options.lease) / 1024
            print(f"{(round_ + 1) * share} finished jobs: {memory_mib:.0f} MiB")
    finally:
        await api.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
        await api.close()


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description="Measure an operator.")
    parser.add_argument("--jobs", type=int, default=1000, help="submissions to measure")
    parser.add_argument("--finished", type=int, default=2000, help="finished jobs to keep")
    parser.add_argument("--namespace", default="disco-system", help="of the operator")
    parser.add_argument("--lease", default="disco-operator", help="of the operator")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
