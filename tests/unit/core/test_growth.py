"""No event costs more because the job has more tasks: counted in executed lines, not in time."""

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from scaling.core import ONCE, Job, Scene, disturbed

from disco_engine.core.actions import Assign, CancelAttempt, FinishJob, Outcome
from disco_engine.core.events import CancelRequested, CreditGranted
from disco_engine.core.model import Grouping

SCENE = Scene(workers=6, services=3, labels=40, grant=5, samples=10, damaged=4)


@pytest.fixture
def executed_lines() -> Iterator[Callable[[], float]]:
    """Return how to ask for the number of lines that were executed until now."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    yield lambda: float(count)
    sys.settrace(before)


@pytest.mark.parametrize("grouping", [Grouping.GROUP_LABEL, Grouping.SPLIT])
def test_events_take_as_many_steps_in_a_job_with_eight_times_the_tasks(
    grouping: Grouping, executed_lines: Callable[[], float]
) -> None:
    few, many = (disturbed(tasks, grouping, SCENE, executed_lines) for tasks in (60, 480))
    grown = {
        kind: (few[kind].seconds / few[kind].about, cost.seconds / cost.about)
        for kind, cost in many.items()
        if kind not in ONCE
        and cost.seconds / cost.about > 1.5 * few[kind].seconds / few[kind].about + 50
    }
    assert not grown, f"lines per event, with 60 tasks and with 480: {grown}"
    assert {"finish", "lose an output", "lose a service, per output"} <= many.keys()


def test_a_job_of_many_tasks_is_cancelled_in_its_midst() -> None:
    job = Job(50_000, Grouping.GROUP_LABEL, scene=SCENE, remember=False)
    job.work(300)
    for worker in job.workers:
        job.grant(worker, 5)
    held = sorted(attempt for attempts in job.held.values() for attempt in attempts)
    actions = job.tell("cancel", CancelRequested(reason="enough"))
    assert sorted(action.id for action in actions if isinstance(action, CancelAttempt)) == held
    assert not any(isinstance(action, Assign) for action in actions)
    assert isinstance(actions[-1], FinishJob)
    assert actions[-1].outcome is Outcome.CANCELLED
    late = CreditGranted(worker=job.workers[0], tasks=5, now=job.now)
    assert job.tell("ask", late) == []
