"""What a stage's sealed outputs sum to, and how those of one task are kept small."""

import sys

import pytest
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
# Most tasks of a stage write the same labels.
FEW_LABELS = st.sets(st.integers(0, 3)).flatmap(
    lambda labels: st.fixed_dictionaries(dict.fromkeys(sorted(labels), TOTALS))
)


@given(LABELS, st.integers(-5, 5))
def test_a_table_gives_back_what_was_packed(labels: dict[int, Totals], other: int) -> None:
    table = label_table.pack(labels)
    assert label_table.unpack(table) == labels
    assert list(label_table.labels_in(table)) == sorted(labels)
    assert label_table.total(table) == Totals(*map(sum, zip(NOTHING, *labels.values())))  # noqa: B905
    for label in [*labels, other]:
        assert label_table.find(table, label) == labels.get(label, NOTHING)


@given(LABELS)
def test_a_table_is_read_like_the_dictionary_that_it_was_made_of(
    labels: dict[int, Totals],
) -> None:
    read = label_table.Labels(label_table.pack(labels))
    assert read == labels
    assert len(read) == len(labels)
    assert {label: read[label] for label in read} == labels
    assert label_table.pack(read) == label_table.pack(labels)


@pytest.mark.parametrize(
    "table", [b"b", b"bBB", b"BBBB", b"bBBz", b"bBBB\0", b"bBBB\0\0\0", b"iBBBxxx"]
)
def test_what_is_no_table_is_refused(table: bytes) -> None:
    with pytest.raises(ValueError, match="no label table"):
        label_table.Labels(table)


def test_a_table_travels_as_the_protocol_describes_it() -> None:
    table = label_table.pack({-1: Totals(1, 2, 300), 5: Totals(1, 70_000, 6)})
    assert table == b"bBIH" + b"\xff\x05" + b"\1\1" + b"\2\0\0\0\x70\x11\1\0" + b"\x2c\1\6\0"


def test_a_table_takes_about_ten_bytes_per_label() -> None:
    labels = {label: Totals(1, 2000 + label, 60_000) for label in range(100)}
    assert sys.getsizeof(label_table.pack(labels)) < 1000
    assert label_table.pack({3: NOTHING}) == label_table.EMPTY


@given(st.lists(st.tuples(st.sampled_from([PS0, PS1]), LABELS | FEW_LABELS), max_size=6), st.data())
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
    for service, sums in outputs.held.items():
        assert {label: sums[label] for label in sums} == dict(fresh.held[service])
        assert len(sums) == len(fresh.held[service])
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
