"""What a pipeline means: stages, their functions, and the five groupings."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from disco import Job, Stage, group_all, group_label, group_node, group_node_label, split
from disco.readers import text_lines
from disco.util import kvgroup
from disco.worker.pipeline.worker import TaskInfo
from disco.worker.pipeline.worker import Worker as PipelineWorker
from disco.worker.task_io import chain_reader, task_input_stream
from disco_engine.core.settings import JobSettings

Text = Callable[..., str]


def emit_words(interface: Any, state: Any, label: int, lines: Any) -> None:
    for line in lines:
        for word in line.split():
            interface.output(len(word)).add(word, 1)


def list_records(interface: Any, state: Any, label: int, records: Any) -> None:
    interface.output(0).add(label, [key for key, _ in records])


def pipeline(*stages: tuple[Any, Stage]) -> Job:
    job = Job(name="Pipeline")
    job.pipeline = list(stages)  # type: ignore[attr-defined]
    return job


WORDS = (split, Stage("words", process=emit_words))


def second(engine: Any, grouping: str, inputs: list[str], **details: Any) -> list[list[Any]]:
    """Return, per task of a second stage, what its calls of process got: (label, keys)."""
    stage = Stage("second", process=list_records, **details)
    parts: list[list[Any]] = engine.run(pipeline(WORDS, (grouping, stage)), input=inputs).parts
    return parts


# --- groupings (tasks alternate between two nodes: a and bb on node-0, a and ccc on node-1) -----

INPUTS = ["raw://a bb", "raw://a ccc"]


def test_split_makes_a_task_per_input_then_per_task_and_label(engine: Any) -> None:
    assert second(engine, "split", INPUTS) == [
        [(1, ["a"])],
        [(2, ["bb"])],
        [(1, ["a"])],
        [(3, ["ccc"])],
    ]


def test_group_label_makes_a_task_per_label_in_label_order(engine: Any) -> None:
    assert second(engine, "group_label", INPUTS, combine=True) == [
        [(1, ["a", "a"])],
        [(2, ["bb"])],
        [(3, ["ccc"])],
    ]


def test_group_node_makes_a_task_per_node(engine: Any) -> None:
    assert second(engine, "group_node", INPUTS) == [
        [(1, ["a"]), (2, ["bb"])],
        [(1, ["a"]), (3, ["ccc"])],
    ]


def test_group_node_label_makes_a_task_per_node_and_label(engine: Any) -> None:
    parts = second(engine, "group_node_label", INPUTS)
    assert sorted(parts) == [[(1, ["a"])], [(1, ["a"])], [(2, ["bb"])], [(3, ["ccc"])]]


def test_group_all_makes_one_task(engine: Any) -> None:
    assert second(engine, "group_all", INPUTS, combine=True) == [
        [(1, ["a", "a"]), (2, ["bb"]), (3, ["ccc"])]
    ]


def test_a_first_stage_may_have_one_task_for_all_inputs_which_are_not_cut(
    engine: Any, text: Text
) -> None:
    engine.settings = JobSettings(split_size_bytes=4)
    stage = Stage("all", process=lambda i, s, label, lines: i.output(0).add(label, list(lines)))
    ran = engine.run(pipeline((group_all, stage)), input=[text("one\n", "two\n"), text("three\n")])
    assert ran.parts == [[(0, [b"one\n", b"two\n"]), (0, [b"three\n"])]]


# --- the functions of a stage -----------------------------------------------------------------


def test_functions_are_called_in_the_order_init_input_hook_process_done(engine: Any) -> None:
    def init(interface: Any, params: Any) -> list[Any]:
        return ["init"]

    def hook(state: list[Any], labels: list[int]) -> list[int]:
        state.append(("input_hook", labels))
        return labels[::-1]

    def process(interface: Any, state: list[Any], label: int, records: Any) -> None:
        state.append(("process", label, list(records)))

    def done(interface: Any, state: list[Any]) -> None:
        interface.output(7).add("state", state)

    stage = Stage("calls", init=init, input_hook=hook, process=process, done=done)
    ran = engine.run(pipeline(WORDS, (group_all, stage)), input=["raw://bb a"])
    assert ran.pairs == [
        (
            "state",
            [
                "init",
                ("input_hook", [1, 2]),
                ("process", 2, [("bb", 1)]),
                ("process", 1, [("a", 1)]),
            ],
        )
    ]


def test_labels_that_input_hook_leaves_out_are_not_read(engine: Any) -> None:
    assert second(
        engine, "group_all", ["raw://a bb"], input_hook=lambda state, labels: labels[:1]
    ) == [[(1, ["a"])]]


def test_without_init_the_state_is_none_and_without_process_nothing_is_read(engine: Any) -> None:
    stage = Stage("none", done=lambda interface, state: interface.output(0).add("state", state))
    assert engine.run(pipeline((split, stage)), input=["raw://a"]).pairs == [("state", None)]


def test_without_combine_process_is_called_for_each_input(engine: Any) -> None:
    assert second(engine, "group_label", ["raw://a", "raw://a"]) == [[(1, ["a"]), (1, ["a"])]]


def test_sorted_records_come_in_key_order_and_are_grouped(engine: Any) -> None:
    def group(interface: Any, state: Any, label: int, records: Any) -> None:
        for key, values in kvgroup(records):
            interface.output(label).add(key, sum(values))

    stage = Stage("group", process=group, combine=True, sort=True)
    ran = engine.run(pipeline(WORDS, (group_label, stage)), input=["raw://b a b", "raw://aa a"])
    assert ran.plan.stages[1].sorted_input
    assert ran.parts == [[("a", 2), ("b", 2)], [("aa", 1)]]


def test_an_output_is_the_same_object_at_every_call_and_labels_may_be_negative(
    engine: Any,
) -> None:
    def process(interface: Any, state: Any, label: int, records: Any) -> None:
        output = interface.output(-5)
        output.add("same", output is interface.output(-5))

    ran = engine.run(pipeline((split, Stage("s", process=process))), input=["raw://a"])
    assert ran.pairs == [("same", True)]
    assert list(ran.contexts["s"][0].output) == [-5]


def test_a_stage_knows_the_task_it_runs(engine: Any) -> None:
    class Told(Stage):
        def process(self, interface: Any, state: Any, label: int, records: Any) -> None:
            interface.output(0).add("task", tuple(self.taskinfo or ()))

    ran = engine.run(pipeline(WORDS, (group_label, Told("told"))), input=["raw://bb"])
    assert ran.pairs == [("task", ("TestJob@1:2:3", "node-0", "told", (2, ""), 2))]
    assert TaskInfo._fields == ("jobname", "host", "stage", "group", "label")


def test_all_stages_get_the_params(engine: Any) -> None:
    def init(interface: Any, params: Any) -> Any:
        interface.output(0).add("params", params)

    stages = (split, Stage("one", init=init)), (group_all, Stage("two", init=init))
    assert engine.run(pipeline(*stages), params=17, input=["raw://a"]).pairs == [("params", 17)]


# --- chains -----------------------------------------------------------------------------------


def test_an_input_chain_makes_records_of_the_first_stage_s_inputs(engine: Any, text: Text) -> None:
    def pairs(stream: Any, size: Any, url: str, params: Any) -> Iterator[tuple[str, str]]:
        for line in stream:
            key, value = line.decode().split()
            yield key, value

    stage = Stage("s", process=list_records, input_chain=[task_input_stream, pairs])
    ran = engine.run(pipeline((split, stage)), input=[text("a 1\n", "b 2\n")])
    assert ran.pairs == [(0, ["a", "b"])]


def test_a_file_is_cut_only_for_chains_of_splittable_readers(engine: Any, text: Text) -> None:
    engine.settings = JobSettings(split_size_bytes=10)
    path = text(*["12345678\n"] * 10)

    def count(interface: Any, state: Any, label: int, lines: Any) -> None:
        interface.output(0).add("lines", sum(1 for _ in lines))

    def tasks(*chain: Any) -> list[int]:
        stage = Stage("count", process=count, input_chain=list(chain))
        return [lines for _, lines in engine.run(pipeline((split, stage)), input=[path]).pairs]

    assert tasks() == tasks(task_input_stream, text_lines)
    assert len(tasks()) == 9
    assert sum(tasks()) == 10
    assert tasks(task_input_stream, lambda stream, size, url: stream) == [10]


def test_later_stages_may_filter_their_records_in_a_chain(engine: Any) -> None:
    def short(stream: Any, size: Any, url: str) -> Iterator[Any]:
        return (pair for pair in stream if len(pair[0]) < 2)

    parts = second(
        engine,
        "group_all",
        ["raw://a bb"],
        input_chain=[task_input_stream, chain_reader, short],
    )
    assert parts == [[(1, ["a"]), (2, [])]]


def test_a_first_stage_reads_the_pairs_of_another_job_s_result(engine: Any) -> None:
    first = engine.run(pipeline(WORDS), input=["raw://a a"])
    engine.results["disco://h:1/j/1/0"] = first.contexts["words"][0].output[1]
    ran = engine.run(
        pipeline((group_all, Stage("s", process=list_records))), input=["disco://h:1/j/1/0"]
    )
    assert ran.pairs == [(0, ["a", "a"])]


# --- ways to write a pipeline -----------------------------------------------------------------


def test_a_pipeline_may_be_a_class_attribute_with_functions_of_the_class_body(
    engine: Any,
) -> None:
    class Upper(Job):
        def upper(interface: Any, state: Any, label: int, lines: Any) -> None:
            for line in lines:
                interface.output(0).add(line.upper(), label)

        pipeline = [("split", Stage("upper", process=upper), True)]  # noqa: RUF012

    assert engine.run(Upper(), input=["raw://a"]).pairs == [("A", 0)]


def test_a_pipeline_may_come_with_the_worker(engine: Any) -> None:
    worker = PipelineWorker(pipeline=[WORDS])
    assert engine.run(Job(name="W", worker=worker), input=["raw://a"]).pairs == [("a", 1)]


def test_dir_urls_make_a_task_per_line_with_its_label(engine: Any, text: Text) -> None:
    index = text("7 raw://seven 5\n", "3 raw://three 5\n")
    stage = Stage("s", process=lambda i, s, label, lines: i.output(0).add(label, list(lines)))
    ran = engine.run(pipeline((group_label, stage)), input=[f"dir://{index}"])
    assert ran.parts == [[(3, ["three"])], [(7, ["seven"])]]


@pytest.mark.parametrize("grouping", [split, group_label, group_node, group_node_label, group_all])
def test_a_stage_without_input_has_no_task(engine: Any, grouping: Any) -> None:
    ran = engine.run(pipeline((split, Stage("nothing")), (grouping, Stage("s"))), input=["raw://a"])
    assert ran.contexts["s"] == []
