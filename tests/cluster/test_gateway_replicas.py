"""Several replicas of the gateway: whichever dies, nobody loses anything, or gets it twice."""

import asyncio
import hashlib
import time
from contextlib import AsyncExitStack
from typing import Any

from harness.gated import GatedJob
from harness.gateway import Gateway, token_of
from harness.jobs import RunningJob
from harness.kubectl import Api
from harness.namespaces import Namespace
from harness.volumes import Volume
from harness.waiting import wait_for

from disco.client.aio import AsyncClient
from disco.client.submission import Submission
from disco.v1 import coordinator_pb2

TASKS = 8
RECORDS = 400
VALUE_BYTES = 64 * 1024
"""205 MB in all, which do not compress."""

BULK = f"""\
import hashlib
from disco import Job


class Bulk(Job):
    partitions = 4

    @staticmethod
    def map(task, params):
        task = int(task)
        for number in range({RECORDS}):
            key = task * {RECORDS} + number
            yield key, hashlib.shake_256(str(key).encode()).digest({VALUE_BYTES})

    @staticmethod
    def reduce(pairs, params):
        return pairs
"""
TALKER = """\
import os
import time
from disco import Job


class Talker(Job):
    partitions = None

    @staticmethod
    def map(line, params):
        number = 0
        while not os.path.exists("/shared/gate"):
            print("line", number, flush=True)
            number += 1
            time.sleep(0.2)
        yield number, 1
"""
WATCHERS = 200
SUBMISSIONS = 100


async def _kill_all_in_turn(gateway: Gateway) -> None:
    """Kill each replica that is there now, in turn: every stream breaks once at least."""
    for pod in gateway.pods():
        await asyncio.to_thread(gateway.kill, pod["metadata"]["name"])


async def test_a_watch_goes_on_at_another_replica(
    gateway: Gateway, namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume)
    numbers: list[int] = []
    phases: list[int] = []

    async def watch(client: AsyncClient) -> None:
        async for reply in client.watch("gated"):
            numbers.extend(event.number for event in reply.events)
            phases.append(reply.job.phase)

    async with (
        gateway.client(token_of(namespace), namespace.name) as client,
        asyncio.timeout(400),
        asyncio.TaskGroup() as tasks,
    ):
        watching = tasks.create_task(watch(client))
        await asyncio.to_thread(gated.wait_until_inside)
        await _kill_all_in_turn(gateway)
        assert not watching.done()
        gated.open_gate()
    assert phases[-1] == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert numbers == list(range(1, len(numbers) + 1))


async def test_two_hundred_megabytes_arrive_whole_while_replicas_die(
    gateway: Gateway, namespace: Namespace, api: Api
) -> None:
    spec: dict[str, Any] = {
        "job": "bulk:Bulk",
        "code": {"inline": BULK},
        "inputs": [f"raw://{task}" for task in range(TASKS)],
        "workers": {"replicas": 2, "slots": 1},
        "partitionService": {"replicas": 2},
    }
    keys: list[int] = []
    begun = asyncio.Event()

    async def read(client: AsyncClient) -> None:
        async for key, value in client.records("bulk", trust=True):
            expected = hashlib.shake_256(str(key).encode()).digest(VALUE_BYTES)
            assert value == expected, key
            keys.append(key)
            if len(keys) == RECORDS // 4:
                begun.set()
            if len(keys) % 40 == 0 and not killed.is_set():
                await asyncio.sleep(0.5)  # slowly, so that it is not over before the replicas die

    killed = asyncio.Event()
    async with gateway.client(token_of(namespace), namespace.name) as client:
        await client.submit(Submission(spec=spec, name="bulk"))
        await asyncio.to_thread(
            RunningJob(api, namespace.name, "bulk").wait_until_succeeded, timeout=300
        )
        async with asyncio.timeout(400), asyncio.TaskGroup() as tasks:
            tasks.create_task(read(client))
            await begun.wait()
            await _kill_all_in_turn(gateway)
            assert len(keys) < TASKS * RECORDS, "it was read before the replicas had died"
            killed.set()
    assert sorted(keys) == list(range(TASKS * RECORDS))


async def test_logs_are_followed_to_the_end_by_whoever_comes_late(
    gateway: Gateway, namespace: Namespace, shared_volume: Volume
) -> None:
    shared_volume.write("there", "")
    claim = [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}]
    spec: dict[str, Any] = {
        "job": "talker:Talker",
        "code": {"inline": TALKER},
        "inputs": ["raw://x"],
        "workers": {
            "replicas": 1,
            "volumes": claim,
            "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
        },
    }
    async with gateway.client(token_of(namespace), namespace.name) as client:
        await client.submit(Submission(spec=spec, name="talker"))
        kinds: list[str] = []

        async def follow() -> None:
            async for reply in client.logs("talker", follow=True):
                kinds.extend(entry.kind for entry in reply.entries)

        async with asyncio.timeout(300), asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            async for update in client.watch("talker"):
                if any(stage.tasks_running for stage in update.job.stages):
                    break
            shared_volume.write("gate", "")
        assert "output" in kinds


async def test_two_hundred_watch_at_once(
    gateway: Gateway, namespace: Namespace, shared_volume: Volume
) -> None:
    gated = GatedJob(namespace, shared_volume)
    token = token_of(namespace)
    seen: list[list[int]] = [[] for _ in range(WATCHERS)]
    last: list[int] = [0] * WATCHERS

    async def watch(index: int, client: AsyncClient) -> None:
        async for reply in client.watch("gated"):
            seen[index].extend(event.number for event in reply.events)
            last[index] = reply.job.phase

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(gateway.client(token, namespace.name))
            for _ in range(WATCHERS)
        ]
        async with asyncio.timeout(400), asyncio.TaskGroup() as tasks:
            for index, client in enumerate(clients):
                tasks.create_task(watch(index, client))
            await asyncio.to_thread(gated.wait_until_inside)
            await asyncio.to_thread(wait_for, "all to have heard", lambda: all(seen))
            gated.open_gate()
    assert set(last) == {coordinator_pb2.JOB_PHASE_SUCCEEDED}
    for numbers in seen:
        assert numbers == list(range(1, len(seen[0]) + 1))


async def test_a_hundred_submissions_at_once_make_a_hundred_jobs(
    gateway: Gateway, namespace: Namespace, api: Api
) -> None:
    token = token_of(namespace)
    spec = {
        "job": "bulk:Bulk",
        "code": {"inline": BULK},
        "inputs": ["raw://0"],
        "suspend": True,
    }

    async with gateway.client(token, namespace.name) as client:
        began = time.monotonic()
        jobs = await asyncio.gather(
            *(client.submit(Submission(spec=spec, name=f"job-{n}")) for n in range(SUBMISSIONS))
        )
        print(f"{SUBMISSIONS} submissions took {time.monotonic() - began:.1f} s")
        assert len({job.uid for job in jobs}) == SUBMISSIONS
        listed = [job.name async for job in client.list(page_size=30)]
        assert sorted(listed) == sorted(f"job-{n}" for n in range(SUBMISSIONS))
        assert listed == sorted(listed)
