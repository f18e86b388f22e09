"""The stages of a job, as its plan says: which there are, what each reads and how it writes."""

from disco_engine.core.actions import Work
from disco_engine.core.model import Grouping, Layout, Plan, Stage
from disco_engine.core.stages import StageRun
from disco_engine.core.task_state import Limits
from disco_engine.core.values import ValueBook


def stages_of(plan: Plan, limits: Limits, values: ValueBook, *, has_output: bool) -> list[StageRun]:
    """Return the stages of *plan* in order, then one that commits the output if there is one."""
    runs: list[StageRun] = []
    for index, stage in enumerate(plan.stages):
        run = StageRun(
            index + 1,
            Work.RUN,
            stage.name,
            limits=limits,
            values=values,
            how=stage.grouping,
            before=runs[-1] if runs else None,
            inputs=() if runs else plan.inputs,
        )
        _describe_output(run, plan.stages[index + 1 :], has_output=has_output)
        run.even_if_empty = stage.even_if_empty
        runs.append(run)
    if has_output:
        runs.append(StageRun(len(runs) + 1, Work.COMMIT, "commit", limits=limits, values=values))
    return runs


def _describe_output(run: StageRun, later: tuple[Stage, ...], *, has_output: bool) -> None:
    if not later:
        run.write_output = has_output
        return
    if later[0].grouping is not Grouping.SPLIT:
        run.layout = Layout.BY_LABEL
    run.sort_output = later[0].sorted_input
