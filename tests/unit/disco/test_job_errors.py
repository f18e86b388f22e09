"""What an author is told: every message names the object, the value and the remedy."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from disco import Job, Stage
from disco.error import DataError, DiscoError
from disco.job_inputs import input_urls
from disco.submission import job_spec
from disco.util import kvgroup
from disco.worker.classic.func import sum_combiner
from disco.worker.classic.worker import Worker as ClassicWorker
from disco.worker.pipeline.worker import Worker as PipelineWorker
from disco.worker.task_io import task_input_stream
from disco_engine.program import ProgramError
from disco_engine.records.frozen import RecordError

Text = Callable[..., str]


def words(line: str, params: Any) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def run(engine: Any, **jobargs: Any) -> Any:
    return engine.run(Job(name="Job"), **{"input": ["raw://some words"], **jobargs})


def message_of(engine: Any, kind: type[Exception] = RecordError, **jobargs: Any) -> str:
    with pytest.raises(kind) as caught:
        run(engine, **jobargs)
    return str(caught.value)


def record_of(engine: Any, stage: str = "map") -> object:
    return engine.contexts[stage][0].current


# --- what user code returns and raises --------------------------------------------------------


@pytest.mark.parametrize("combiner", [None, sum_combiner])
def test_a_map_that_returns_nothing_to_iterate_over_is_named_with_what_it_returned(
    engine: Any, combiner: Any
) -> None:
    def careless(line: str, params: Any) -> Any:
        return len(line)

    message = message_of(engine, map=careless, combiner=combiner)
    where = f"careless (test_job_errors.py:{careless.__code__.co_firstlineno})"
    assert f"{where} returned 10 of type int: it must yield (key, value) pairs" in message
    assert record_of(engine) == "some words"


def test_a_map_that_forgets_to_return_is_told_so(engine: Any) -> None:
    message = message_of(engine, map=lambda line, params: None)
    assert "<lambda> (test_job_errors.py:" in message
    assert " returned None of type NoneType" in message


@pytest.mark.parametrize("combiner", [None, sum_combiner, lambda k, v, buf, done, params: None])
@pytest.mark.parametrize("item", [7, "abc", (1, 2, 3)])
def test_what_is_not_a_pair_is_shown(engine: Any, combiner: Any, item: Any) -> None:
    message = message_of(engine, map=lambda line, params: [item], combiner=combiner)
    assert message.startswith("<lambda> (test_job_errors.py:")
    assert f") yielded {item!r}, which is not a (key, value) pair" in message
    assert record_of(engine) == "some words"


def test_a_key_without_a_hash_cannot_be_combined(engine: Any) -> None:
    message = message_of(engine, map=lambda line, params: [([1], 1)], combiner=sum_combiner)
    assert "the pair ([1], 1)" in message
    assert "keys of type list cannot be combined, for they have no hash" in message


def test_a_value_that_cannot_be_added_is_shown(engine: Any) -> None:
    message = message_of(engine, map=lambda line, params: [("k", "v")], combiner=sum_combiner)
    assert "the pair ('k', 'v')" in message
    assert "unsupported operand" in message


def test_an_exception_in_the_map_leaves_as_it_is_with_the_record(engine: Any, text: Text) -> None:
    def picky(line: bytes, params: Any) -> Iterator[tuple[bytes, int]]:
        if line == b"bad\n":
            raise KeyError("no bad lines")
        yield line, 1

    path = text("good\n", "bad\n", "good\n")
    message = message_of(engine, KeyError, map=picky, input=[path])
    assert message == "'no bad lines'"
    assert record_of(engine) == b"bad\n"


def test_a_type_error_of_the_user_s_own_code_is_not_reworded(engine: Any) -> None:
    def wrong(line: str, params: Any) -> Any:
        yield line + 1, 1  # type: ignore[operator]

    message = message_of(engine, TypeError, map=wrong, combiner=sum_combiner)
    assert message == 'can only concatenate str (not "int") to str'


def test_an_exception_in_the_reduce_comes_with_the_pair_it_read_last(engine: Any) -> None:
    def reduce(pairs: Any, params: Any) -> Any:
        for key, _ in pairs:
            yield key, 1 / (key != "words")

    message_of(engine, ZeroDivisionError, map=words, reduce=reduce)
    assert record_of(engine, "reduce") == ("words", 1)


def test_an_exception_in_a_sorted_reduce_comes_with_the_key(engine: Any) -> None:
    def reduce(pairs: Any, params: Any) -> Any:
        for key, _ in kvgroup(pairs):
            yield key, 1 / (key != "words")

    message_of(engine, ZeroDivisionError, map=words, reduce=reduce, sort=True)
    assert record_of(engine, "reduce") == "words"


def test_what_a_reduce_or_combiner_yields_is_named_after_it(engine: Any) -> None:
    def reduce(pairs: Any, params: Any) -> Any:
        return ["ab"]

    def combiner(key: Any, value: Any, buf: Any, done: bool, params: Any) -> Any:
        return [5] if done else None

    assert message_of(engine, map=words, reduce=reduce).startswith("reduce (test_job_errors.py:")
    message = message_of(engine, map=words, combiner=combiner, reduce=reduce)
    assert message.startswith("combiner (test_job_errors.py:")


def test_with_output_streams_of_one_s_own_pairs_are_checked_alike(engine: Any) -> None:
    from disco.worker.task_io import task_output_stream

    def stream(out: Any, partition: Any, url: str, params: Any) -> Any:
        return out

    message = message_of(
        engine,
        map=lambda line, params: ["ab"],
        map_output_stream=[task_output_stream, stream],
    )
    assert "yielded 'ab', which is not a (key, value) pair" in message


def test_a_stop_iteration_of_the_map_is_an_error_and_not_the_end_of_the_input(
    engine: Any, text: Text
) -> None:
    def first(line: bytes, params: Any) -> Any:
        return [(next(iter(line.split())), 1)]

    with pytest.raises(RuntimeError, match=r"first \(test_job_errors.py:\d+\) raised StopIter"):
        run(engine, map=first, input=[text("a\n", "\n", "b\n")])
    assert record_of(engine) == b"\n"


@pytest.mark.parametrize("sort", [False, True])
def test_a_stop_iteration_of_a_later_stage_s_reader_is_an_error(engine: Any, sort: bool) -> None:
    def reader(stream: Any, size: Any, url: str, params: Any) -> Any:
        if "node-0" in url or sort:
            raise StopIteration
        return stream

    with pytest.raises((RuntimeError, StopIteration)):
        run(
            engine,
            map=words,
            reduce=lambda pairs, params: pairs,
            reduce_input_stream=[task_input_stream, reader],
            input=["raw://a b", "raw://c d"],
            sort=sort,
        )


def test_a_stop_iteration_of_the_first_stage_s_reader_is_an_error(engine: Any, text: Text) -> None:
    def reader(stream: Any, size: Any, url: str) -> Any:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        run(engine, map=words, map_reader=reader, input=[text("a\n")])


def test_a_reader_that_returns_nothing_is_told_so(engine: Any, text: Text) -> None:
    def careless(stream: Any, size: int, url: str) -> None:
        list(stream)

    with pytest.raises(RecordError, match=r"careless \(.*\) returned None: a stream function must"):
        run(engine, map=words, map_reader=careless, input=[text("a\n")])


def test_a_reduce_that_returns_nothing_is_told_so(engine: Any) -> None:
    message = message_of(engine, map=words, reduce=lambda pairs, params: None)
    assert "<lambda> (test_job_errors.py:" in message
    assert " returned None of type NoneType" in message


def test_an_exception_in_process_comes_with_the_record_it_read_last(engine: Any) -> None:
    def process(interface: Any, state: Any, label: int, lines: Any) -> None:
        for _ in lines:
            raise OSError("no luck")

    message_of(engine, OSError, pipeline=[("split", Stage("s", process=process))])
    assert record_of(engine, "s") == "some words"


def test_a_process_that_yields_is_told_how_to_emit(engine: Any) -> None:
    def process(interface: Any, state: Any, label: int, lines: Any) -> Any:
        yield 1, 2

    message = message_of(engine, pipeline=[("split", Stage("s", process=process))])
    assert "interface.output(label).add(key, value)" in message


@pytest.mark.parametrize("label", ["a", 1.5, None, [1]])
def test_a_label_that_is_not_an_integer_is_shown(engine: Any, label: Any) -> None:
    stage = Stage("s", process=lambda i, s, _, lines: i.output(label).add(1, 2))
    message = message_of(engine, pipeline=[("split", stage)])
    assert f"output of stage 's' gave the label {label!r}" in message
    assert "labels must be integers" in message


def test_a_partition_that_is_not_an_integer_is_shown(engine: Any) -> None:
    message = message_of(
        engine, map=words, partitions=2, partition=lambda key, n, params: f"no {key}"
    )
    assert "for the key 'some' gave the label 'no some' of type str" in message


@pytest.mark.parametrize("label", [None, float("nan"), float("inf"), "one"])
def test_a_partition_that_is_no_number_is_shown(engine: Any, label: Any) -> None:
    message = message_of(engine, map=words, partitions=2, partition=lambda key, n, params: label)
    assert f"for the key 'some' gave the label {label!r} of type" in message


def test_a_partition_that_is_a_whole_float_is_taken_as_disco_takes_it(engine: Any) -> None:
    ran = run(engine, map=words, partitions=2, partition=lambda key, n, params: 1.0)
    assert set(ran.contexts["map"][0].output) == {1}


def test_keys_that_cannot_be_ordered_are_shown(engine: Any) -> None:
    message = message_of(
        engine,
        map=lambda line, params: [(1, 1), ("a", 1)],
        reduce=lambda pairs, params: pairs,
        sort=True,
    )
    assert "'a'" in message
    assert "of one type, or leave sort off" in message
    assert engine.contexts["map"][0].current is engine.no_record  # it was any of them


def test_labels_that_input_hook_made_up_are_shown(engine: Any) -> None:
    stage = Stage("s", input_hook=lambda state, labels: [1, 1])
    message = message_of(engine, DiscoError, pipeline=[("split", stage)])
    assert "of stage 's' returned [1, 1]" in message


def test_bytes_cannot_be_read_from_another_job_s_result(engine: Any) -> None:
    engine.results["disco://h:1/j/1/0"] = []
    message = message_of(
        engine,
        DiscoError,
        map=words,
        map_reader=lambda stream, size, url: [stream.read()],
        input=["disco://h:1/j/1/0"],
    )
    assert "disco://h:1/j/1/0 holds the (key, value) records of a job, not bytes" in message


def test_lines_cannot_be_sorted(engine: Any) -> None:
    stage = Stage("s", sort=True, combine=True)
    message = message_of(engine, DiscoError, pipeline=[("group_all", stage)])
    assert "raw://some words has 'some words', not (key, value) pairs" in message


def test_user_code_cannot_hide_that_its_input_could_not_be_read(engine: Any, text: Text) -> None:
    def reader(stream: Any, size: Any, url: str) -> Iterator[bytes]:
        yield from stream
        raise DataError("it broke", url)

    def process(interface: Any, state: Any, label: int, lines: Any) -> None:
        with suppress(Exception):
            list(lines)

    stage = Stage("s", process=process, input_chain=[task_input_stream, reader])
    with pytest.raises(ProgramError, match="it broke"):
        run(engine, pipeline=[("split", stage)], input=[text("a\n")])


@pytest.mark.parametrize("inputs", [[""], ["raw://a", ["/a", ""]]])
def test_an_empty_input_is_counted(inputs: Any) -> None:
    with pytest.raises(DiscoError, match=f"input {len(inputs)} is empty: it must be a URL or path"):
        input_urls(inputs)


def test_an_input_that_no_message_can_hold_is_refused() -> None:
    with pytest.raises(DiscoError, match=r"input 2, 'a\\x00b', has a zero byte, which no name has"):
        input_urls(["raw://\0", "a\0b"])
    with pytest.raises(DiscoError, match=r"input 1, 'caf\\udce9', is not UTF-8: rename the file"):
        input_urls(["caf\udce9"])


@pytest.mark.parametrize(
    ("jobargs", "shown"),
    [
        ({"input": [["raw://x", "http://me:secret@host/a"]]}, r"input http://me:\*\*\*@host/a has"),
        ({"output": "ftp://me:secret@host/out"}, r"output ftp://me:\*\*\*@host/out has a password"),
    ],
)
def test_a_password_in_a_url_is_refused(jobargs: dict[str, Any], shown: str) -> None:
    with pytest.raises(DiscoError, match=shown):
        job_spec(Job(name="Job"), {"map": words, **jobargs}, name="Job")


@pytest.mark.parametrize(("name", "output"), [("caf\udce9", None), ("Job", "caf\udce9")])
def test_a_name_or_output_that_no_message_can_hold_is_refused(name: str, output: Any) -> None:
    with pytest.raises(DiscoError, match=r"'caf\\udce9' is not UTF-8: choose another"):
        job_spec(Job(name="Job"), {"map": words, "output": output}, name=name)


def test_no_input_at_all_gives_no_result(engine: Any) -> None:
    assert run(engine, map=words, reduce=lambda pairs, params: pairs, input=[]).pairs == []


# --- parameters that make no sense ------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobargs", "message"),
    [
        ({}, "job Job has neither a map nor a reduce (nor a pipeline)"),
        ({"map": words, "partitions": 0}, "partitions must be a whole number from 1 on, or None"),
        ({"map": words, "partitions": "2"}, "got '2'"),
        ({"map": 5}, "map must be a function map(entry, params), got 5"),
        ({"map": lambda a: a}, "map is called as map(entry, params), but"),
        ({"map": {"op": "program"}}, "or a dict of a program's files"),
        ({"map": words, "reduce": lambda a: a}, "reduce(pairs, params) or reduce(pairs, out, pa"),
        ({"map": words, "combiner": lambda a, b: a}, "combiner(key, value, buf, done, params)"),
        ({"map": words, "partition": lambda a: a}, "partition(key, partitions, params)"),
        (
            {"map": words, "map_reader": lambda fd: fd},
            "map_reader is called as f(stream, size, url)",
        ),
        ({"map": words, "map_input_stream": ["x"]}, "map_input_stream must be a function f(str"),
        ({"pipeline": []}, "pipeline must be a list of (grouping, Stage) pairs, at least one"),
        ({"pipeline": "abc"}, "pipeline must be a list of (grouping, Stage) pairs"),
        ({"pipeline": [Stage("s")]}, "Bad Stage: item 0 of the pipeline is Stage('s')"),
        ({"pipeline": [("split", words)]}, "Bad Stage: item 0"),
        ({"pipeline": [("splat", Stage("s"))]}, "Unknown grouping 'splat' of stage 's'; there are"),
        ({"pipeline": [("split", Stage("s"))] * 2}, "Repeated stage 's': give each stage"),
        (
            {"pipeline": [("split", Stage("s", process=lambda a: a))]},  # type: ignore[arg-type,misc]
            "process of stage 's' is called as process(interface, state, label, inp), but",
        ),
    ],
)
def test_parameters_that_make_no_sense_are_fatal_where_the_job_is_loaded(
    engine: Any, jobargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProgramError) as caught:
        engine.load(Job(name="Job"), **jobargs)
    assert caught.value.failure.kind == "fatal"
    assert message in caught.value.failure.message


def test_a_method_without_self_is_told_of_staticmethod(engine: Any) -> None:
    class Careless(Job):
        def map(line, params):  # type: ignore[no-untyped-def]
            yield line, 1

    with pytest.raises(ProgramError, match=r"takes 1 argument;.*write @staticmethod above it"):
        engine.load(Careless())


@pytest.mark.parametrize("worker", [ClassicWorker, PipelineWorker])
def test_an_unknown_parameter_is_answered_with_those_spelt_alike(worker: Any) -> None:
    with pytest.raises(DiscoError, match="unknown parameter 'ouput'; did you mean output"):
        worker(ouput="here")


def test_an_unknown_parameter_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(DiscoError, match="unknown parameter 'zzz'; there are allow_secrets, com"):
        ClassicWorker().check_names({"zzz": 1})
