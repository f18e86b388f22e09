"""A slot without a process: it says what a slot says, and runs the simulated job's program.

It stands for ``disco_engine.worker.process.SlotProcess``. What real slots do with user code,
memory and signals is not simulated.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from disco.v1 import common_pb2, coordinator_pb2, slot_pb2
from disco_engine import outputs
from disco_engine.core import label_table
from disco_engine.core.model import AttemptId, Failure, FailureKind, Label, Totals
from disco_engine.program import OutputCompleteError
from disco_engine.records.blocks import Frame, FrameCorruptError
from disco_engine.records.readers import pairs_of
from disco_engine.wire import (
    attempt_from_wire,
    attempt_to_wire,
    failure_from_wire,
    failure_to_wire,
    plan_to_wire,
    values_to_wire,
)
from disco_engine.worker.slot.failures import damage_of, failure_of
from simulator.invariants import values_of
from simulator.world import Process, running_process

if TYPE_CHECKING:
    from simulator.simulation import Simulation

_KILLED = -9


class _Trouble(Exception):
    def __init__(self, failure: Failure, damaged: AttemptId | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.damaged = damaged


class _Exit(BaseException):
    """The user's code ends its process."""


class SimulatedSlot:
    """One slot process of a simulated worker."""

    def __init__(
        self,
        simulation: "Simulation",
        worker: Process,
        on_message: Callable[[slot_pb2.FromSlot], None],
    ) -> None:
        self._simulation = simulation
        self._worker = worker
        self._random = simulation.random
        self.protocol = self
        self.pid = self._random.randrange(1 << 20)
        self._on_message = on_message
        self._status = 0
        self._queue: deque[coordinator_pb2.TaskAssignment] = deque()
        self._input: deque[slot_pb2.InputBlocks] = deque()
        self._setup: slot_pb2.Setup | None = None
        self._stop: slot_pb2.Stop | None = None
        self._paused = False
        self._unsaid: deque[slot_pb2.FromSlot] = deque()
        self._news = asyncio.Event()
        self._life = worker.loop.create_task(self._live())

    # --- for the worker -----------------------------------------------------------------------

    def send(self, *messages: slot_pb2.ToSlot) -> None:
        """Take messages, as the socket would bring them."""
        for message in messages:
            match message.WhichOneof("body"):
                case "setup":
                    self._setup = message.setup
                case "run":
                    self._queue.append(message.run)
                case "forget":
                    forgotten = [attempt_from_wire(ref) for ref in message.forget.attempts]
                    self._queue = deque(
                        task
                        for task in self._queue
                        if attempt_from_wire(task.attempt) not in forgotten
                    )
                case "input":
                    self._input.append(message.input)
                case "stop":
                    self._stop = message.stop
                case "value" | None:
                    pass  # the job asks for none
        self._news.set()

    async def drain(self) -> None:
        """Wait until there is room."""
        await asyncio.sleep(0)

    def pause(self) -> None:
        """Read nothing from the slot."""
        self._paused = True

    def resume(self) -> None:
        """Read from the slot again."""
        self._paused = False
        self._news.set()
        asyncio.get_running_loop().call_soon(self._deliver)

    def output_of(self, number: int) -> str:
        """Return what an attempt printed."""
        return ""

    def signal(self, number: int) -> None:
        """Have it say where it is; it does not."""

    def kill(self) -> None:
        """End it at once."""
        self._status = _KILLED
        self._life.cancel()

    async def wait(self) -> tuple[int, Exception | None]:
        """Wait for its end."""
        await asyncio.wait([self._life])
        if not self._life.cancelled() and (error := self._life.exception()) is not None:
            raise error
        return self._status, None

    # --- its life -----------------------------------------------------------------------------

    def _say(self, **body: Any) -> None:
        self._unsaid.append(slot_pb2.FromSlot(**body))
        asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._unsaid and not self._paused:
            self._on_message(self._unsaid.popleft())

    async def _hear(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _live(self) -> None:
        while self._setup is None:
            await self._hear()
        await self._work_for(0.02, 0.1)
        self._say(ready=slot_pb2.SlotReady())
        while True:
            while not self._queue and self._stop is None:
                await self._hear()
            if not self._queue:
                break
            try:
                await self._run(self._queue.popleft())
            except _Exit:
                self._status = 1
                return
        if self._stop is not None and self._stop.remove_output:
            job = self._setup.job
            outputs.remove_temporary(job.output.url, job.uid)

    async def _work_for(self, least_s: float, most_s: float) -> None:
        left_s = self._random.uniform(least_s, most_s)
        while left_s > 0:  # the node may get slower, or faster, meanwhile
            piece_s = min(left_s, 0.5)
            await asyncio.sleep(min(piece_s * self._worker.slow, 2.0))
            left_s -= piece_s

    async def _run(self, task: coordinator_pb2.TaskAssignment) -> None:
        attempt = attempt_from_wire(task.attempt)
        self._say(started=task.attempt)
        clock = asyncio.get_running_loop().time
        began = clock()
        report = slot_pb2.SlotReport()
        report.report.attempt.CopyFrom(task.attempt)
        result = report.report.finished
        try:
            await self._do(task, attempt, result)
        except OutputCompleteError:
            result.output_complete = True
        except _Trouble as trouble:
            report.report.failed.CopyFrom(failure_to_wire(trouble.failure))
            if trouble.damaged is not None:
                report.damaged.CopyFrom(attempt_to_wire(trouble.damaged))
        except Exception as error:
            if not isinstance(error, OSError):
                raise
            report.report.failed.CopyFrom(failure_to_wire(failure_of(error)))
        else:
            result.seconds = clock() - began
        self._say(report=report)

    async def _do(
        self,
        task: coordinator_pb2.TaskAssignment,
        attempt: AttemptId,
        result: coordinator_pb2.AttemptResult,
    ) -> None:
        assert self._setup is not None
        spec, simulation = self._setup.job, self._simulation
        match task.WhichOneof("work"):
            case "plan":
                if spec.HasField("output"):
                    outputs.prepare(spec.output.url, spec.output.format, spec.uid)
                await self._work_for(0.01, 0.3)
                result.plan.CopyFrom(plan_to_wire(simulation.job.plan))
            case "commit":
                await self._work_for(0.01, 0.1)
                simulation.about_to_commit(self._worker, len(task.commit.output_files))
                outputs.commit(
                    spec.output.url, spec.output.format, spec.uid, task.commit.output_files
                )
            case _:
                await self._run_stage(task, attempt, result)

    async def _run_stage(
        self,
        task: coordinator_pb2.TaskAssignment,
        attempt: AttemptId,
        result: coordinator_pb2.AttemptResult,
    ) -> None:
        assert self._setup is not None
        job, run = self._simulation.job, task.run
        pairs: list[tuple[str, int]] = []
        for item in run.inputs:
            pairs += job.map(job.texts[item.urls[0]])
        for index in range(len(run.sources)):
            pairs += await self._read(attempt, index, run.sources[index])
        result.records_in = len(pairs)
        result.values.extend(values_to_wire(values_of(attempt)))
        await self._work_for(0.02, self._simulation.task_s)
        self._misbehave(attempt)
        emitted = list(pairs) if run.plan_stage == 0 else list(job.reduce(run.plan_stage, pairs))
        if run.write_output:
            spec = self._setup.job
            stage, number, epoch, tried = attempt
            name = f"{stage}-{epoch}-{tried}-{self.pid}"
            writer = outputs.open_writer(
                spec.output.url, spec.output.format, spec.uid, number, name
            )
            for key, value in emitted:
                writer.add(0, key, value)
            await self._work_for(0.01, 0.1)
            writer.close()
            result.output_file, result.output_records = writer.file_name, writer.records
            return
        totals: dict[Label, Totals] = {}
        blocks: list[common_pb2.Block] = []

        def put(label: Label, records: int, frame: bytes) -> None:
            totals[label] = totals.get(label, Totals()).plus(Totals(1, records, len(frame)))
            blocks.append(common_pb2.Block(label=label, records=records, frame=frame))

        job.write(emitted, sort=run.sort_output, put=put)
        for block in blocks:
            self._say(output=slot_pb2.OutputBlocks(blocks=[block]))
            if self._random.random() < 0.5:
                await self._work_for(0.001, 0.05)
        while self._paused:
            await self._hear()
        self._simulation.watch.wrote(attempt, totals)
        result.label_table = label_table.pack(totals)

    def _misbehave(self, attempt: AttemptId) -> None:
        """Be user code that does not work every time."""
        match self._simulation.misbehaviour(attempt):
            case "raise":
                raise _Trouble(Failure(kind=FailureKind.USER, message="ValueError: not today"))
            case "exit":
                raise _Exit
            case _:
                pass

    async def _read(
        self, attempt: AttemptId, index: int, source: coordinator_pb2.Source
    ) -> list[tuple[str, int]]:
        self._say(open=slot_pb2.OpenSource(index=index))
        service = source.service.service_id
        name = f"label {source.label} from {service}"
        pairs: list[tuple[str, int]] = []
        failure: Failure | None = None
        damage: FrameCorruptError | None = None
        over = False
        while not over:
            while not self._input:
                await self._hear()
            message = self._input.popleft()
            for fetched in message.blocks:
                origin = attempt_from_wire(fetched.attempt)
                self._simulation.watch.read(self.pid, attempt, source.label, service, origin)
                try:
                    pairs += pairs_of([Frame(fetched.block.frame, origin)])
                except FrameCorruptError as error:
                    damage = damage or error
            over = message.end or message.HasField("failure")
            if message.HasField("failure"):
                failure = failure_from_wire(message.failure)
        if damage is not None:
            raise _Trouble(damage_of(damage, name), damage.origin)
        if failure is not None:
            raise _Trouble(failure)
        return pairs


class SlotStarter:
    """Stands for the class ``SlotProcess``, of which only ``start`` is used."""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation

    async def start(
        self, scratch: object, on_message: Callable[[slot_pb2.FromSlot], None]
    ) -> SimulatedSlot:
        """Start a process, which takes a moment."""
        await asyncio.sleep(self._simulation.random.uniform(0.02, 0.2))
        return SimulatedSlot(self._simulation, running_process(), on_message)
