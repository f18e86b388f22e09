"""How many worker pods a group needs now."""

from collections.abc import Sequence
from typing import Protocol

from disco_operator.groups import WorkerGroup

EARLY = 0.75
"""Share of a stage's tasks that are done when the next stage's own pods are started, so that they
are warm when it begins."""


class StageNumbers(Protocol):
    """What is known of one stage: the coordinator's ``StageProgress``."""

    @property
    def name(self) -> str:
        """Unique in the job."""

    @property
    def tasks_total(self) -> int:
        """0: not known yet, because the stage before is not sealed."""

    @property
    def tasks_waiting(self) -> int:
        """Not running and not done."""

    @property
    def tasks_running(self) -> int:
        """Running."""

    @property
    def tasks_done(self) -> int:
        """Sealed."""


def wanted_pods(
    group: WorkerGroup, stages: Sequence[StageNumbers], current: int, *, committing: bool
) -> int:
    """Return how many pods *group* should have.

    Args:
        group: The group.
        stages: All of the job's, in order; empty before it is planned.
        current: How many it has.
        committing: All stages are done, and the output is being made visible.
    """
    if not stages:  # somebody must plan the job
        return group.least if group.stage is None else 0
    mine = [position for position, stage in enumerate(stages) if group.takes(stage.name)]
    if committing:  # any worker can; those of the last stage are there, unless it is a retry
        return max(current, 1) if mine and mine[-1] == len(stages) - 1 else 0
    ahead = [position for position in mine if not _done(stages[position])]
    if not ahead:
        # The last stage's workers stay until the job says that it is over: the output is to be
        # committed, and a lost one to be made again.
        return max(current, 1) if mine and mine[-1] == len(stages) - 1 else 0
    open_tasks = sum(_open(stages[position]) for position in mine)
    if open_tasks:
        last = all(_open(stages[position]) for position in ahead)
        return _enough(group, open_tasks, current, may_shrink=last)
    if _soon(stages, ahead[0]):
        return max(group.least, current)
    return 0


def _enough(group: WorkerGroup, tasks: int, current: int, *, may_shrink: bool) -> int:
    if not group.elastic:
        return group.least
    wanted = min(max(-(-tasks // group.slots), group.least), group.most)
    # Pods that would be started again for the next stage are kept.
    return wanted if may_shrink else max(wanted, min(current, group.most))


def _open(stage: StageNumbers) -> int:
    return stage.tasks_waiting + stage.tasks_running


def _done(stage: StageNumbers) -> bool:
    return stage.tasks_total > 0 and stage.tasks_done == stage.tasks_total


def _soon(stages: Sequence[StageNumbers], position: int) -> bool:
    """Return whether the stage before is nearly done, or there is none."""
    if position == 0:
        return True
    before = stages[position - 1]
    return before.tasks_total > 0 and before.tasks_done >= EARLY * before.tasks_total
