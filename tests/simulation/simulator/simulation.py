"""A job, the processes that do it, what goes wrong, and what must be true in the end."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from disco.v1 import job_pb2, partition_pb2_grpc
from disco_engine.coordinator.job_run import run_job
from disco_engine.core.model import AttemptId, NodeName, ServiceId, WorkerId
from disco_engine.core.settings import JobSettings
from disco_engine.partition.recovery import recover
from disco_engine.partition.service import PartitionService
from disco_engine.partition.space import DiskFullError
from disco_engine.partition.store import Limits, Store
from disco_engine.wire import settings_to_wire
from disco_engine.worker.options import WorkerOptions
from disco_engine.worker.parent import Worker
from simulator import faults
from simulator.client import TOKEN, UID, Client
from simulator.disk import Disk, Mount, NowherePath, SimulatedPath
from simulator.faults import Fault
from simulator.network import Network
from simulator.program import job_of
from simulator.servers import Server
from simulator.watch import Watch, WatchedMachine
from simulator.world import Process, World

EPOCH_S = 1_000_000
"""What a calendar says when the world begins."""

PROGRESS_S = 240.0
"""A job must end so long after the last fault has ended."""


class Simulation:
    """A job and its world.

    Args:
        seed: All that happens follows from it.
        directory: For the job's output.
        faults: What goes wrong, and how often compared with the others.

    Attributes:
        world: Time and processes.
        network: What is between them.
        disks: Of the partition services, by name.
        roles: Who has each role now, by name.
        job: What is to be done.
        watch: Looks at everything, all the time.
        succeeded: A coordinator has said that the job succeeded.
        written_down: A partition service may have told that it has its part of the result on disk:
            who loses that disk now loses it for good.
        calm: No more faults: everything must get well.
    """

    def __init__(
        self, seed: int, directory: Path, faults: Mapping[Fault, float] = faults.FAULTS
    ) -> None:
        self.seed = seed
        self.faults = faults
        self.world = World(seed)
        random = self.random = self.world.random
        self.network = Network(self.world)
        self.job = job_of(random)
        self.task_s = random.choice((0.1, 0.5, 3.0))
        self.services = [f"ps-{index}" for index in range(random.randint(1, 3))]
        self.workers = [f"worker-{index}" for index in range(random.randint(1, 4))]
        self.nodes = [f"node-{index}" for index in range(max(len(self.services), 2))]
        self.disks = {name: Disk(name, random) for name in self.services}
        self.roles: dict[str, Process] = {}
        self.limits = Limits(
            memory_bytes=random.choice((200, 2_000, 100_000)), storage_bytes=1_000_000
        )
        self.settings = JobSettings(
            max_attempts=1_000,
            max_consecutive_losses=1_000,
            worker_lease_s=random.choice((3.0, 6.0, 15.0)),
            service_lease_s=random.choice((4.0, 8.0, 30.0)),
            exclude_after_failures=random.choice((0, 2, 3)),
            speculation_multiplier=random.choice((0.0, 1.1, 1.5)),
            speculation_quantile=random.choice((0.1, 0.5)),
            copies=random.choice((1, 2)) if len(self.services) > 1 else 1,
        )
        self.output = str(directory / "output") if self.job.has_output else ""
        self.succeeded = self.written_down = self.calm = self.done = False
        self.watch = Watch(self)
        self._misbehaviour: Counter[str] = Counter()
        self._faulty = False
        self.world.after_step = self.watch.after_step
        self.world.on_exit = self._exited

    # --- processes ----------------------------------------------------------------------------

    def node_of(self, name: str) -> str:
        """Return the node on which a role is played."""
        if name == "client":
            return "outside"
        number = 0 if name == "coordinator" else int(name.rpartition("-")[2])
        return self.nodes[number % len(self.nodes)]

    def start(self, name: str) -> Process:
        """Start the process of a role."""
        process = Process(self.world, name, self.node_of(name))
        kind = name.partition("-")[0]
        main = {
            "coordinator": self._coordinate,
            "ps": self._serve,
            "worker": self._work,
            "client": self._follow,
        }[kind]
        disk = self.disks.get(name) or Disk(name, self.random)
        process.mount = Mount(
            disk, self.random, lambda when: self.kill(process, f"is killed {when}")
        )
        self.roles[name] = process
        self.world.add(process)
        process.run(main(process))
        self.world.tell(f"{process} starts on {process.node}")
        if kind == "coordinator" and self.succeeded:  # which nobody may have heard
            for worker in self.workers:
                if worker in self.roles and not self.roles[worker].alive:
                    self._replace(self.roles[worker], None)
        return process

    def kill(
        self, process: Process, how: str = "is killed", restart_s: float | None = None
    ) -> None:
        """Kill a process; another takes its place in a while."""
        if not process.alive:
            return
        self.world.tell(f"{process} {how}")
        self.world.bury(process)
        self._replace(process, restart_s)

    def _exited(self, process: Process, error: BaseException | None) -> None:
        if process.name == "client":
            if error is not None:
                self.world.fail(f"the client has a bug: {error!r}", error)
            return
        self.watch.ended(process, error)
        why = "" if error is None else f": {_causes(error)}"
        self.world.tell(f"{process} ends{why}")
        told_to_go = error is None and process.name in self.workers and self.succeeded
        if not told_to_go or self._is_coordinated():
            self._replace(process, None)

    def _is_coordinated(self) -> bool:
        """Return whether somebody coordinates for whom the job is not over: he needs workers."""
        coordinator = self.roles["coordinator"]
        machine = coordinator.inside.machine
        return coordinator.alive and (machine is None or machine.outcome is None)

    def _replace(self, process: Process, restart_s: float | None) -> None:
        if self.roles.get(process.name) is not process:
            return  # somebody else has the role
        if restart_s is None:
            restart_s = self.random.uniform(0.05, 2.0)

        def restart() -> None:
            if self.roles.get(process.name) is process:
                self.start(process.name)

        self.world.after(restart_s, restart)

    async def _coordinate(self, process: Process) -> None:
        spec = job_pb2.JobSpec(uid=UID, name="words", settings=settings_to_wire(self.settings))
        if self.output:
            spec.output.url, spec.output.format = self.output, "jsonl"

        began = EPOCH_S + int(self.world.now)

        def make(settings: JobSettings, *, epoch: int, **more: Any) -> WatchedMachine:
            if self.watch.comes_again(epoch, began):
                self.world.tell(f"epoch {epoch} comes again: this is not looked into")
                self.done = True
            process.inside.machine = machine = WatchedMachine(settings, epoch=epoch, **more)
            machine.begin_watch(self.watch, process)
            return machine

        await run_job(
            spec,
            host="coordinator",
            port=1,
            services={ServiceId(name): f"{name}:1" for name in self.services},
            token=TOKEN,
            on_ready=lambda port: None,
            stop=process.stop,
            make_machine=make,
            least_epoch=began,
            wait_for_services_s=60.0,
        )

    async def _serve(self, process: Process) -> None:
        assert process.mount is not None
        holdings = recover(SimulatedPath(process.mount), UID)  # type: ignore[arg-type]
        store = process.inside.store = Store(holdings, self.limits)
        self.watch.recovered(process, store)
        server = Server(self.network, process, TOKEN)
        service = PartitionService(store, service_id=process.name, node=process.node)
        partition_pb2_grpc.add_PartitionServicer_to_server(service, server)  # type: ignore[arg-type]
        server.bind(f"{process.name}:1")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(store.writer.run())
            await server.start()
            await process.stop.wait()
            await server.stop(0)
            try:
                await store.writer.commit()
            except DiskFullError as error:
                self.world.tell(f"{process} has not written everything: {error}")
            finally:
                store.writer.stop()

    async def _work(self, process: Process) -> None:
        worker = process.inside.worker = Worker(
            WorkerOptions(
                coordinator="coordinator:1",
                worker_id=WorkerId(process.name),
                node=NodeName(process.node),
                slots=1 + int(process.name.rpartition("-")[2]) % 2,
                scratch=NowherePath(),  # type: ignore[arg-type]
                token=TOKEN,
                give_up_s=self.random.choice((5.0, 120.0)),
                drain_s=self.random.choice((0.5, 12.0)),
            )
        )
        await worker.run(process.stop)

    async def _follow(self, process: Process) -> None:
        await Client(self, process).run()

    # --- what slots and faults ask ------------------------------------------------------------

    def misbehaviour(self, attempt: AttemptId) -> str:
        """Return what the user's code does wrong this time: "raise", "exit" or nothing."""
        for kind, left in self._misbehaviour.items():
            if left > 0 and not self.calm and self.world.chance(0.3):
                self._misbehaviour[kind] -= 1
                self.world.tell(f"the user's code fails in {attempt}: {kind}")
                return kind
        return ""

    def spoil(self, kind: str, times: int) -> None:
        """Let the user's code fail a few times."""
        self._misbehaviour[kind] += times

    def about_to_commit(self, worker: Process, files: int) -> None:
        """Hear that a commit begins: a good moment to die."""
        self.world.tell(f"{worker} commits {files} files")
        if self.ill and worker.mount is not None and self.world.chance(0.3):
            worker.mount.touches_left = self.random.randint(1, 2 * files + 4)

    def seal_is_on_its_way(self, service: str) -> None:
        """Hear that an attempt is to be sealed: a good moment to forget its blocks."""
        if self.ill and self.world.chance(0.01):
            self._kill_service_for_a_moment(service, within_s=0.001)

    def stage_has_finished(self) -> None:
        """Hear that all of a stage is sealed, though hardly on disk: a good moment to die."""
        if self.ill and self.world.chance(0.2):
            self._kill_service_for_a_moment(self.random.choice(self.services))

    def has_succeeded(self) -> None:
        """Hear that the job has succeeded: whoever dies now must not take the result with him."""
        self.succeeded = True
        if self.world.chance(0.5):
            for name in self.services:
                self._kill_service_for_a_moment(name)

    @property
    def ill(self) -> bool:
        """Things may go wrong."""
        return self._faulty and not self.calm

    def _kill_service_for_a_moment(self, name: str, within_s: float = 0.2) -> None:
        process = self.roles.get(name)
        if process is not None:
            restart_s = self.random.uniform(0.02, 0.5)
            self.world.after(
                self.random.uniform(0, within_s),
                partial(self.kill, process, "is killed", restart_s=restart_s),
            )

    # --- the whole ----------------------------------------------------------------------------

    def run(self) -> None:
        """Do the job.

        Raises:
            Violation: Something that must never be, is.
        """
        plan = faults.plan_of(self)
        self._faulty = bool(plan)
        self.world.tell(_described(self))
        for name in [*self.services, "coordinator", *self.workers, "client"]:
            self.world.after(self.random.uniform(0, 0.5), partial(self.start, name))
        last = 0.0
        for begin, end, fault in plan:
            self.world.at(begin, partial(self._strike, fault, end))
            last = max(last, end)
        self.world.at(last + 1.0, self._calm_down)
        self.world.run(lambda: self.done, until=last + 1.0 + PROGRESS_S)
        if not self.done:
            self.world.fail(f"the job does not end: {self._standing()}")
        if self.world.violation is not None:
            raise self.world.violation

    def _strike(self, fault: "Callable[[Simulation, float], None]", end: float) -> None:
        if not self.done:
            fault(self, end)

    def _calm_down(self) -> None:
        self.calm = True
        self.world.tell("nothing goes wrong any more")

    def _standing(self) -> str:
        coordinator = self.roles.get("coordinator")
        machine = coordinator.inside.machine if coordinator is not None else None
        if machine is None:
            return "there is no coordinator"
        stages = "; ".join(
            f"{c.name} {c.waiting} wait, {c.running} run, {c.done} done"
            for c in machine.stage_counts()
        )
        return f"{machine.phase}: {stages}"


def _causes(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_causes(one) for one in error.exceptions)
    return f"{type(error).__name__}: {error}"


def _described(simulation: Simulation) -> str:
    job = simulation.job
    stages = ", ".join(f"{s.name} ({s.grouping})" for s in job.plan.stages)
    return (
        f"seed {simulation.seed}: {len(job.texts)} texts through {stages};"
        f" {len(simulation.services)} partition services, {len(simulation.workers)} workers,"
        f" {simulation.settings.copies} of each output,"
        f" output {'in files' if job.has_output else 'in the services'}"
    )
