"""Translate what the machine decides and counts into the messages of ``coordinator.proto``."""

from collections.abc import Mapping

from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.core.actions import Assign, HandBack, ResultPart, StageCounts, Work
from disco_engine.core.model import ServiceId, Source
from disco_engine.wire import (
    attempt_to_wire,
    group_to_wire,
    input_to_wire,
    layout_to_wire,
    totals_to_wire,
)

Addresses = Mapping[ServiceId, coordinator_pb2.ServiceAddress]


def assignment_of(action: Assign, addresses: Addresses) -> coordinator_pb2.TaskAssignment:
    """Return the task as it travels to the slot that runs it."""
    attempt = attempt_to_wire(action.id)
    match action.work:
        case Work.PLAN:
            return coordinator_pb2.TaskAssignment(
                attempt=attempt, stage_name=action.stage_name, plan=coordinator_pb2.PlanTask()
            )
        case Work.COMMIT:
            return coordinator_pb2.TaskAssignment(
                attempt=attempt,
                stage_name=action.stage_name,
                commit=coordinator_pb2.CommitTask(output_files=action.output_files),
            )
        case Work.RUN:
            return coordinator_pb2.TaskAssignment(
                attempt=attempt, stage_name=action.stage_name, run=_stage_task(action, addresses)
            )


def _stage_task(action: Assign, addresses: Addresses) -> coordinator_pb2.StageTask:
    return coordinator_pb2.StageTask(
        plan_stage=action.id.stage - 1,
        group=group_to_wire(action.group),
        inputs=[input_to_wire(item) for item in action.inputs],
        sources=[_source(source, addresses) for source in action.sources],
        push_to=None if action.push_to is None else addresses[action.push_to],
        copy_to=None if action.copy_to is None else addresses[action.copy_to],
        layout=layout_to_wire(action.layout),
        sort_output=action.sort_output,
        write_output=action.write_output,
    )


def _source(source: Source, addresses: Addresses) -> coordinator_pb2.Source:
    return coordinator_pb2.Source(
        service=addresses[source.service],
        stage=source.stage,
        label=source.label,
        task=source.task,
        expected=totals_to_wire(source.expected),
    )


def hand_back_of(action: HandBack) -> coordinator_pb2.CoordinatorMessage:
    """Return the question for attempts that were not started."""
    hand_back = coordinator_pb2.HandBack(tasks=action.tasks, stages=action.stages)
    return coordinator_pb2.CoordinatorMessage(hand_back=hand_back)


def stage_progress_of(
    counts: StageCounts, started_at: float, records_in_flight: int
) -> coordinator_pb2.StageProgress:
    """Return a stage as watchers see it.

    Args:
        counts: The machine's numbers.
        started_at: When the coordinator started, on the clock of *counts*.
        records_in_flight: Records that running attempts have read so far.
    """
    return coordinator_pb2.StageProgress(
        name=counts.name,
        tasks_total=counts.total,
        tasks_waiting=counts.waiting,
        tasks_running=counts.running,
        tasks_done=counts.done,
        workers=counts.workers,
        retries=counts.retries,
        rivals=counts.rivals,
        records_in=counts.records_in + records_in_flight,
        bytes_in=counts.bytes_in,
        records_out=counts.records_out,
        bytes_out=counts.bytes_out,
        started_s=_since(started_at, counts.started_s),
        finished_s=_since(started_at, counts.finished_s),
        largest_labels=[
            common_pb2.LabelTotals(label=label, totals=totals_to_wire(totals))
            for label, totals in counts.largest_labels
        ],
    )


def _since(started_at: float, moment: float | None) -> float:
    return 0.0 if moment is None else max(moment - started_at, 0.0)


def result_part_of(part: ResultPart, addresses: Addresses) -> coordinator_pb2.ResultPart:
    """Return where one part of the result is."""
    return coordinator_pb2.ResultPart(
        service=addresses[part.service],
        stage=part.stage,
        task=part.task,
        totals=totals_to_wire(part.totals),
    )
