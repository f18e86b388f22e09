"""Many workers without slots in one process: each with a connection and a stream of its own.

They say what workers say, and report each attempt as soon as they may: at first they hold one each,
later they ask for as many at a time as workers do that are quick.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import NamedTuple

import grpc.aio

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc, job_pb2
from disco_engine.rpc import credentials_of
from scaling.service import TOKEN

Said = coordinator_pb2.WorkerMessage


class Shared(NamedTuple):
    """What the processes of a crowd and the benchmark tell each other.

    Attributes:
        joined: Workers that have been welcomed.
        holding: Workers that have an attempt.
        hurry: Report what is held, and ask for more.
    """

    joined: "Synchronized[int]"
    holding: "Synchronized[int]"
    hurry: Event


def run_crowd(address: str, names: Sequence[str], tasks: int, credit: int, shared: Shared) -> None:
    """Be these workers until the job is over.

    Args:
        address: Of the coordinator.
        names: One per worker.
        tasks: How many tasks the job has, if one of them is asked for the plan.
        credit: How many tasks each asks for at a time, once all are there.
        shared: How far they all are.
    """
    asyncio.run(_run(address, names, tasks, credit, shared))


async def _run(address: str, names: Sequence[str], tasks: int, credit: int, shared: Shared) -> None:
    hurry = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(_Worker(address, name, tasks, credit, shared, hurry).run())
        await asyncio.to_thread(shared.hurry.wait)
        hurry.set()


class _Worker:
    def __init__(
        self,
        address: str,
        name: str,
        tasks: int,
        credit: int,
        shared: Shared,
        hurry: asyncio.Event,
    ) -> None:
        self._address = address
        self._name = name
        self._tasks = tasks
        self._credit = credit
        self._shared = shared
        self._hurry = hurry
        self._held: list[coordinator_pb2.TaskAssignment] = []
        self._to_say: asyncio.Queue[Said | None] = asyncio.Queue()

    async def run(self) -> None:
        """Work until the coordinator says that the job is over."""
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        async with grpc.aio.insecure_channel(self._address, options=options) as channel:
            stub = coordinator_pb2_grpc.CoordinatorStub(channel)
            hello = coordinator_pb2.Hello(worker_id=self._name, node="here", slots=1)
            self._to_say.put_nowait(Said(hello=hello))
            call = stub.Work(self._words(), metadata=credentials_of(TOKEN), wait_for_ready=True)
            async with asyncio.TaskGroup() as group:
                others = []
                async for message in call:
                    if message.HasField("welcome"):
                        _add(self._shared.joined)
                        interval_s = message.welcome.heartbeat_s
                        others.append(group.create_task(self._beat(interval_s)))
                        others.append(group.create_task(self._hasten()))
                        self._ask(1)
                    elif message.HasField("assignments"):
                        self._take(message.assignments.tasks)
                    elif message.HasField("finish"):
                        break
                for task in others:
                    task.cancel()
            self._to_say.put_nowait(None)

    async def _words(self) -> AsyncIterator[Said]:
        while (message := await self._to_say.get()) is not None:
            yield message

    def _take(self, tasks: Sequence[coordinator_pb2.TaskAssignment]) -> None:
        first = not self._held
        self._held += tasks
        if tasks[0].HasField("plan"):
            self._report()
            self._ask(1)
        elif self._hurry.is_set():
            self._report()
            self._ask(len(tasks))
        elif first:
            _add(self._shared.holding)

    async def _beat(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            running = [
                coordinator_pb2.AttemptProgress(attempt=task.attempt) for task in self._held[:1]
            ]
            beat = coordinator_pb2.Heartbeat(running=running)
            self._to_say.put_nowait(Said(heartbeat=beat))

    async def _hasten(self) -> None:
        await self._hurry.wait()
        self._report()
        self._ask(self._credit)

    def _report(self) -> None:
        reports = [
            coordinator_pb2.AttemptReport(
                attempt=task.attempt,
                finished=coordinator_pb2.AttemptResult(
                    seconds=0.001, plan=self._plan() if task.HasField("plan") else None
                ),
            )
            for task in self._held
        ]
        self._held.clear()
        if reports:
            self._to_say.put_nowait(Said(reports=coordinator_pb2.Reports(reports=reports)))

    def _ask(self, tasks: int) -> None:
        self._to_say.put_nowait(Said(credit=coordinator_pb2.Credit(tasks=tasks)))

    def _plan(self) -> job_pb2.Plan:
        one = job_pb2.TaskInput(urls=["raw://"])
        stage = job_pb2.Stage(name="map", grouping=job_pb2.GROUPING_SPLIT)
        return job_pb2.Plan(stages=[stage], inputs=[one] * self._tasks)


def _add(counter: "Synchronized[int]") -> None:
    with counter.get_lock():
        counter.value += 1
