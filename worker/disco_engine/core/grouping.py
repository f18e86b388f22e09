"""Which tasks a stage has, and what each of them reads.

Both follow from what the stage before left sealed, and from nothing else, so they are the same
whenever the same outputs are there: a new coordinator plans the same tasks. All functions are pure.

========================  =======================================================================
grouping                  a task per
========================  =======================================================================
SPLIT                     (task of the stage before, label)
GROUP_LABEL               label
GROUP_NODE                node
GROUP_NODE_LABEL          (node, label)
GROUP_ALL                 stage
========================  =======================================================================

What has no records makes no task, so a stage after nothing has none, GROUP_ALL included, unless the
plan says otherwise (``Stage.even_if_empty``). The node of an output is that of the partition
service that holds it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from disco_engine.core import label_table
from disco_engine.core.model import (
    Group,
    Grouping,
    Label,
    NodeName,
    ServiceId,
    Source,
    TaskInput,
    Totals,
)

UNKNOWN_NODE = NodeName("none")
"""The node of inputs that are on no node in particular: all of a job's inputs."""

NODE_GROUPINGS = frozenset({Grouping.GROUP_NODE, Grouping.GROUP_NODE_LABEL})
"""Groupings whose tasks change when an output moves to another node."""

Held = Mapping[ServiceId, Mapping[Label, Totals]]
"""What each partition service holds of a stage."""

Homes = Mapping[ServiceId, NodeName]
"""The node of each partition service."""

_Key: TypeAlias = tuple[int | None, Label | None, NodeName | None]


def groups_of_inputs(grouping: Grouping, inputs: Iterable[TaskInput]) -> list[Group]:
    """Return the groups of the first stage, one per task, in task order."""
    if grouping is Grouping.SPLIT:
        return [Group(origin=index) for index, _ in enumerate(inputs)]
    keys = {_group(grouping, item.label, UNKNOWN_NODE) for item in inputs}
    return sorted(keys, key=group_order)


def inputs_by_group(
    grouping: Grouping, inputs: Iterable[TaskInput]
) -> dict[Group, tuple[TaskInput, ...]]:
    """Return what each task of the first stage reads, ascending by label, then in their order.

    Not for SPLIT, where a group's origin is the index of its only input.
    """
    gathered: dict[Group, list[TaskInput]] = {}
    for item in sorted(inputs, key=lambda item: item.label):
        gathered.setdefault(_group(grouping, item.label, UNKNOWN_NODE), []).append(item)
    return {group: tuple(items) for group, items in gathered.items()}


def groups_of_outputs(
    grouping: Grouping, held: Held, homes: Homes, tables: Iterable[tuple[int, bytes]]
) -> list[Group]:
    """Return the groups of a later stage, one per task, in task order.

    Args:
        grouping: Of the stage to plan.
        held: What is sealed of the stage before.
        homes: The node of each service in *held*.
        tables: For SPLIT: (task of the stage before, its label table), in task order.
    """
    if grouping is Grouping.SPLIT:
        return [
            Group(label=label, origin=origin)
            for origin, table in tables
            for label, totals in label_table.unpack(table).items()
            if totals.records
        ]
    keys = {
        _group(grouping, label, homes[service])
        for service, labels in held.items()
        for label, totals in labels.items()
        if totals.records
    }
    return sorted(keys, key=group_order)


def sources_of(group: Group, stage: int, held: Held, homes: Homes) -> tuple[Source, ...]:
    """Return what a task reads, ascending by label, then service. Not for SPLIT.

    Args:
        group: Of the task.
        stage: The stage before, which wrote what is read.
        held: What is sealed of that stage.
        homes: The node of each service in *held*.
    """
    found = [
        (label, service, totals)
        for service, labels in held.items()
        if group.node is None or homes[service] == group.node
        for label, totals in _selected(labels, group.label)
        if totals.records
    ]
    return tuple(
        Source(service=service, stage=stage, label=label, task=None, expected=totals)
        for label, service, totals in sorted(found)
    )


def split_source(group: Group, stage: int, service: ServiceId, table: bytes) -> Source:
    """Return what a task reads of the one task before it (SPLIT).

    Args:
        group: Of the task; it has an origin and a label.
        stage: The stage before, which wrote what is read.
        service: Who holds the origin's output.
        table: The origin's label table.
    """
    if group.label is None:
        raise ValueError(f"{group} has no label, so no task of the stage before can be its origin")
    return Source(
        service=service,
        stage=stage,
        label=group.label,
        task=group.origin,
        expected=label_table.find(table, group.label),
    )


def group_order(group: Group) -> tuple[int, Label, str]:
    """Return the key that sorts a stage's groups: by origin, then label, then node."""
    return (group.origin or 0, group.label or 0, group.node or "")


class Readers:
    """Which tasks of a stage read what.

    Args:
        grouping: Of the reading stage.
        groups: Of its tasks, in their order.
    """

    def __init__(self, grouping: Grouping, groups: Iterable[Group]) -> None:
        self._grouping = grouping
        self._tasks: dict[_Key, int] = {}
        self.add(groups)

    def __contains__(self, group: Group) -> bool:
        return (group.origin, group.label, group.node) in self._tasks

    def add(self, groups: Iterable[Group]) -> None:
        """Take note of further tasks of the stage."""
        for group in groups:
            self._tasks[group.origin, group.label, group.node] = len(self._tasks)

    def of(self, task: int, node: NodeName, labels: Iterable[Label]) -> Iterator[int]:
        """Yield the tasks that read something of an output; takes time for each of its labels.

        Args:
            task: The task that wrote it.
            node: Where it is, or was.
            labels: The labels it has.
        """
        for key in self._keys(task, node, labels):
            index = self._tasks.get(key)
            if index is not None:
                yield index

    def _keys(self, task: int, node: NodeName, labels: Iterable[Label]) -> Iterable[_Key]:
        match self._grouping:
            case Grouping.SPLIT:
                return ((task, label, None) for label in labels)
            case Grouping.GROUP_LABEL:
                return ((None, label, None) for label in labels)
            case Grouping.GROUP_NODE:
                return ((None, None, node),)
            case Grouping.GROUP_NODE_LABEL:
                return ((None, label, node) for label in labels)
            case Grouping.GROUP_ALL:
                return ((None, None, None),)


def _group(grouping: Grouping, label: Label, node: NodeName) -> Group:
    match grouping:
        case Grouping.GROUP_LABEL:
            return Group(label=label)
        case Grouping.GROUP_NODE:
            return Group(node=node)
        case Grouping.GROUP_NODE_LABEL:
            return Group(label=label, node=node)
        case Grouping.GROUP_ALL:
            return Group()
        case Grouping.SPLIT:
            raise ValueError("SPLIT groups by task, not by label and node")


def _selected(
    labels: Mapping[Label, Totals], wanted: Label | None
) -> Iterable[tuple[Label, Totals]]:
    if wanted is None:
        return labels.items()
    totals = labels.get(wanted)
    return () if totals is None else ((wanted, totals),)
