"""Which tasks a stage has and what they read."""

import pytest

from disco_engine.core import label_table
from disco_engine.core.grouping import (
    Readers,
    groups_of_inputs,
    groups_of_outputs,
    inputs_by_group,
    sources_of,
    split_source,
)
from disco_engine.core.model import Group, Grouping, NodeName, ServiceId, Source, TaskInput, Totals

PS0, PS1, PS2 = (ServiceId(f"ps-{i}") for i in range(3))
N0, N1 = NodeName("n0"), NodeName("n1")
HOMES = {PS0: N0, PS1: N1, PS2: N1}
ONE, TWO = Totals(1, 1, 10), Totals(1, 2, 20)
HELD = {PS2: {9: ONE, -1: TWO}, PS0: {4: ONE, 9: TWO}, PS1: {4: TWO}}
INPUTS = [TaskInput(urls=(f"in-{i}",), label=label) for i, label in enumerate([2, 1, 2])]


@pytest.mark.parametrize(
    ("grouping", "expected"),
    [
        (Grouping.GROUP_LABEL, [Group(label=label) for label in (-1, 4, 9)]),
        (Grouping.GROUP_NODE, [Group(node=N0), Group(node=N1)]),
        (
            Grouping.GROUP_NODE_LABEL,
            [Group(-1, N1), Group(4, N0), Group(4, N1), Group(9, N0), Group(9, N1)],
        ),
        (Grouping.GROUP_ALL, [Group()]),
    ],
)
def test_groups_follow_from_labels_and_nodes_in_ascending_order(
    grouping: Grouping, expected: list[Group]
) -> None:
    assert groups_of_outputs(grouping, HELD, HOMES, ()) == expected


def test_split_makes_a_task_per_task_and_label() -> None:
    tables = [label_table.pack({5: ONE, 3: TWO}), label_table.EMPTY, label_table.pack({3: ONE})]
    groups = groups_of_outputs(Grouping.SPLIT, {}, {}, enumerate(tables))
    assert groups == [Group(3, None, 0), Group(5, None, 0), Group(3, None, 2)]
    source = split_source(groups[1], 1, PS0, tables[0])
    assert source == Source(service=PS0, stage=1, label=5, task=0, expected=ONE)


@pytest.mark.parametrize("grouping", list(Grouping))
def test_nothing_makes_no_task(grouping: Grouping) -> None:
    assert groups_of_outputs(grouping, {}, {}, []) == []
    assert groups_of_inputs(grouping, []) == []


def test_labels_without_records_make_no_task_and_are_not_read() -> None:
    held = {PS0: {1: Totals(1, 0, 0), 2: ONE}}
    assert groups_of_outputs(Grouping.GROUP_LABEL, held, HOMES, ()) == [Group(label=2)]
    assert [source.label for source in sources_of(Group(), 1, held, HOMES)] == [2]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (Group(label=4), [(4, PS0), (4, PS1)]),
        (Group(node=N1), [(-1, PS2), (4, PS1), (9, PS2)]),
        (Group(label=9, node=N1), [(9, PS2)]),
        (Group(), [(-1, PS2), (4, PS0), (4, PS1), (9, PS0), (9, PS2)]),
        (Group(label=77), []),
    ],
)
def test_sources_ascend_by_label_then_service(
    group: Group, expected: list[tuple[int, ServiceId]]
) -> None:
    sources = sources_of(group, 3, HELD, HOMES)
    assert [(source.label, source.service) for source in sources] == expected
    assert all(source.expected == HELD[source.service][source.label] for source in sources)
    assert all((source.stage, source.task) == (3, None) for source in sources)


def test_inputs_are_grouped_by_label_and_in_their_order() -> None:
    assert groups_of_inputs(Grouping.SPLIT, INPUTS) == [Group(origin=i) for i in range(3)]
    assert groups_of_inputs(Grouping.GROUP_LABEL, INPUTS) == [Group(label=1), Group(label=2)]
    assert inputs_by_group(Grouping.GROUP_LABEL, INPUTS) == {
        Group(label=1): (INPUTS[1],),
        Group(label=2): (INPUTS[0], INPUTS[2]),
    }
    assert inputs_by_group(Grouping.GROUP_ALL, INPUTS) == {
        Group(): (INPUTS[1], INPUTS[0], INPUTS[2])
    }


@pytest.mark.parametrize(
    ("grouping", "group", "read", "unread"),
    [
        (Grouping.SPLIT, Group(3, None, 7), (7, N0, [3, 4]), (6, N0, [3, 4])),
        (Grouping.GROUP_LABEL, Group(label=3), (7, N0, [3, 4]), (7, N0, [4])),
        (Grouping.GROUP_NODE, Group(node=N0), (7, N0, [3]), (7, N1, [3])),
        (Grouping.GROUP_NODE_LABEL, Group(3, N0), (7, N0, [3]), (7, N0, [4])),
    ],
)
def test_readers_know_whether_they_read_an_output(
    grouping: Grouping,
    group: Group,
    read: tuple[int, NodeName, list[int]],
    unread: tuple[int, NodeName, list[int]],
) -> None:
    readers = Readers(grouping, [group])
    assert list(readers.of(*read)) == [0]
    assert not list(readers.of(*unread))
    assert not list(Readers(grouping, []).of(*read))
