"""Who wants the job done: follows its progress, and reads what came of it."""

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.outputs import read_records
from disco_engine.records.blocks import Frame
from disco_engine.records.readers import pairs_of
from disco_engine.rpc import credentials_of
from disco_engine.wire import attempt_from_wire
from disco_engine.worker.fetch import SourceError, fetch, wanted_result
from simulator.calls import Channel
from simulator.world import Process

if TYPE_CHECKING:
    from simulator.simulation import Simulation

UID = "simulated"
TOKEN = "token"

_PHASES = coordinator_pb2.JobPhase
_OVER = (
    _PHASES.JOB_PHASE_SUCCEEDED,
    _PHASES.JOB_PHASE_FAILED,
    _PHASES.JOB_PHASE_CANCELLED,
)
_TRIES = 10
_PAUSE_S = 2.0


class Client:
    """The one outside."""

    def __init__(self, simulation: "Simulation", process: Process) -> None:
        self._simulation = simulation
        self._process = process

    async def run(self) -> None:
        """Follow the job to its end, then read its result and compare."""
        progress = await self._final_progress()
        if progress.phase != _PHASES.JOB_PHASE_SUCCEEDED:
            name = _PHASES.Name(progress.phase)
            self._simulation.world.fail(f"the job ended as {name}: {progress.message}")
            return
        self._simulation.world.tell("the client hears that the job has succeeded")
        if self._simulation.output:
            found = list(read_records(self._simulation.output, "jsonl"))
        else:
            found = await self._read_result(progress.results)
        self._compare(found)
        self._simulation.done = True

    async def _final_progress(self) -> coordinator_pb2.JobProgress:
        while True:
            channel: Any = Channel(self._simulation.network, self._process, "coordinator:1")
            stub: Any = coordinator_pb2_grpc.CoordinatorStub(channel)
            try:
                async for reply in stub.Watch(
                    coordinator_pb2.WatchRequest(), metadata=credentials_of(TOKEN)
                ):
                    if reply.progress.phase in _OVER:
                        final: coordinator_pb2.JobProgress = reply.progress
                        return final
            except grpc.aio.AioRpcError:
                pass
            await channel.close()
            await asyncio.sleep(0.5)

    async def _read_result(self, parts: Any) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for part in parts:
            url = f"disco://{part.service.address}/{UID}/{part.stage}/{part.task}"
            pairs: list[tuple[str, int]] = []

            deliver = partial(self._take, part.service.service_id, pairs)

            channel: Any = Channel(self._simulation.network, self._process, part.service.address)
            for _ in range(10):
                try:
                    await fetch(wanted_result(url), channel, credentials_of(TOKEN), deliver)
                    break
                except SourceError as error:
                    self._simulation.world.tell(f"the client cannot read {url}: {error}")
                    last = error
                    pairs.clear()
                    await asyncio.sleep(2.0)
            else:
                self._simulation.world.fail(f"a part of the result cannot be read: {last}", last)
            found += pairs
        return found

    async def _take(self, service: str, pairs: list[tuple[str, int]], blocks: Any) -> None:
        for fetched in blocks:
            self._simulation.watch.result_read(service, attempt_from_wire(fetched.attempt))
            pairs += pairs_of([Frame(fetched.block.frame)])

    def _compare(self, found: list[tuple[str, int]]) -> None:
        totals: Counter[str] = Counter()
        for word, count in found:
            totals[word] += count
        expected = self._simulation.job.expected
        if totals != expected:
            wrong = {word: (totals[word], expected[word]) for word in totals | expected}
            wrong = {word: pair for word, pair in wrong.items() if pair[0] != pair[1]}
            self._simulation.world.fail(f"the result is wrong: (found, expected) {wrong}")
        if self._simulation.job.counts_once and len(found) != len(expected):
            self._simulation.world.fail(f"{len(found)} records for {len(expected)} words")
