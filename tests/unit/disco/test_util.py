"""The small helpers that programs written for Disco use."""

import functools
import importlib
import math
from typing import Any

import pytest

import disco.worker
from disco import util
from disco.error import CommError, DataError, DiscoError, JobError
from disco.worker.params import Params, ParamsCopies


def test_kvgroup_groups_adjacent_keys() -> None:
    pairs = [("a", 1), ("a", 2), ("b", 3), ("a", 4)]
    assert [(key, list(values)) for key, values in util.kvgroup(pairs)] == [
        ("a", [1, 2]),
        ("b", [3]),
        ("a", [4]),
    ]


def test_strings_are_no_collections() -> None:
    assert util.iterify("ab") == ("ab",)
    assert util.iterify([1]) == [1]
    assert util.listify(7) == [7]
    assert util.listify((1, 2)) == [1, 2]
    assert list(util.flatten([1, ["ab", (2, [3])]])) == [1, "ab", 2, 3]
    assert util.chainify([[1], [2, 3]]) == [1, 2, 3]


def test_pairs_are_told_from_other_values() -> None:
    assert util.iskv(("a", 1))
    assert not util.iskv(["a", 1])
    assert util.kvify("a") == ("a", None)
    assert util.kvify(("a", 1)) == ("a", 1)
    assert util.key(("a", 1)) == "a"


def test_partition_keeps_the_order_on_both_sides() -> None:
    assert util.partition(range(5), lambda number: number % 2) == ([1, 3], [0, 2, 4])


def test_the_rest_does_what_its_name_says() -> None:
    assert util.ilen(iter("abc")) == 3
    assert list(util.dsorted([1, 3, 2], buffer_size=2)) == [1, 2, 3]
    assert sorted(util.shuffled([1, 2, 3])) == [1, 2, 3]
    assert util.identity("x") == "x"
    assert util.hexhash(b"x") == util.hexhash(b"x")
    assert util.format_size(1536) == "1.5 KB"
    assert util.inputlist(["a", ("b", "c")]) == ["a", ["b", "c"]]


def test_reify_makes_values_of_texts() -> None:
    assert util.reify("math.pi") == math.pi
    assert util.reify("[1, 2]") == [1, 2]
    assert util.reify("plain") == "plain"
    assert util.reify("no.such.thing") == "no.such.thing"
    assert util.reify("name", {"name": 7}) == 7


def test_argcount_counts_what_a_caller_passes() -> None:
    def three(a: Any, b: Any, c: Any) -> None: ...

    class Callable:
        def method(self, a: Any) -> None: ...

        def __call__(self, a: Any, b: Any) -> None: ...

    assert util.argcount(three) == 3
    assert util.argcount(functools.partial(three, 1)) == 2
    assert util.argcount(functools.partial(three, c=1)) == 2
    assert util.argcount(Callable().method) == 1
    assert util.argcount(Callable()) == 2
    assert util.argcount(len) == 1


def test_globalize_gives_names_that_are_missing_and_keeps_the_others() -> None:
    names: dict[str, Any] = {"kept": "mine"}
    exec("def function():\n    return kept, given", names)
    util.globalize(functools.partial(names["function"]), {"kept": "theirs", "given": "given"})
    util.globalize(len, {"given": 1})
    assert names["function"]() == ("mine", "given")


def test_urls_are_taken_apart_and_put_together() -> None:
    url = "disco://host:8989/uid/1/2"
    assert util.schemesplit("a/b") == ("", "a/b")
    assert util.urlsplit(url) == ("disco", ("host", "8989"), "uid/1/2")
    assert util.urljoin(util.urlsplit(url)) == url
    assert util.jobname(url) == "uid"
    with pytest.raises(DiscoError, match="'http://host/x' is not a result of a job"):
        util.jobname("http://host/x")


def test_errors_say_what_they_are_about() -> None:
    assert issubclass(CommError, DataError)
    assert issubclass(JobError, DiscoError)
    assert str(DataError("gone", "http://h/x", 404)) == (
        "Unable to access resource (http://h/x): gone (404)"
    )
    assert str(JobError("name@1:2:3", "no luck")) == "Job name@1:2:3 failed: no luck"


def test_params_are_a_bag_of_values() -> None:
    params = Params(a=1)
    params.b = 2
    assert params == Params(a=1, b=2)
    assert repr(params) == "Params(a=1, b=2)"


def test_each_copy_of_params_is_as_the_job_gave_them() -> None:
    given = Params(seen=[])
    copies = ParamsCopies(given)
    copies.copy().seen.append(1)
    assert copies.copy().seen == []
    empty = ParamsCopies(Params())
    empty.copy().changed = True
    assert empty.copy() == Params()
    assert ParamsCopies("text").copy() == "text"


@pytest.mark.parametrize(
    "name",
    [
        "disco.core.Disco",
        "disco.core.client_version",
        "disco.core.result_iterator",
        "disco.job.Job",
        "disco.job.JobChain",
        "disco.func.nop_map",
        "disco.func.sum_reduce",
        "disco.worker.Params",
        "disco.worker.Worker",
        "disco.worker.classic.func.chain_reader",
        "disco.worker.classic.func.make_range_partition",
        "disco.worker.classic.worker.Params",
        "disco.worker.classic.worker.Worker",
        "disco.worker.classic.worker.this_partition",
        "disco.worker.pipeline.worker.Stage",
        "disco.worker.pipeline.worker.TaskInfo",
        "disco.worker.pipeline.worker.Worker",
        "disco.worker.task_io.chain_stream",
        "disco.worker.task_io.plain_output_stream",
        "disco.schemes.import_scheme",
        "disco.task.Task",
        "disco.util.kvgroup",
        "disco.error.DataError",
        "disco.settings.DiscoSettings",
        "disco.compat.bytes_to_str",
    ],
)
def test_names_are_where_disco_has_them(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_outside_of_a_job_there_is_no_task() -> None:
    from disco.worker.classic.worker import Task, this_name

    assert disco.worker.active_task is None
    assert repr(Task) == "<no task>"
    with pytest.raises(DiscoError, match="no task runs here"):
        this_name()
