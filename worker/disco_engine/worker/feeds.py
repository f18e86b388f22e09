"""Brings what attempts read from the partition services, and ask for by name, into their slots."""

import asyncio
from collections.abc import Sequence

from disco.v1 import coordinator_pb2, partition_pb2, slot_pb2
from disco_engine.wire import failure_to_wire
from disco_engine.worker.connections import Connections
from disco_engine.worker.fetch import (
    Deliver,
    SourceError,
    SourceSilentError,
    Wanted,
    fetch,
    wanted_result,
    wanted_source,
)
from disco_engine.worker.questions import Questions, UnansweredError
from disco_engine.worker.slots import Slot


class Feeds:
    """One feed for each slot that has a source open; each is ended towards the slot once.

    Args:
        tasks: Owns the feeds.
        connections: To services and coordinator.
        questions: Knows the values that other tasks left.
    """

    def __init__(
        self, tasks: asyncio.TaskGroup, connections: Connections, questions: Questions
    ) -> None:
        self.job_uid = ""
        self._tasks = tasks
        self._connections = connections
        self._questions = questions
        self._open: dict[Slot, asyncio.Task[None]] = {}
        self._asked: dict[Slot, asyncio.Task[None]] = {}

    def open(
        self, slot: Slot, task: coordinator_pb2.TaskAssignment, what: slot_pb2.OpenSource
    ) -> None:
        """Send *slot* the blocks of a source, then its end."""
        self._open[slot] = self._tasks.create_task(self._feed(slot, task, what))

    def close(self, slot: Slot) -> None:
        """End what *slot* has open, unless it has ended already."""
        feed = self._open.pop(slot, None)
        if feed is not None:
            feed.cancel()
            slot.send(slot_pb2.ToSlot(input=slot_pb2.InputBlocks(end=True)))

    def ask(self, slot: Slot, key: str) -> None:
        """Send *slot* what a task left under *key*; what it has open waits for that."""
        self._asked[slot] = self._tasks.create_task(self._answer(slot, key))

    def forget(self, slot: Slot) -> None:
        """Send nothing more to *slot*."""
        for tasks in (self._open, self._asked):
            task = tasks.pop(slot, None)
            if task is not None:
                task.cancel()

    def close_all(self) -> None:
        """Send nothing more to anybody."""
        for slot in [*self._open, *self._asked]:
            self.forget(slot)

    async def _feed(
        self, slot: Slot, task: coordinator_pb2.TaskAssignment, what: slot_pb2.OpenSource
    ) -> None:
        async def deliver(blocks: Sequence[partition_pb2.FetchedBlock]) -> None:
            while slot in self._asked:  # it keeps in memory what comes before the answer
                await asyncio.wait({self._asked[slot]})
            slot.send(slot_pb2.ToSlot(input=slot_pb2.InputBlocks(blocks=blocks)))
            await slot.drain()

        last = slot_pb2.InputBlocks(end=True)
        try:
            await self._read(self._wanted(task, what), deliver)
        except SourceError as error:
            last = slot_pb2.InputBlocks(failure=failure_to_wire(error.failure))
        del self._open[slot]
        slot.send(slot_pb2.ToSlot(input=last))

    async def _answer(self, slot: Slot, key: str) -> None:
        answer = slot_pb2.Value()
        try:
            value = await self._questions.value_of(key)
        except UnansweredError as error:
            answer.failure.CopyFrom(failure_to_wire(error.failure))
        else:
            if value is not None:
                answer.value = value
        del self._asked[slot]
        slot.send(slot_pb2.ToSlot(value=answer))

    async def _read(self, wanted: Wanted, deliver: Deliver) -> None:
        connections = self._connections
        try:
            await fetch(wanted, connections.channel(wanted.address), connections.metadata, deliver)
        except SourceSilentError:
            connections.forget(wanted.address)
            raise

    def _wanted(self, task: coordinator_pb2.TaskAssignment, what: slot_pb2.OpenSource) -> Wanted:
        if what.HasField("url"):
            return wanted_result(what.url)
        return wanted_source(task.run.sources[what.index], self.job_uid)
