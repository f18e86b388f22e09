"""Every name is where programs import it from, with Disco's parameters and defaults."""

import importlib
import inspect
from typing import Any

import pytest

from disco.core import Disco
from disco.job import Job
from disco.worker.classic import worker as classic
from disco.worker.pipeline import worker as pipeline

NAMES = {
    "disco": "JOBPACK_VERSION1 JOBPACK_VERSION2",
    "disco.core": "Disco client_version result_iterator",
    "disco.job": "Job JobChain JobPack PackedJobPack SimpleJob",
    "disco.worker": (
        "BaseOutput DISCO_WORKER_MAX_TIME IDedInput Input InputIter MergedInput MessageWriter"
        " Output ParallelInput Params ReplicaIter SerialInput Worker active_task"
    ),
    "disco.worker.simple": "Worker",
    "disco.worker.classic.worker": (
        "Params Task Worker external get os put sys this_host this_inputs this_master this_name"
        " this_partition util worker"
    ),
    "disco.worker.classic.func": (
        "CommError DataError DiscoError JobError bytes_to_str chain_reader combiner"
        " default_partition gzip_line_reader gzip_reader init make_range_partition map"
        " map_input_stream map_output_stream noop nop_map nop_reduce notifier partition"
        " pickle_dumps pickle_loads re re_reader reduce reduce2 reduce_input_stream"
        " reduce_output_stream str_to_bytes sum_combiner sum_reduce task_input_stream"
        " task_output_stream"
    ),
    "disco.func": "chain_reader nop_map sum_reduce",
    "disco.worker.pipeline.worker": "Stage TaskInfo Worker input_hook",
    "disco.worker.task_io": (
        "DiscoPlainOut StreamCombiner chain_reader chain_stream default_stream disco_input_stream"
        " disco_output_stream gzip_line_reader gzip_line_stream gzip_reader gzip_stream"
        " old_netstr_reader plain_output_stream re_reader string_input_stream task_input_stream"
        " task_output_stream"
    ),
    "disco.worker.modutil": (
        "ModUtilImportError find_modules locate_modules parse_function recurse_module user_paths"
    ),
    "disco.worker.classic.modutil": "find_modules locate_modules parse_function",
    "disco.schemes": "import_scheme input_stream open open_chain",
    "disco.util": (
        "argcount assert_url chainify decode deref disk_sort dsorted encode external flatten"
        " format_size globalize hexhash identity ilen inputexpand inputlist isiterable iskv"
        " ispartitioned iterify jobname key kvgroup kvify listify localize netloc parse_dir"
        " partition proxy_url read_index reify save_oob load_oob"
        " schemesplit shuffled sort_reader unix_sort urljoin"
        " urlresolve urlsplit urltoken"
    ),
    "disco.ddfs": "DDFS InvalidTag canonizetag istag relativizetag tagname",
    "disco.task": "Task",
    "disco.error": "CommError DataError DiscoError JobError",
    "disco.settings": "DiscoSettings",
    "disco.fileutils": (
        "AtomicFile CHUNK_SIZE Chunker DiscoOutput DiscoOutputStream DiscoOutputStream_v0"
        " DiscoOutputStream_v1 DiscoZipFile HUNK_SIZE MAX_RECORD_SIZE MB MIN_DISK_SPACE Wait"
    ),
    "disco.comm": ("Connection File download open_local open_remote open_url request upload"),
    "disco.compat": (
        "BytesIO StringIO UnpicklingError basestring bytes_of_int bytes_to_str file force_ascii"
        " force_utf8 http_server httplib int_of_byte integer_types pickle_dump pickle_dumps"
        " pickle_load pickle_loads socket_server sort_cmd str_to_bytes urlencode zip_longest"
    ),
    "disco.dPickle": "dump dumps load loads",
    "disco.eventmonitor": "EventMonitor",
    "disco.events": "EventMonitor",
    "disco.sysutil": "set_mem_limit",
    "disco.test": "FailedReply TestCase TestJob TestPipe TestRunner TestServer",
}


@pytest.mark.parametrize(
    "name", [f"{module}.{name}" for module, names in NAMES.items() for name in names.split()]
)
def test_names_are_where_disco_has_them(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


SCHEMES = ["ddfs", "dir", "disco", "file", "hdfs", "http", "https", "raw", "s3", "tag", "url"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_has_a_module(scheme: str) -> None:
    module = importlib.import_module(f"disco.schemes.scheme_{scheme}")
    assert callable(module.open)
    assert callable(module.input_stream)


FUNC = importlib.import_module("disco.worker.classic.func")

CLASSIC: dict[str, Any] = {
    "map": None,
    "map_init": FUNC.init,
    "map_reader": None,
    "map_input_stream": (FUNC.map_input_stream,),
    "map_output_stream": (FUNC.map_output_stream, FUNC.disco_output_stream),
    "map_shuffle": None,
    "reduce_shuffle": None,
    "shuffle": None,
    "combiner": None,
    "partition": FUNC.default_partition,
    "partitions": 1,
    "reduce": None,
    "reduce_init": FUNC.init,
    "reduce_reader": FUNC.chain_reader,
    "reduce_input_stream": (FUNC.reduce_input_stream,),
    "reduce_output_stream": (FUNC.reduce_output_stream, FUNC.disco_output_stream),
    "ext_params": {},
    "params": classic.Params(),
    "sort": False,
    "sort_buffer_size": "10%",
    "status_interval": 100_000,
    "save_results": False,
    "save_info": "ddfs",
    "profile": False,
    "required_files": {},
    "required_modules": None,
    "scheduler": {},
    "name": None,
    "owner": None,
}


@pytest.mark.parametrize("parameter", CLASSIC)
def test_parameters_of_classic_jobs_have_disco_s_defaults(parameter: str) -> None:
    assert classic.Worker()[parameter] == CLASSIC[parameter]


def test_the_worker_s_python_is_this_one() -> None:
    assert classic.Worker()["version"] == "{}.{}".format(
        *importlib.import_module("sys").version_info
    )


def test_streams_have_several_names() -> None:
    assert FUNC.map_input_stream is FUNC.reduce_input_stream is FUNC.task_input_stream
    assert FUNC.map_output_stream is FUNC.reduce_output_stream is FUNC.task_output_stream


def test_a_stage_of_a_pipeline_needs_nothing() -> None:
    stage = pipeline.Stage()
    assert (stage.name, stage.init, stage.process, stage.done) == ("", None, None, None)
    assert (list(stage.input_chain), list(stage.output_chain)) == ([], [])
    assert (stage.combine, stage.sort, stage.taskinfo) == (False, False, None)
    assert stage.input_hook("state", [2, 1]) == [2, 1]
    assert pipeline.TaskInfo._fields == ("jobname", "host", "stage", "group", "label")


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (Disco, "master=None settings=None proxy=None"),
        (Disco.wait, "self jobname poll_interval=2 timeout=None clean=False show=None"),
        (Disco.results, "self jobspec timeout=2000"),
        (Disco.events, "self jobname offset=0"),
        (Job, "name=None master=None worker=None settings=None"),
        (classic.Worker.input, "self task merged=False"),
        (classic.Worker.output, "self task label=None"),
        (FUNC.make_range_partition, "min_val max_val"),
    ],
)
def test_functions_take_what_disco_s_take(function: Any, signature: str) -> None:
    """Others of our own may follow, but not stand between them."""
    found = []
    for parameter in inspect.signature(function).parameters.values():
        default = "" if parameter.default is parameter.empty else f"={parameter.default}"
        if parameter.kind is not parameter.VAR_KEYWORD:
            found.append(f"{parameter.name}{default}")
    assert found[: len(signature.split())] == signature.split()


def test_parameters_are_looked_up_in_arguments_then_the_job_then_the_worker() -> None:
    class Mine(Job):
        partitions = 2
        status_interval = 5

    worker = classic.Worker(partitions=3, status_interval=6, sort=True)
    arguments = {"partitions": 1}
    assert worker.getitem("partitions", Mine(), arguments) == 1
    assert worker.getitem("status_interval", Mine(), arguments) == 5
    assert worker.getitem("sort", Mine(), arguments) is True
    assert worker.getitem("nothing", Mine(), arguments, "default") == "default"
