"""Classic jobs behave as in Disco, on every engine."""

from typing import Any

import pytest

from disco.error import JobError

from . import jobs
from .conftest import Backend


def by_key(records: list[Any], key: Any) -> list[Any]:
    return [value for name, value in records if name == key]


def initialised(backend: Backend) -> list[Any]:
    return backend.results(jobs.Initialised, input=["raw://xyz"])


def test_init_takes_entries_away_from_what_is_mapped(backend: Backend) -> None:
    records = backend.observed(initialised)
    assert [first for first, _, _ in by_key(records, "params")] == ["x_0"]
    assert not by_key(records, "x")


def test_a_list_of_two_is_a_pair_and_a_reduce_s_init_takes_one_away(backend: Backend) -> None:
    records = backend.observed(initialised)
    taken = by_key(records, "taken")
    left = [key for key, _ in records if key not in ("taken", "partition")]
    assert sorted(taken + left) == ["params", "params", "y", "z"]
    assert len(taken) == 2  # one in each partition


def test_params_keep_what_a_task_changes_for_its_later_calls(backend: Backend) -> None:
    ((_, seen, factor),) = by_key(backend.observed(initialised), "params")
    assert (seen, factor) in [(["y_1"], 10), (["y_1", "z_2"], 10)]


def test_a_label_is_what_int_makes_of_it_and_empty_ones_have_no_task(backend: Backend) -> None:
    assert by_key(backend.observed(initialised), "partition") == [(0, 0), (2, 2)]


def names(backend: Backend) -> list[Any]:
    return backend.results(jobs.Names, input=jobs.RAW)


def test_functions_use_names_that_nobody_imports(backend: Backend) -> None:
    records = backend.observed(names)
    assert by_key(records, "task") == [(True, True, "map")] * 4
    assert by_key(records, "master") == [True] * 4


def test_a_map_task_knows_its_input_and_its_number(backend: Backend) -> None:
    records = backend.observed(names)
    assert sorted(by_key(records, "inputs")) == sorted([url] for url in jobs.RAW)
    assert sorted(by_key(records, "partition")) == [0, 1, 2, 3]


def test_keys_have_the_same_hash_in_all_processes(backend: Backend) -> None:
    assert all(map(jobs.is_same_hash, by_key(backend.observed(names), "hashes")))


def test_a_combiner_has_a_buffer_per_partition_and_is_told_the_end(backend: Backend) -> None:
    records = backend.results(jobs.Combined, input=["raw://1 2 7 3"])
    assert by_key(records, "done") == [(None, None, [2]), (None, None, [1, 3, 7])]
    assert by_key(records, "seven") == [7]


def test_sorted_pairs_come_in_the_order_of_keys_bytes(backend: Backend) -> None:
    words = "b a C b \u00e9 a b"
    records = backend.results(jobs.Sorted, input=[f"raw://{words}"])
    assert records == [(b"C", 1), (b"a", 2), (b"b", 3), ("\u00e9".encode(), 1)]


def test_without_partitions_a_job_has_one_reduce(backend: Backend) -> None:
    records = backend.results(jobs.Summed, input=["raw://a b", "raw://b"], partitions=None)
    assert sorted(records) == [("a", 1), ("b", 2)]


def test_functions_may_be_partials(backend: Backend) -> None:
    assert backend.results(jobs.Partials, input=["raw://x"]) == [("x", (1, 2))]


def test_streams_take_three_arguments_or_four_and_return_what_they_replace(
    backend: Backend,
) -> None:
    records = backend.results(jobs.Chained, input=["raw://x"])
    assert records == [("!x!!", ("size", "raw://x!"))]  # outputs are closed last first


def test_a_job_without_input_ends_well_and_has_no_results(backend: Backend) -> None:
    job = backend.run(jobs.Summed, input=[])
    assert job.wait() == []
    assert job.results() == ("ready", [])
    job.purge()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("none", "None"),
        ("other", "ValueError: no such entry"),
        ("talkative", "Worker is behaving badly"),
    ],
)
def test_what_a_function_does_wrong_ends_the_job_with_its_words(
    backend: Backend, entry: str, message: str
) -> None:
    job = backend.run(jobs.Failing, input=[f"raw://{entry}"])
    with pytest.raises(JobError, match=message):
        job.wait()
    assert job.results() == ("dead", [])
    job.purge()
