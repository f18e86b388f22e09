"""What must hold in the coordinator's machine after every event, whatever it was."""

from collections import Counter

from disco_engine.core.actions import Outcome
from disco_engine.core.job import JobMachine
from disco_engine.core.model import AttemptId, Values
from disco_engine.core.task_state import SETTLING, TaskState
from disco_engine.core.values import MAX_JOB_BYTES, size_of_all


def check_tasks(machine: JobMachine) -> None:
    """Check that no task is forgotten, and that the counters agree with the tasks.

    Raises:
        AssertionError: They do not.
    """
    run = machine._run
    over = machine.outcome is not None
    live = {attempt for worker in run.workers for attempt in worker.live}
    assert run.workers.live == len(live)
    for attempt in live if not over else ():
        stage = run.stages[attempt.stage]
        assert stage.tasks[attempt.task].run_of(attempt), f"{attempt} blocks its worker"
    for stage in run.stages:
        counts = stage.counts()
        states = Counter(task.state for task in stage.tasks)
        assert counts.done == states[TaskState.DONE]
        assert counts.running == sum(states[state] for state in (TaskState.RUNNING, *SETTLING))
        assert counts.waiting >= 0
        if over:
            continue
        assert len(stage.queue) == (states[TaskState.READY] if stage.open else 0)
        assert (
            not stage.queue
            or run.workers.takers(stage.chosen_as).workers
            or all(w.draining or not w.stages.takes(stage.chosen_as) for w in run.workers)
        ), "ready tasks wait, and all who take them are excluded"
        for task in stage.tasks:
            assert len({one.worker for one in task.live}) == len(task.live) <= 2
            # Nobody is forgotten: each unfinished task has something that will move it on.
            if task.state is TaskState.RUNNING:
                assert {one.id for one in task.live} <= live, f"{task} runs nowhere"
            elif task.state is TaskState.WAITING and stage.open:
                assert task.ref in run._pauses._newest, f"{task} is forgotten"
        sums = sum(
            (task.output is not None and task.output.table != b"" and i not in stage.missing)
            and task.state is TaskState.DONE
            for i, task in enumerate(stage.tasks)
        )
        assert (sums == 0) == (stage.outputs.total.blocks == 0)
        if stage.missing:
            assert all(stage.tasks[i].state is TaskState.DONE for i in stage.missing)
    _check_room(machine)


def _check_room(machine: JobMachine) -> None:
    """Check that all values count that the job has, or will have when all is sealed."""
    book = machine.values
    room = {task: size_of_all(tuple(left.items())) for task, left in book._by_task.items()}
    for stage in machine._run.stages:
        for task in stage.tasks:
            coming = size_of_all(task.output.values) if task.output else 0
            if coming > room.get(task.ref, 0):
                room[task.ref] = coming
    assert book.size == sum(room.values()) <= MAX_JOB_BYTES


def values_of(attempt: AttemptId) -> Values:
    """Return what each attempt of a simulated job leaves beside its records."""
    stage, task, *_ = attempt
    return (("newest", str(attempt).encode()), (f"{stage}-{task}", str(attempt).encode()))


def check_values(machine: JobMachine) -> None:
    """Check that exactly what sealed attempts left beside their records can be asked for.

    Raises:
        AssertionError: It is not so.
    """
    newest = b""
    for stage in machine._run.plan_stages:
        for task in stage.tasks:
            told = machine.values.get(f"{stage.number}-{task.ref.task}")
            if task.state is not TaskState.DONE or task.output is None:
                continue  # it may have been done before, and what it left then counts meanwhile
            left = dict(values_of(task.output.id))
            assert dict(task.output.values) == left, f"{task} has lost what it put"
            assert told == left["newest"], f"{task} put another value than is told"
            newest = left["newest"]
    if machine.outcome is not None and machine.outcome.outcome is Outcome.SUCCEEDED:
        assert (machine.values.get("newest") or b"") == newest
