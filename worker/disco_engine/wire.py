"""Translate between the core's values and the messages of ``proto/disco/v1``; nothing else."""

from collections.abc import Iterable, Iterator

from disco.v1 import common_pb2, coordinator_pb2, job_pb2, partition_pb2
from disco_engine.core import label_table
from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Failure,
    FailureKind,
    Group,
    Grouping,
    Layout,
    NodeName,
    Plan,
    SealedAttempt,
    SealTerms,
    Stage,
    TaskInput,
    Totals,
    Values,
)
from disco_engine.core.parts import StoredPart
from disco_engine.core.settings import JobSettings
from disco_engine.passwords import without_passwords

_KINDS = {
    FailureKind.USER: common_pb2.FAILURE_KIND_USER,
    FailureKind.DATA: common_pb2.FAILURE_KIND_DATA,
    FailureKind.INFRASTRUCTURE: common_pb2.FAILURE_KIND_INFRASTRUCTURE,
    FailureKind.FATAL: common_pb2.FAILURE_KIND_FATAL,
}
_KINDS_BACK = {number: kind for kind, number in _KINDS.items()}
_GROUPINGS = {
    Grouping.SPLIT: job_pb2.GROUPING_SPLIT,
    Grouping.GROUP_LABEL: job_pb2.GROUPING_GROUP_LABEL,
    Grouping.GROUP_NODE: job_pb2.GROUPING_GROUP_NODE,
    Grouping.GROUP_NODE_LABEL: job_pb2.GROUPING_GROUP_NODE_LABEL,
    Grouping.GROUP_ALL: job_pb2.GROUPING_GROUP_ALL,
}
_GROUPINGS_BACK = {number: grouping for grouping, number in _GROUPINGS.items()}
_LAYOUTS = {
    Layout.BY_LABEL: partition_pb2.LAYOUT_BY_LABEL,
    Layout.BY_TASK: partition_pb2.LAYOUT_BY_TASK,
}
_LAYOUTS_BACK = {number: layout for layout, number in _LAYOUTS.items()}
_PORTION_BYTES = 1024 * 1024


def attempt_to_wire(attempt: AttemptId) -> common_pb2.AttemptRef:
    """Return the message for *attempt*."""
    stage, task, epoch, number = attempt
    return common_pb2.AttemptRef(stage=stage, task=task, epoch=epoch, attempt=number)


def attempt_from_wire(message: common_pb2.AttemptRef) -> AttemptId:
    """Return the identity that *message* carries."""
    return AttemptId(message.stage, message.task, message.epoch, message.attempt)


def text_to_wire(text: str) -> str:
    """Return *text* as messages can hold it: lone surrogates, which UTF-8 has not, are escaped.

    They come with file names and lines that were decoded with "surrogateescape", for instance.
    """
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def failure_to_wire(failure: Failure) -> common_pb2.Failure:
    """Return the message for *failure*, which shows no passwords of what was read or written."""
    return common_pb2.Failure(
        kind=_KINDS[failure.kind],
        message=text_to_wire(without_passwords(failure.message)),
        traceback=text_to_wire(without_passwords(failure.traceback)),
        record=text_to_wire(failure.record),
        input=text_to_wire(without_passwords(failure.input)),
    )


def failure_from_wire(message: common_pb2.Failure) -> Failure:
    """Return the failure; an unknown kind is an infrastructure failure (a newer peer sent it)."""
    return Failure(
        kind=_KINDS_BACK.get(message.kind, FailureKind.INFRASTRUCTURE),
        message=message.message,
        traceback=message.traceback,
        record=message.record,
        input=message.input,
    )


def totals_to_wire(totals: Totals) -> common_pb2.Totals:
    """Return the message for *totals*."""
    return common_pb2.Totals(blocks=totals.blocks, records=totals.records, bytes=totals.bytes)


def totals_from_wire(message: common_pb2.Totals) -> Totals:
    """Return the totals; all zero if the message is not set."""
    return Totals(message.blocks, message.records, message.bytes)


def values_to_wire(values: Values) -> list[common_pb2.NamedValue]:
    """Return one message per value, in their order."""
    return [common_pb2.NamedValue(key=key, value=value) for key, value in values]


def values_from_wire(messages: Iterable[common_pb2.NamedValue]) -> Values:
    """Return keys and values; of a key that comes twice, the last value."""
    return tuple({message.key: message.value for message in messages}.items())


def portions_of_values(
    values: Iterable[tuple[str, bytes]], *, keys_only: bool
) -> Iterator[list[common_pb2.NamedValue]]:
    """Yield one message per value, in lists that fit into a message of reasonable size."""
    portion: list[common_pb2.NamedValue] = []
    size = 0
    for key, value in values:
        portion.append(common_pb2.NamedValue(key=key, value=b"" if keys_only else value))
        size += portion[-1].ByteSize()
        if size >= _PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def group_to_wire(group: Group) -> common_pb2.Group:
    """Return the message for *group*; None becomes an unset field."""
    return common_pb2.Group(
        label=group.label, node=group.node, origin=group.origin, arrangement=group.arrangement
    )


def group_from_wire(message: common_pb2.Group) -> Group:
    """Return the group; an unset field becomes None."""
    return Group(
        message.label if message.HasField("label") else None,
        NodeName(message.node) if message.HasField("node") else None,
        message.origin if message.HasField("origin") else None,
        message.arrangement if message.HasField("arrangement") else None,
    )


def layout_to_wire(layout: Layout) -> partition_pb2.Layout.ValueType:
    """Return the enum's number."""
    return _LAYOUTS[layout]


def layout_from_wire(number: partition_pb2.Layout.ValueType) -> Layout:
    """Return the layout.

    Raises:
        ValueError: The number is not one of a layout.
    """
    if number not in _LAYOUTS_BACK:
        raise ValueError(f"{number} is not a layout")
    return _LAYOUTS_BACK[number]


def input_to_wire(item: TaskInput) -> job_pb2.TaskInput:
    """Return the message for one task's input."""
    message = job_pb2.TaskInput(urls=item.urls)
    # What is as by default need not be said, and takes as long as the rest.
    if item.offset:
        message.offset = item.offset
    if item.length is not None:
        message.length = item.length
    if item.label:
        message.label = item.label
    return message


def input_from_wire(message: job_pb2.TaskInput) -> TaskInput:
    """Return one task's input."""
    return TaskInput(
        urls=tuple(message.urls),
        offset=message.offset,
        length=message.length if message.HasField("length") else None,
        label=message.label,
    )


def plan_to_wire(plan: Plan) -> job_pb2.Plan:
    """Return the message for *plan*."""
    return job_pb2.Plan(
        stages=[
            job_pb2.Stage(
                name=stage.name,
                grouping=_GROUPINGS[stage.grouping],
                sorted_input=stage.sorted_input,
                even_if_empty=stage.even_if_empty,
            )
            for stage in plan.stages
        ],
        inputs=[input_to_wire(item) for item in plan.inputs],
    )


def plan_from_wire(message: job_pb2.Plan) -> Plan:
    """Return the plan.

    Raises:
        ValueError: A stage has an unknown grouping.
    """
    for stage in message.stages:
        if stage.grouping not in _GROUPINGS_BACK:
            raise ValueError(f"stage {stage.name!r} has the unknown grouping {stage.grouping}")
    return Plan(
        stages=tuple(
            Stage(
                name=stage.name,
                grouping=_GROUPINGS_BACK[stage.grouping],
                sorted_input=stage.sorted_input,
                even_if_empty=stage.even_if_empty,
            )
            for stage in message.stages
        ),
        inputs=tuple(input_from_wire(item) for item in message.inputs),
    )


def fetch_request(part: StoredPart) -> partition_pb2.FetchRequest:
    """Return what to ask a partition service for to read *part* from its beginning."""
    request = partition_pb2.FetchRequest(job_uid=part.uid, stage=part.stage)
    if part.task is not None:
        request.tasks.tasks.append(part.task)
        if part.label is not None:
            request.tasks.label = part.label
    elif part.label is not None:
        request.label = part.label
    return request


def settings_to_wire(settings: JobSettings) -> job_pb2.Settings:
    """Return the message for *settings*, field by field."""
    return job_pb2.Settings(
        **{name: getattr(settings, name) for name in JobSettings.__dataclass_fields__}
    )


def settings_from_wire(message: job_pb2.Settings) -> JobSettings:
    """Return the settings, field by field."""
    return JobSettings(
        **{name: getattr(message, name) for name in JobSettings.__dataclass_fields__}
    )


def result_to_wire(result: AttemptResult) -> coordinator_pb2.AttemptResult:
    """Return the message for *result*."""
    return coordinator_pb2.AttemptResult(
        seconds=result.seconds,
        records_in=result.records_in,
        bytes_in=result.bytes_in,
        label_table=label_table.pack(result.labels),
        plan=None if result.plan is None else plan_to_wire(result.plan),
        output_file=result.output_file,
        output_records=result.output_records,
        values=values_to_wire(result.values),
    )


def result_from_wire(message: coordinator_pb2.AttemptResult) -> AttemptResult:
    """Return what an attempt did.

    Raises:
        ValueError: It is nothing that this release understands.
    """
    return AttemptResult(
        seconds=message.seconds,
        records_in=message.records_in,
        bytes_in=message.bytes_in,
        labels=label_table.Labels(message.label_table),
        plan=plan_from_wire(message.plan) if message.HasField("plan") else None,
        output_file=message.output_file,
        output_records=message.output_records,
        values=values_from_wire(message.values),
        output_complete=message.output_complete,
    )


def terms_to_wire(terms: SealTerms, *, copy: bool) -> partition_pb2.SealRequest:
    """Return the message that has an attempt sealed, or kept as a copy."""
    return partition_pb2.SealRequest(
        attempt=attempt_to_wire(terms.id),
        group=group_to_wire(terms.group),
        expected=totals_to_wire(terms.expected),
        output_file=terms.output_file,
        output_records=terms.output_records,
        records_in=terms.records_in,
        bytes_in=terms.bytes_in,
        values=values_to_wire(terms.values),
        copy=copy,
    )


def terms_from_wire(message: partition_pb2.SealRequest) -> SealTerms:
    """Return what the coordinator says of an attempt that is to be sealed or kept."""
    return SealTerms(
        id=attempt_from_wire(message.attempt),
        group=group_from_wire(message.group),
        expected=totals_from_wire(message.expected),
        output_file=message.output_file,
        output_records=message.output_records,
        records_in=message.records_in,
        bytes_in=message.bytes_in,
        values=values_from_wire(message.values),
    )


def sealed_to_wire(sealed: SealedAttempt) -> partition_pb2.SealedAttempt:
    """Return the message for a sealed attempt."""
    return partition_pb2.SealedAttempt(
        attempt=attempt_to_wire(sealed.id),
        group=group_to_wire(sealed.group),
        label_table=label_table.pack(sealed.labels),
        output_file=sealed.output_file,
        output_records=sealed.output_records,
        records_in=sealed.records_in,
        bytes_in=sealed.bytes_in,
        values=values_to_wire(sealed.values),
    )


def sealed_from_wire(message: partition_pb2.SealedAttempt) -> SealedAttempt:
    """Return a sealed attempt."""
    return SealedAttempt(
        id=attempt_from_wire(message.attempt),
        group=group_from_wire(message.group),
        labels=label_table.Labels(message.label_table),
        output_file=message.output_file,
        output_records=message.output_records,
        records_in=message.records_in,
        bytes_in=message.bytes_in,
        values=values_from_wire(message.values),
    )
