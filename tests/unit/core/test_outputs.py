"""What a stage's sealed outputs sum to, and how those of one task are kept small."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from disco_engine.core import label_table
from disco_engine.core.model import NOTHING, NodeName, ServiceId, Totals
from disco_engine.core.outputs import StageOutputs

PS0, PS1 = ServiceId("ps-0"), ServiceId("ps-1")
N0, N1 = NodeName("n0"), NodeName("n1")
COUNTS = st.integers(0, 2**63)
TOTALS = st.builds(Totals, st.integers(1, 2**40), COUNTS, COUNTS)
LABELS = st.dictionaries(st.integers(-(2**63), 2**63 - 1), TOTALS, max_size=20)


@given(LABELS, st.integers(-5, 5))
def test_a_table_gives_back_what_was_packed(labels: dict[int, Totals], other: int) -> None:
    table = label_table.pack(labels)
    assert label_table.unpack(table) == labels
    assert list(label_table.labels_in(table)) == sorted(labels)
    assert label_table.total(table) == Totals(*map(sum, zip(NOTHING, *labels.values())))  # noqa: B905
    for label in [*labels, other]:
        assert label_table.find(table, label) == labels.get(label, NOTHING)


def test_a_table_takes_about_ten_bytes_per_label() -> None:
    labels = {label: Totals(1, 2000 + label, 60_000) for label in range(100)}
    assert sys.getsizeof(label_table.pack(labels)) < 1000
    assert label_table.pack({3: NOTHING}) == label_table.EMPTY


@given(st.lists(st.tuples(st.sampled_from([PS0, PS1]), LABELS), max_size=6), st.data())
def test_sums_are_those_of_the_outputs_that_are_there(
    added: list[tuple[ServiceId, dict[int, Totals]]], data: st.DataObject
) -> None:
    outputs = StageOutputs()
    for service, labels in added:
        outputs.add(service, N0, label_table.pack(labels))
    kept = []
    for service, labels in added:
        if data.draw(st.booleans()):
            outputs.remove(service, label_table.pack(labels))
        else:
            kept.append((service, labels))
    fresh = StageOutputs()
    for service, labels in kept:
        fresh.add(service, N0, label_table.pack(labels))
    assert outputs.held == fresh.held
    assert outputs.total == fresh.total
    sizes: dict[int, int] = {}
    for _, labels in kept:
        for label, totals in labels.items():
            sizes[label] = sizes.get(label, 0) + totals.bytes
    largest = [totals.bytes for _, totals in outputs.largest()]
    assert largest == sorted(sizes.values(), reverse=True)[:5]


def test_the_node_of_a_service_stays_what_it_was_when_it_first_held_something() -> None:
    outputs = StageOutputs()
    outputs.add(PS0, N0, label_table.pack({1: Totals(1, 1, 10)}))
    outputs.add(PS1, N1, label_table.pack({1: Totals(1, 1, 30)}))
    outputs.add(PS0, N1, label_table.pack({1: Totals(1, 1, 10)}))
    assert outputs.homes == {PS0: N0, PS1: N1}
    assert outputs.main_node(1) == N1
    assert outputs.main_node(2) is None
