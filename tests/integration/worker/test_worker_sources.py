"""Input comes through the worker's parent, complete or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.records.blocks import encode

if TYPE_CHECKING:
    from tests.integration.worker.conftest import Bench, Do, FakePartition

INFRASTRUCTURE = common_pb2.FAILURE_KIND_INFRASTRUCTURE

READ = """
from disco_engine.program import ProgramError
from disco_engine.records.blocks import decode

def reduce(context):
    for source in context.sources:
        for frame in source.frames():
            context.read(1, len(frame.data))
            print(source.name, frame.data[:1].decode(), frame.origin.task)

def half(context):
    for _ in range(2):
        frames = context.open_result(context.inputs[0].urls[1]).frames()
        print(next(frames).data[:1].decode())
        frames.close()

def careless(context):
    try:
        reduce(context)
    except Exception:
        pass

def decoding(context):
    for source in context.sources:
        for frame in source.frames():
            decode(frame)

def hiding(context):
    try:
        decoding(context)
    except Exception:
        pass

def hiding_by_another(context):
    try:
        decoding(context)
    except Exception:
        raise ValueError("something else")

def result(context):
    for frame in context.open_result(context.inputs[0].urls[1]).frames():
        decode(frame)

def both(context):
    opened = [source.frames() for source in context.sources]
    for frames in opened:
        next(frames)
"""


def source(
    service: FakePartition, expected: common_pb2.Totals, task: int | None = None
) -> coordinator_pb2.Source:
    return coordinator_pb2.Source(
        service=service.address, stage=1, label=3, expected=expected, task=task
    )


async def test_a_task_reads_its_sources_in_order(bench: Bench) -> None:
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    total = service.hold(b"a", b"b")
    await bench.worker()
    report = await coordinator.run(
        stage=2, sources=[source(service, total, task=7), source(service, total)]
    )
    line = "label 3 from ps-0"
    assert report.output == 2 * f"{line} a 7\n{line} b 7\n"
    assert (report.finished.records_in, report.finished.bytes_in) == (4, 4)
    by_task, by_label = service.fetches
    assert list(by_task.tasks.tasks) == [7]
    assert by_task.tasks.label == 3
    assert by_label.label == 3
    assert by_label.stage == 1
    assert by_label.job_uid == "job-1"


async def test_a_stream_that_breaks_is_resumed_where_it_broke(bench: Bench) -> None:
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    total = service.hold(b"a", b"b", b"c")
    service.break_after = [0, 2, 0]
    await bench.worker()
    report = await coordinator.run(stage=2, sources=[source(service, total)])
    assert [line.split()[-2] for line in report.output.splitlines()] == ["a", "b", "c"]
    assert [fetch.cursor for fetch in service.fetches] == [b"", b"", b"2", b"2"]


async def test_fewer_records_than_expected_are_never_a_short_result(bench: Bench) -> None:
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    service.hold(b"a", b"b", b"c", records=3)
    await bench.worker()
    expected = common_pb2.Totals(blocks=4, records=10, bytes=4)
    failure = (await coordinator.run(stage=2, sources=[source(service, expected)])).failed
    assert failure.kind == INFRASTRUCTURE
    assert failure.message == "label 3 from ps-0: expected 10 records, found 9"
    assert failure.input == "label 3 from ps-0"


async def test_user_code_cannot_swallow_that_its_input_is_incomplete(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    service.hold(b"a")
    await bench.worker()
    expected = common_pb2.Totals(blocks=1, records=2, bytes=1)
    report = await coordinator.run(
        stage=2, inputs=do("careless"), sources=[source(service, expected)]
    )
    assert report.failed.message == "label 3 from ps-0: expected 2 records, found 1"


@pytest.mark.parametrize("code", [grpc.StatusCode.ABORTED, grpc.StatusCode.DATA_LOSS])
async def test_what_the_service_no_longer_has_is_an_infrastructure_failure(
    bench: Bench, code: grpc.StatusCode
) -> None:
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    service.fetch_failure = (code, "says the test")
    await bench.worker()
    total = common_pb2.Totals(blocks=1, records=1, bytes=1)
    failure = (await coordinator.run(stage=2, sources=[source(service, total)])).failed
    assert failure.kind == INFRASTRUCTURE
    assert failure.message == f"label 3 from ps-0: cannot be read: {code.name}: says the test"


def damaged_frame() -> bytes:
    frame = bytearray(encode(["key"], [1]))
    frame[-1] ^= 0xFF
    return bytes(frame)


@pytest.mark.parametrize("function", ["decoding", "hiding", "hiding_by_another"])
async def test_a_damaged_frame_names_the_attempt_that_wrote_it_whatever_user_code_catches(
    bench: Bench, do: Do, function: str
) -> None:
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    total = service.hold(damaged_frame())
    await bench.worker()
    report = await coordinator.run(stage=2, inputs=do(function), sources=[source(service, total)])
    assert report.failed.kind == INFRASTRUCTURE
    assert report.failed.message.startswith("damaged input: label 3 from ps-0: frame of ")
    assert report.damaged == common_pb2.AttemptRef(stage=1, task=7, epoch=1, attempt=1)


async def test_damage_to_another_jobs_result_is_not_for_our_coordinator_to_repair(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    service.hold(damaged_frame())
    await bench.worker()
    inputs = [*do("result")]
    inputs[0].urls.append(f"disco://127.0.0.1:{service.port}/job-0/2/5")
    report = await coordinator.run(inputs=inputs)
    assert report.failed.kind == common_pb2.FAILURE_KIND_DATA
    assert report.failed.input == inputs[0].urls[1]
    assert not report.HasField("damaged")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, common_pb2.FAILURE_KIND_FATAL),  # nobody makes it again
        (grpc.StatusCode.UNAUTHENTICATED, common_pb2.FAILURE_KIND_FATAL),
        (grpc.StatusCode.ABORTED, INFRASTRUCTURE),  # another try reads from the start
    ],
)
async def test_another_jobs_result_that_is_gone_ends_the_job_and_says_what_to_do(
    bench: Bench, do: Do, code: grpc.StatusCode, kind: int
) -> None:
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    service.fetch_failure = (code, "says the test")
    await bench.worker()
    inputs = [*do("result")]
    inputs[0].urls.append(f"disco://127.0.0.1:{service.port}/job-0/2/5?label=-3")
    failure = (await coordinator.run(inputs=inputs)).failed
    assert failure.kind == kind
    assert failure.input == inputs[0].urls[1]
    assert f"cannot be read: {code.name}: says the test" in failure.message
    assert ("run that job again, or give it an output URL" in failure.message) == (
        kind != INFRASTRUCTURE
    )
    (fetch, *_) = service.fetches
    assert (list(fetch.tasks.tasks), fetch.tasks.label) == ([5], -3)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("disco://192.0.2.1:7/job-0/2/5", "the job's token must not travel there"),
        ("disco://host:7/ns/name/uid/0", "is a part that only its server can find"),
        ("disco://host:7/job-0", "is no part of a result"),
    ],
)
async def test_a_url_that_no_worker_may_read_is_refused(
    bench: Bench, do: Do, url: str, message: str
) -> None:
    coordinator = await bench.begin(READ)
    await bench.worker()
    inputs = [*do("result")]
    inputs[0].urls.append(url)
    failure = (await coordinator.run(inputs=inputs)).failed
    assert failure.kind == common_pb2.FAILURE_KIND_FATAL
    assert message in failure.message


async def test_the_result_of_another_job_is_read_and_may_be_left_half_read(
    bench: Bench, do: Do
) -> None:
    """64 MB in the way of a reader that wants one frame: the rest is not waited for."""
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    service.hold(*(64 * [b"x" * 1_000_000]))
    await bench.worker()
    url = f"disco://127.0.0.1:{service.port}/job-0/2/5"
    inputs = [*do("half")]
    inputs[0].urls.append(url)
    report = await coordinator.run(inputs=inputs)
    assert report.output == "x\nx\n"
    assert (await coordinator.run(inputs=do("nothing"))).HasField("finished")
    for fetch in service.fetches:
        assert (fetch.job_uid, fetch.stage, list(fetch.tasks.tasks)) == ("job-0", 2, [5])
        assert not fetch.tasks.HasField("label")


async def test_sources_are_read_one_after_the_other(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(READ)
    service = await bench.partition()
    total = service.hold(b"a", b"b")
    await bench.worker()
    sources = [source(service, total), source(service, total)]
    failure = (await coordinator.run(stage=2, inputs=do("both"), sources=sources)).failed
    assert "read them one after the other" in failure.message
    assert (await coordinator.run(inputs=do("nothing"))).HasField("finished")
