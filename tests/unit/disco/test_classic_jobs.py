"""What a classic job means: each parameter, as Disco's users know it."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from disco import Job, Params
from disco.error import DataError
from disco.util import kvgroup
from disco.worker.classic.func import (
    make_range_partition,
    nop_map,
    nop_reduce,
    sum_combiner,
    sum_reduce,
)
from disco_engine.core.model import Grouping
from disco_engine.core.settings import JobSettings
from disco_engine.program import ProgramError

Text = Callable[..., str]


def words(line: bytes, params: Any) -> Iterator[tuple[bytes, int]]:
    for word in line.split():
        yield word, 1


def count(pairs: Any, params: Any) -> Iterator[tuple[bytes, int]]:
    for word, ones in kvgroup(sorted(pairs)):
        yield word, sum(ones)


class WordCount(Job):
    map = staticmethod(words)
    reduce = staticmethod(count)


# --- the map ----------------------------------------------------------------------------------


def test_lines_are_bytes_with_their_newline(engine: Any, text: Text) -> None:
    class Lines(Job):
        map = staticmethod(lambda line, params: [(line, None)])

    ran = engine.run(Lines(), input=[text("one\n", "two\r\n", "three")])
    assert [key for key, _ in ran.pairs] == [b"one\n", b"two\r\n", b"three"]


def test_text_in_a_raw_url_is_str(engine: Any) -> None:
    class Lines(Job):
        map = staticmethod(lambda line, params: [(line, None)])

    assert engine.run(Lines(), input=["raw://a:b"]).pairs == [("a:b", None)]


def test_a_map_may_return_any_iterable_of_any_pairs(engine: Any) -> None:
    class Halves(Job):
        map = staticmethod(lambda line, params: {line.split("_")[0]: line.split("_")[1]}.items())

    class Lists(Job):
        map = staticmethod(lambda line, params: [line.split("_")])

    assert engine.run(Halves(), input=["raw://a_b"]).pairs == [("a", "b")]
    assert engine.run(Lists(), input=["raw://a_b"]).pairs == [("a", "b")]


def test_a_map_may_be_a_method_of_the_job(engine: Any) -> None:
    class Tagged(Job):
        def map(self, line: str, params: Any) -> Iterator[tuple[str, str]]:
            yield self.tag(), line

        def tag(self) -> str:
            return "mine"

    assert engine.run(Tagged(), input=["raw://x"]).pairs == [("mine", "x")]


def test_a_map_may_be_a_partial(engine: Any) -> None:
    def scaled(factor: int, line: str, params: Any) -> list[tuple[str, int]]:
        return [(line, factor)]

    job = Job(name="Partial")
    ran = engine.run(job, map=functools.partial(scaled, 3), input=["raw://x"])
    assert ran.pairs == [("x", 3)]


def test_map_init_may_take_entries_away(engine: Any, text: Text) -> None:
    class Headed(Job):
        map = staticmethod(words)

        @staticmethod
        def map_init(entries: Any, params: Any) -> None:
            params.header = next(entries)

    ran = engine.run(Headed(), input=[text("name\n", "anna\n", "bert\n")])
    assert ran.pairs == [(b"anna", 1), (b"bert", 1)]


def test_a_large_file_becomes_several_tasks_unless_map_init_wants_its_beginning(
    engine: Any, text: Text
) -> None:
    engine.settings = JobSettings(split_size_bytes=100)
    path = text(*(f"line {number}\n" for number in range(100)))
    ran = engine.run(WordCount(), input=[path])
    assert len(ran.contexts["map"]) > 5
    assert dict(ran.pairs)[b"line"] == 100
    ran = engine.run(WordCount(), input=[path], map_init=lambda entries, params: None)
    assert len(ran.contexts["map"]) == 1


def test_without_a_reduce_the_map_s_records_are_the_result(engine: Any) -> None:
    ran = engine.run(Job(name="Maps"), map=lambda e, p: [(e, 1)], input=["raw://a", "raw://b"])
    assert ran.parts == [[("a", 1)], [("b", 1)]]


def test_a_job_without_input_has_an_empty_result(engine: Any) -> None:
    assert engine.run(WordCount(), input=[]).pairs == []


def test_a_task_tells_how_many_entries_it_has_mapped(engine: Any, text: Text) -> None:
    path = text(*["word\n"] * 50_000)
    ran = engine.run(WordCount(), input=[path], status_interval=20_000)
    (context,) = ran.contexts["map"]
    assert context.read_records == 50_000
    assert context.read_bytes == 250_000
    assert context.statuses
    assert context.statuses[-1].endswith(" entries mapped")


# --- partitions and combiners -----------------------------------------------------------------


def test_each_key_is_in_one_partition_and_only_partitions_with_keys_exist(engine: Any) -> None:
    ran = engine.run(WordCount(), input=["raw://" + " ".join("abcdef")], partitions=100)
    assert sorted(ran.pairs) == [(letter, 1) for letter in "abcdef"]
    assert 1 < len(ran.parts) <= 6


def test_one_partition_is_reduced_in_one_task_that_gets_everything(engine: Any) -> None:
    ran = engine.run(WordCount(), input=["raw://b a", "raw://a"])
    assert ran.plan.stages[1].grouping is Grouping.GROUP_ALL
    assert ran.parts == [[("a", 2), ("b", 1)]]


def test_without_partitions_all_records_have_the_label_0(engine: Any) -> None:
    ran = engine.run(WordCount(), input=["raw://a b c d"], partitions=None)
    assert list(ran.contexts["map"][0].output) == [0]
    assert len(ran.parts) == 1


def test_a_partition_function_chooses_labels_and_results_are_in_label_order(engine: Any) -> None:
    ran = engine.run(
        WordCount(),
        input=["raw://ccc a bb"],
        partitions=2,
        partition=lambda key, n, params: len(key) * 10 * params.sign,
        params=Params(sign=-1),
    )
    assert ran.parts == [[("ccc", 1)], [("bb", 1)], [("a", 1)]]


def test_a_partition_function_may_return_what_int_takes(engine: Any) -> None:
    ran = engine.run(
        WordCount(), input=["raw://a bb"], partitions=2, partition=lambda key, n, p: len(key) / 1
    )
    assert [context.group.label for context in ran.contexts["reduce"]] == [1, 2]


def test_a_range_partition_keeps_numbers_in_order(engine: Any) -> None:
    ran = engine.run(
        Job(name="Ranges"),
        map=lambda entry, params: [(int(entry), None)],
        partition=make_range_partition(0, 99),
        partitions=4,
        reduce=lambda pairs, params: sorted(pairs),
        input=[f"raw://{number}" for number in (99, 0, 50, 24, 25, 200, -5)],
    )
    assert [key for key, _ in ran.pairs] == [-5, 0, 24, 25, 50, 99, 200]
    assert len(ran.parts) == 4


@pytest.mark.parametrize("partitions", [None, 1, 3])
def test_sum_combiner_sends_one_record_per_key_and_task(engine: Any, partitions: int) -> None:
    ran = engine.run(
        WordCount(),
        input=["raw://a b a a", "raw://b"],
        combiner=sum_combiner,
        partitions=partitions,
        reduce=None,
    )
    assert sorted(ran.parts[0]) == [("a", 3), ("b", 1)]
    assert ran.parts[1] == [("b", 1)]


def test_sum_combiner_keeps_only_so_many_keys_in_memory(engine: Any) -> None:
    engine.settings = JobSettings(sort_memory_bytes=1)
    many = 250_000

    class Many(Job):
        combiner = staticmethod(sum_combiner)

        @staticmethod
        def map(entry: str, params: Any) -> Iterator[tuple[int, int]]:
            for number in range(many):
                yield number % 50_000, 1

    ran = engine.run(Many(), input=["raw://x"])
    assert len(ran.pairs) > 50_000
    assert sum(value for _, value in ran.pairs) == many


def test_a_combiner_has_a_buffer_per_partition_and_may_emit_at_any_time(engine: Any) -> None:
    def early(key: Any, value: Any, buf: Any, done: bool, params: Any) -> Any:
        if done:
            return [(sorted(buf), "at the end")]
        buf[key] = True
        return [(key, "at once")] if len(buf) == 1 else None

    ran = engine.run(
        WordCount(),
        input=["raw://a bb c dd"],
        combiner=early,
        partitions=2,
        partition=lambda key, n, params: len(key),
        reduce=None,
    )
    assert sorted(ran.pairs, key=str) == sorted(
        [
            ("a", "at once"),
            ("bb", "at once"),
            (["a", "c"], "at the end"),
            (["bb", "dd"], "at the end"),
        ],
        key=str,
    )


# --- the reduce -------------------------------------------------------------------------------


def test_a_reduce_with_three_arguments_adds_to_its_output(engine: Any) -> None:
    def reduce(pairs: Any, out: Any, params: Any) -> None:
        for key, value in pairs:
            out.add(value, key)

    assert engine.run(WordCount(), input=["raw://a"], reduce=reduce).pairs == [(1, "a")]


def test_the_number_of_a_partial_s_arguments_is_what_is_left(engine: Any) -> None:
    def reduce(suffix: str, pairs: Any, params: Any) -> list[tuple[str, int]]:
        return [(key + suffix, value) for key, value in pairs]

    ran = engine.run(WordCount(), input=["raw://a"], reduce=functools.partial(reduce, "!"))
    assert ran.pairs == [("a!", 1)]


def test_reduce_init_may_take_pairs_away(engine: Any) -> None:
    ran = engine.run(
        WordCount(),
        input=["raw://a a b"],
        reduce_init=lambda pairs, params: next(pairs),
        sort=True,
        reduce=count,
    )
    assert ran.pairs == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("sort", [True, False])
def test_a_reduce_may_pass_its_pairs_on(engine: Any, sort: bool) -> None:
    ran = engine.run(WordCount(), input=["raw://b a"], reduce=lambda ps, params: ps, sort=sort)
    assert ran.pairs == ([("a", 1), ("b", 1)] if sort else [("b", 1), ("a", 1)])


def test_sorted_input_comes_in_key_order_from_all_tasks_with_equal_keys_together(
    engine: Any,
) -> None:
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[str, list[int]]]:
        for key, values in kvgroup(pairs):
            yield key, list(values)

    ran = engine.run(WordCount(), input=["raw://b a b", "raw://c a"], reduce=reduce, sort=True)
    assert ran.pairs == [("a", [1, 1]), ("b", [1, 1]), ("c", [1])]


def test_sorted_input_is_an_iterator_as_any_other(engine: Any) -> None:
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[Any, Any]]:
        yield next(pairs)
        for key, value in pairs:
            yield key.upper(), value

    ran = engine.run(WordCount(), input=["raw://b a c"], reduce=reduce, sort=True)
    assert ran.pairs == [("a", 1), ("B", 1), ("C", 1)]


def test_a_sort_that_does_not_fit_in_memory_uses_the_disk(engine: Any, text: Text) -> None:
    engine.settings = JobSettings(sort_memory_bytes=200_000)
    path = text(*(f"{number * 7919 % 50_000:05d} {number % 10}\n" for number in range(50_000)))

    class Sorted(Job):
        sort = True
        map = staticmethod(lambda line, params: [(line[:5], line[6:])])
        reduce = staticmethod(lambda pairs, params: pairs)

    keys = [key for key, _ in engine.run(Sorted(), input=[path]).pairs]
    assert keys == [b"%05d" % number for number in range(50_000)]
    assert list(engine.contexts["reduce"][0].scratch.iterdir()) == []


def test_sum_reduce_adds_numbers_and_texts_of_numbers(engine: Any) -> None:
    ran = engine.run(
        Job(name="Sums"),
        map=lambda entry, params: [entry.split("=")],
        reduce=sum_reduce,
        input=["raw://a=1", "raw://a=2", "raw://b=5"],
    )
    assert dict(ran.pairs) == {"a": 3, "b": 5}


# --- chained jobs, jobs that only reduce ------------------------------------------------------


def test_a_map_of_another_job_s_result_gets_its_pairs(engine: Any) -> None:
    first = engine.run(WordCount(), input=["raw://b a b"])
    engine.results["disco://h:1/j/2/0"] = first.contexts["reduce"][0].output[0]
    swapped = lambda entry, params: [(entry[1], entry[0])]  # noqa: E731
    ran = engine.run(Job(name="Swap"), map=swapped, input=["disco://h:1/j/2/0"])
    assert ran.pairs == [(1, "a"), (2, "b")]
    assert ran.contexts["map"][0].read_records == 2


def test_a_job_may_only_reduce(engine: Any) -> None:
    first = engine.run(WordCount(), input=["raw://b a b"])
    engine.results["disco://h:1/j/2/0"] = first.contexts["reduce"][0].output[0]
    ran = engine.run(Job(name="Only"), reduce=nop_reduce, input=[["disco://h:1/j/2/0"]])
    assert ran.pairs == [("a", 1), ("b", 2)]
    assert [stage.name for stage in ran.plan.stages] == ["reduce"]


def test_a_job_that_only_reduces_may_sort(engine: Any) -> None:
    first = engine.run(WordCount(), input=["raw://b a b"], reduce=nop_reduce)
    engine.results["disco://h:1/j/2/0"] = first.contexts["reduce"][0].output[0]
    ran = engine.run(
        Job(name="Only"), reduce=nop_reduce, sort=True, input=["disco://h:1/j/2/0"] * 2
    )
    assert [key for key, _ in ran.pairs] == ["a", "a", "b", "b", "b", "b"]


def test_nop_map_passes_pairs_on(engine: Any) -> None:
    first = engine.run(WordCount(), input=["raw://a"])
    engine.results["disco://h:1/j/2/0"] = first.contexts["reduce"][0].output[0]
    ran = engine.run(Job(name="Nop"), map=nop_map, input=["disco://h:1/j/2/0"])
    assert ran.pairs == [("a", 1)]


# --- params and names -------------------------------------------------------------------------


def test_every_task_has_its_own_copy_of_params(engine: Any) -> None:
    def numbered(entry: str, params: Any) -> list[tuple[str, int]]:
        params["seen"] += 1
        return [(word, params["seen"]) for word in entry.split()]

    params = {"seen": 0}
    ran = engine.run(
        Job(name="Copies"), map=numbered, params=params, input=["raw://a\nb", "raw://c"]
    )
    assert ran.pairs == [("a", 1), ("b", 2), ("c", 1)]
    assert params == {"seen": 0}


def test_functions_may_use_disco_s_names_without_importing_them(engine: Any) -> None:
    class Bare(Job):
        @staticmethod
        def map(entry: str, params: Any) -> Any:
            yield re.sub("x", "y", entry), bytes_to_str(b"z")  # type: ignore[name-defined]  # noqa: F821
            yield Task.stage, this_partition()  # type: ignore[name-defined]  # noqa: F821
            yield this_name(), this_inputs()  # type: ignore[name-defined]  # noqa: F821
            yield "params", Params(a=1).a

    ran = engine.run(Bare(), input=["raw://0", "raw://x"], partitions=None, reduce=None)
    assert ran.parts[1] == [
        ("y", "z"),
        ("map", 1),
        ("TestJob@1:2:3", ["raw://x"]),
        ("params", 1),
    ]


def test_a_reduce_knows_its_partition(engine: Any) -> None:
    def where(pairs: Any, params: Any) -> Any:
        yield Task.stage, this_partition()  # type: ignore[name-defined]  # noqa: F821

    ran = engine.run(
        WordCount(),
        input=["raw://a bb"],
        partitions=9,
        partition=lambda key, n, params: len(key),
        reduce=where,
    )
    assert ran.pairs == [("reduce", 1), ("reduce", 2)]


def test_functions_may_use_required_modules_without_importing_them(engine: Any) -> None:
    def rooted(entry: str, params: Any) -> Any:
        yield entry, math.sqrt(float(entry))  # type: ignore[name-defined]  # noqa: F821

    ran = engine.run(Job(name="M"), map=rooted, required_modules=["math"], input=["raw://4"])
    assert ran.pairs == [("4", 2.0)]


# --- streams ----------------------------------------------------------------------------------


def test_a_reader_may_take_params_as_its_fourth_argument(engine: Any, text: Text) -> None:
    def blocks(stream: Any, size: Any, url: str, params: Any) -> Iterator[bytes]:
        while block := stream.read(params.size):
            yield block

    ran = engine.run(
        Job(name="Blocks"),
        map=lambda entry, params: [(entry, 1)],
        map_reader=blocks,
        params=Params(size=4),
        input=[text("abcdefghij")],
    )
    assert [key for key, _ in ran.pairs] == [b"abcd", b"efgh", b"ij"]


def test_a_replica_that_fails_is_replaced_and_nothing_is_read_twice(
    engine: Any, text: Text
) -> None:
    def broken(stream: Any, size: Any, url: str) -> Iterator[bytes]:
        for number, line in enumerate(stream):
            if number == 2 and url.endswith("0.txt"):
                raise DataError("it broke", url)
            yield line

    replicas = [text("a\n", "b\n", "c\n"), text("a\n", "b\n", "c\n")]
    bad = [path for path in replicas if path.endswith("0.txt")] or [replicas[0]]
    ran = engine.run(WordCount(), map_reader=broken, input=[bad + replicas], reduce=None)
    assert [key for key, _ in ran.pairs] == [b"a", b"b", b"c"]


def test_if_all_replicas_fail_it_is_a_failure_of_the_data(engine: Any, text: Text) -> None:
    def broken(stream: Any, size: Any, url: str) -> Iterator[bytes]:
        yield from stream
        raise DataError("it broke", url)

    path = text("a\n")
    with pytest.raises(ProgramError) as caught:
        engine.run(WordCount(), map_reader=broken, input=[[path, path]])
    assert caught.value.failure.kind == "data"
    assert "none of the 2 replicas" in caught.value.failure.message
    assert caught.value.failure.message.count("it broke") == 2


def test_an_output_stream_of_the_user_s_wraps_the_task_s_output(engine: Any) -> None:
    from disco.worker.classic.func import map_output_stream

    class Shouting:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def add(self, key: str, value: int) -> None:
            self.stream.add(key.upper(), value)

    ran = engine.run(
        WordCount(),
        input=["raw://a b"],
        map_output_stream=(map_output_stream, lambda stream, label, url: Shouting(stream)),
        partitions=2,
    )
    assert sorted(ran.pairs) == [("A", 1), ("B", 1)]
