"""Which attempt a worker gets next, and everything it must be told about it."""

from collections import deque
from collections.abc import Iterator, Sequence

from disco_engine.core.actions import Assign, Work
from disco_engine.core.model import AttemptId
from disco_engine.core.scheduling import most_attempts
from disco_engine.core.services import Service, ServicePool
from disco_engine.core.stages import StageRun
from disco_engine.core.task_events import Run, Started
from disco_engine.core.workers import Worker, WorkerPool


class Dispatcher:
    """Gives ready tasks to workers that take their stage, earlier stages first.

    Args:
        epoch: Of this coordinator, part of every attempt's identity.
        stages: Of the job, in order; the list grows when the plan is known.
        workers: Who may get tasks.
        services: Where they push.
        copies: To how many of them: 1 or 2.
    """

    def __init__(
        self,
        epoch: int,
        stages: Sequence[StageRun],
        workers: WorkerPool,
        services: ServicePool,
        *,
        copies: int,
    ) -> None:
        self._epoch = epoch
        self._copies = copies
        self._stages = stages
        self._workers = workers
        self._services = services

    def give_out(self, workers: Sequence[Worker], now: float) -> Iterator[Assign]:
        """Start attempts on *workers*, which are usable, and yield what they must be told.

        They take turns, so that a few tasks are spread over all of them, and none gets a task to
        queue while another one has a free slot for it.
        """
        free = deque(worker for worker in workers if worker.free_slots > 0)
        full = deque(worker for worker in workers if worker.free_slots <= 0)
        while ring := free or full:
            worker = ring.popleft()
            assigned = self._next_for(worker, now)
            if assigned is not None:
                yield assigned
                (free if worker.free_slots > 0 else full).append(worker)

    def give_rival(self, stage: StageRun, index: int, worker: Worker, now: float) -> Assign:
        """Start one more attempt at a task that runs, on a worker that can take it."""
        service = self._services.to_push(worker.node) if stage.pushes else None
        return self._start(stage, index, worker, service, now)

    def _next_for(self, worker: Worker, now: float) -> Assign | None:
        if worker.credit <= 0:
            return None
        ready = sum(len(stage.queue) for stage in self._stages)
        if not ready:
            return None
        unfinished = self._workers.live + ready
        for stage in self._stages:
            name = stage.chosen_as
            if not (stage.queue and worker.stages.takes(name)):
                continue
            # How much credit a worker gives was learnt from earlier stages: until a task of this
            # one is done, nobody knows for how long those in its queue would wait there.
            if not stage.any_done and worker.free_slots <= 0:
                continue
            others = self._workers.takers(name)
            if len(worker.live) >= most_attempts(worker.slots, others.slots, unfinished):
                continue
            service = self._services.to_push(worker.node) if stage.pushes else None
            if stage.pushes and service is None:
                continue
            index = stage.queue.take(self._workers.asker(worker, name), now)
            if index is not None:
                return self._start(stage, index, worker, service, now)
        return None

    def _start(
        self, stage: StageRun, index: int, worker: Worker, service: Service | None, now: float
    ) -> Assign:
        number = stage.tasks[index].started + 1
        attempt = AttemptId(stage.number, index, self._epoch, number)
        copy = self._services.to_copy(service) if service and self._copies > 1 else None
        push_to, copy_to = service.id if service else None, copy.id if copy else None
        run = Run(attempt, worker.id, push_to, stage.inputs_version, copy_to)
        stage.apply(index, Started(run))
        if stage.started_s is None:
            stage.started_s = now
        self._workers.started(worker, attempt, now)
        for keeper in (service, copy):
            if keeper is not None:
                self._services.assign(keeper, attempt)
        inputs, sources = stage.reads(index)
        return Assign(
            worker=worker.id,
            id=attempt,
            work=stage.work,
            stage_name=stage.name,
            group=stage.groups[index],
            inputs=inputs,
            sources=sources,
            push_to=push_to,
            copy_to=copy_to,
            layout=stage.layout,
            sort_output=stage.sort_output,
            write_output=stage.write_output,
            output_files=self._files_to_commit(stage),
        )

    def _files_to_commit(self, stage: StageRun) -> tuple[str, ...]:
        if stage.work is not Work.COMMIT:
            return ()
        written = self._stages[stage.number - 1].done_outputs()
        return tuple(output.file for _, output in written if output.file)
