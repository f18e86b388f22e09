"""Which tasks must be done again after sealed outputs were lost: those that are still needed.

An output is needed if it is a result, or if an unfinished task of the next stage reads it. Doing a
task again makes it unfinished, so what *it* reads becomes needed: stages are looked at from the
last to the first, and an output that nobody needed when it was lost is made again when somebody
does after all.

What has a copy is not made again, but unfinished, too, until its copy is sealed: that may fail.

A stage that groups by node is special. An output that is made again may land on another node, and
there it would be read twice, or by nobody, because the task that reads that node has run already.
So such a stage starts over, as a whole, when anything it still needs is lost; and so do the stages
after it, whose tasks follow from tasks that are no more.
"""

from collections.abc import Sequence

from disco_engine.core.grouping import NODE_GROUPINGS
from disco_engine.core.stages import StageRun
from disco_engine.core.task_events import Action, OutputLost

Decided = list[tuple[StageRun, int, list[Action]]]
"""Actions to carry out, each with the stage and task they are about."""


def reopen_needed(stages: Sequence[StageRun], reason: str) -> Decided:
    """Reopen the tasks whose missing output is needed, and close the stages that read them.

    Args:
        stages: The plan's stages, in order.
        reason: Why outputs are missing, for the user if it happens too often.
    """
    stopped: Decided = []
    reopened: Decided = []
    for position in range(len(stages) - 1, -1, -1):
        stage = stages[position]
        if not stage.missing:
            continue
        reader = stages[position + 1] if position + 1 < len(stages) else None
        needed = sorted(stage.missing) if reader is None else reader.needed_of(stage)
        if not needed:
            continue
        if reader is not None:
            if reader.planned and reader.grouping in NODE_GROUPINGS:
                stopped += [(late, 0, late.start_over(reason)) for late in stages[position + 1 :]]
                reopened.clear()  # they were tasks of those stages, and are no more
                needed = sorted(stage.missing)
            reader.close_inputs()
        for index in needed:
            lost = stage.tasks[index].output
            if lost is not None:
                reopened.append((stage, index, stage.reopen(index, OutputLost(lost.id, reason))))
    return stopped + reopened
