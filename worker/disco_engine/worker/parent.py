"""The worker's parent process, from its start to its end: it connects everything else.

    starting --welcome--> working --SIGTERM--> draining --nothing left, or out of time--> ended
                             +----finish, or no coordinator for too long--------------------+

It never runs user code: slots do, and they are started afresh when they die.
"""

import asyncio
import io
import logging
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from disco.v1 import coordinator_pb2, job_pb2, slot_pb2
from disco_engine.memory import OomWatch
from disco_engine.wire import attempt_to_wire
from disco_engine.worker.connections import Connections
from disco_engine.worker.feeds import Feeds
from disco_engine.worker.link import CoordinatorError, CoordinatorLink
from disco_engine.worker.options import WorkerOptions
from disco_engine.worker.push import PushLinks
from disco_engine.worker.questions import Questions
from disco_engine.worker.slots import Slot, SlotError
from disco_engine.worker.workload import Workload

log = logging.getLogger(__name__)

_TICK_S = 0.1
_TELL_S = 3.0  # for the coordinator to take over the last reports
_STOP_S = 4.0  # for slots to end after the job, also to remove output
_GOODBYE_S = 2.0  # for the coordinator to end the conversation


class Worker:
    """One worker: a link to the coordinator, slots, and what goes between them.

    Attributes:
        epoch: Of the newest coordinator that has welcomed it; 0: none has.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._scratch = options.scratch.absolute() / options.worker_id
        self._connections = Connections(options.token)
        self.epoch = 0
        self._job: job_pb2.JobSpec | None = None
        self._draining = False
        self._draining_told = False
        self._deserted = False
        self._problem: Exception | None = None
        self._farewell = slot_pb2.Stop()
        self._over = asyncio.Event()
        self._told = asyncio.Event()  # every report is confirmed
        self._link: CoordinatorLink
        self._work: Workload
        self._feeds: Feeds
        self._pushes: PushLinks

    def abort(self) -> None:
        """Have ``run`` return at once, killing what runs: nobody is there who wants it."""
        log.warning("the supervisor is gone")
        self._deserted = True
        self._over.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until the job is over, or until *stop* is set and what runs has ended.

        Raises:
            CoordinatorError: The coordinator is gone for good, or refuses us.
            SlotError: Slots cannot be started, or cannot remove the output.
        """
        shared = self._scratch.parent
        shared_is_ours = not shared.exists()
        # What an earlier process of this worker left when it was killed.
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._assemble(tasks)
                slots = [tasks.create_task(self._serve(slot)) for slot in self._work.slots]
                talking = tasks.create_task(self._talk())
                helping = [
                    tasks.create_task(self._keep_time()),
                    tasks.create_task(self._drain_after(stop)),
                ]
                await self._over.wait()
                for task in helping:
                    task.cancel()
                await self._end(slots)
                if self._link.connected and self._problem is None and not self._deserted:
                    self._link.close()
                    await asyncio.wait({talking}, timeout=_GOODBYE_S)
                talking.cancel()
        finally:
            await self._connections.close()
            await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
            if shared_is_ours:
                with suppress(OSError):  # somebody else uses it by now
                    shared.rmdir()
        if self._problem is not None:
            raise self._problem

    def _assemble(self, tasks: asyncio.TaskGroup) -> None:
        options = self._options
        questions = Questions(options.coordinator, self._connections)
        self._feeds = Feeds(tasks, self._connections, questions)
        self._pushes = PushLinks(tasks, self._connections)
        self._link = CoordinatorLink(
            options.coordinator,
            self._connections.channel(options.coordinator),
            self._connections.metadata,
            self,
            give_up_s=options.give_up_s,
        )
        self._work = Workload(
            options.slots,
            self._scratch,
            feeds=self._feeds,
            links=self._pushes,
            wake=self._link.wake,
            out_of_memory=OomWatch().killed if options.exit_on_oom else lambda: False,
        )

    # --- the coordinator's desk ---------------------------------------------------------------

    def hello(self) -> coordinator_pb2.Hello:
        """Return what a conversation opens with."""
        return coordinator_pb2.Hello(
            worker_id=self._options.worker_id,
            node=self._options.node,
            slots=self._options.slots,
            epoch=self.epoch,
            only_stages=self._options.only_stages,
            except_stages=self._options.except_stages,
            attempts=[attempt_to_wire(attempt) for attempt in self._work.attempts()],
        )

    async def welcome(self, message: coordinator_pb2.Welcome) -> None:
        """Go on with the coordinator that we know, or begin anew with another one.

        Raises:
            CoordinatorError: It has another job.
        """
        log.info("connected", extra={"job": message.job.uid, "epoch": message.epoch})
        if self.epoch not in (0, message.epoch):
            log.warning("a new coordinator: all attempts of the old one are abandoned")
            self._work.drop_all()
            self._work.reports.clear()
        self.epoch = message.epoch
        self._work.reports.resend()
        self._work.reset_credit()
        self._draining_told = False
        if self._job is None:
            await self._begin(message.job)
            self._options.on_ready()
        elif self._job.uid != message.job.uid:
            raise CoordinatorError(
                f"the coordinator at {self._options.coordinator} now has the job"
                f" {message.job.uid}, but this worker belongs to {self._job.uid}; start another"
            )

    def handle(self, message: coordinator_pb2.CoordinatorMessage) -> None:
        """Do what the coordinator says."""
        match message.WhichOneof("body"):
            case "assignments":
                self._work.assign(message.assignments.tasks)
            case "cancel":
                self._work.cancel(message.cancel.attempts)
            case "hand_back":
                self._work.hand_back(message.hand_back.tasks, message.hand_back.stages)
            case "confirm":
                self._work.reports.confirm(message.confirm.reports)
                if not self._work.reports:
                    self._told.set()
            case "finish":
                self._farewell.remove_output |= message.finish.remove_output
                self._over.set()
            case _:
                pass  # of a newer release, or a second welcome: not for us

    def outgoing(self) -> Iterator[coordinator_pb2.WorkerMessage]:
        """Yield what the coordinator does not know yet."""
        if self._draining and not self._draining_told:
            self._draining_told = True
            yield coordinator_pb2.WorkerMessage(draining=coordinator_pb2.Draining())
        while self._work.reports.unsent:
            yield coordinator_pb2.WorkerMessage(reports=self._work.reports.next_message())
        if credit := self._work.grant():
            yield coordinator_pb2.WorkerMessage(credit=coordinator_pb2.Credit(tasks=credit))

    def heartbeat(self) -> coordinator_pb2.Heartbeat:
        """Return how far the running attempts are."""
        return coordinator_pb2.Heartbeat(running=self._work.running())

    # --- its own life -------------------------------------------------------------------------

    async def _talk(self) -> None:
        try:
            await self._link.run()
        except CoordinatorError as error:
            self._end_with(error)

    async def _serve(self, slot: Slot) -> None:
        try:
            await slot.run()
        except SlotError as error:
            self._end_with(error)

    def _end_with(self, problem: Exception) -> None:
        self._problem = self._problem or problem
        self._over.set()

    async def _begin(self, job: job_pb2.JobSpec) -> None:
        """Have the slots load the job."""
        self._job = job
        self._feeds.job_uid = self._pushes.job_uid = job.uid
        self._work.task_timeout_s = job.settings.task_timeout_s
        setup = slot_pb2.Setup(job=job, worker_id=self._options.worker_id, node=self._options.node)
        if job.code.modules_zip:
            modules = self._scratch / "modules"
            await asyncio.to_thread(_extract, job.code.modules_zip, modules)
            setup.modules_dir = str(modules)
            setup.job.code.ClearField("modules_zip")
        for slot in self._work.slots:
            slot.set_up(setup)

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._work.tick()

    async def _drain_after(self, stop: asyncio.Event) -> None:
        await stop.wait()
        log.info("draining", extra={"attempts": len(self._work.attempts())})
        self._draining = True
        self._work.refuse()
        self._link.wake()
        try:
            async with asyncio.timeout(self._options.drain_s):
                await self._work.settled.wait()
        except TimeoutError:
            self._work.give_up(
                f"the worker is draining: not finished within {self._options.drain_s:g} s"
            )
        self._told.clear()
        if self._work.reports:
            self._link.wake()
            try:
                async with asyncio.timeout(_TELL_S):
                    await self._told.wait()
            except TimeoutError:
                log.warning("the coordinator has not confirmed the last reports")
        self._over.set()

    async def _end(self, slots: list[asyncio.Task[None]]) -> None:
        """End the slots; the first that is idle removes output, if that is asked for.

        They are killed if nobody is left who started this worker.
        """
        work = self._work.slots
        self._work.drop_all()
        self._feeds.close_all()
        self._pushes.close_all()
        if self._deserted:
            for slot in work:
                slot.kill(for_good=True)
            await asyncio.wait(slots)
            return
        remover = None
        if self._farewell.remove_output:
            remover = min(work, key=lambda slot: (slot.load > 0, not slot.ready))
        for slot in work:
            slot.dismiss(self._farewell if slot is remover else slot_pb2.Stop())
        _, late = await asyncio.wait(slots, timeout=_STOP_S)
        if late:
            log.warning("slots did not end by themselves", extra={"slots": len(late)})
            if self._farewell.remove_output:
                self._problem = SlotError("the temporary output could not be removed in time")
            for slot in work:
                slot.kill(for_good=True)
            await asyncio.wait(late)


def _extract(modules_zip: bytes, target: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(modules_zip)) as archive:
        archive.extractall(target)
