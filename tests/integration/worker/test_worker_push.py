"""Output goes to the partition service before the attempt is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from disco.v1 import common_pb2, partition_pb2
from disco_engine.core import label_table
from disco_engine.records.blocks import Frame, decode
from disco_engine.wire import attempt_from_wire

if TYPE_CHECKING:
    from tests.integration.worker.conftest import Bench, Do

INFRASTRUCTURE = common_pb2.FAILURE_KIND_INFRASTRUCTURE

WRITE = """
def write(context):
    writer = context.writer()
    for number in range(10):
        writer.add(number % 2, "key", number)

def too_much(context):
    context.writer().add(7, "key", os.urandom(65 * 1024 * 1024))

def fill(context):
    writer = context.writer()
    for number in range(40):
        writer.add(0, number, os.urandom(1_000_000))
"""


async def test_an_attempt_is_reported_when_the_service_has_all_of_it(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WRITE)
    service = await bench.partition()
    service.open_gate.clear()
    await bench.worker()
    task = coordinator.task(inputs=do("write"), push_to=service.address, layout=1)
    quick = coordinator.task(inputs=do("nothing"), push_to=service.address, layout=1)
    coordinator.assign(task, quick)
    await coordinator.report_of(quick)  # wrote nothing, so it waits for nobody
    attempt = attempt_from_wire(task.attempt)
    assert attempt not in coordinator.reports
    service.open_gate.set()
    result = (await coordinator.report_of(task)).finished
    labels = label_table.unpack(result.label_table)
    assert {label: totals.records for label, totals in labels.items()} == {0: 5, 1: 5}
    blocks = service.blocks[attempt]
    assert service.complete[attempt] == common_pb2.Totals(
        blocks=len(blocks), records=10, bytes=sum(len(block.frame) for block in blocks)
    )
    values = [v for block in blocks for v in decode(Frame(block.frame)).values]
    assert sorted(values) == list(range(10))


async def test_many_small_outputs_travel_in_few_messages_on_one_stream(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WRITE)
    service = await bench.partition()
    await bench.worker()
    tasks = [
        coordinator.task(inputs=do("write"), push_to=service.address, layout=1) for _ in range(300)
    ]
    coordinator.assign(*tasks)
    for task in tasks:
        assert (await coordinator.report_of(task)).HasField("finished")
    assert service.push_streams == 1
    assert service.push_messages < 150
    assert len(coordinator.report_messages) < 150


async def test_a_slot_waits_while_the_service_takes_no_more(bench: Bench, do: Do) -> None:
    """Two tasks of 40 MB: neither is held in the worker as a whole."""
    coordinator = await bench.begin(WRITE)
    service = await bench.partition()
    service.open_gate.clear()
    worker = await bench.worker(slots=2)
    tasks = [
        coordinator.task(inputs=do("fill"), push_to=service.address, layout=1) for _ in range(2)
    ]
    coordinator.assign(*tasks)
    beats = coordinator.heartbeats
    await coordinator.until(lambda: coordinator.heartbeats > beats + 5)
    assert worker.peak_kib < 150 * 1024
    service.open_gate.set()
    for task in tasks:
        result = (await coordinator.report_of(task)).finished
        assert label_table.total(result.label_table).records == 40


async def test_a_record_that_fits_into_no_message_is_the_users_failure(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WRITE)
    service = await bench.partition()
    await bench.worker()
    report = await coordinator.run(inputs=do("too_much"), push_to=service.address, layout=1)
    assert report.failed.kind == common_pb2.FAILURE_KIND_USER
    assert report.failed.message == (
        "a record with the label 7 takes 65 MiB, but the most is 64 MiB: write smaller records"
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (partition_pb2.PUSH_STATUS_DISK_FULL, "says the test"),
        (partition_pb2.PUSH_STATUS_REFUSED, "refused by ps-0: says the test"),
        (partition_pb2.PUSH_STATUS_INCOMPLETE, "blocks did not arrive at ps-0: says the test"),
    ],
)
async def test_what_a_service_does_not_take_is_an_infrastructure_failure(
    bench: Bench, do: Do, status: partition_pb2.PushStatus.ValueType, message: str
) -> None:
    coordinator = await bench.begin(WRITE)
    service = await bench.partition()
    service.answer = status
    await bench.worker()
    report = await coordinator.run(inputs=do("write"), push_to=service.address, layout=1)
    assert report.failed.kind == INFRASTRUCTURE
    assert report.failed.message == message


async def test_when_the_push_stream_breaks_its_attempts_fail_and_the_next_gets_a_new_one(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WRITE)
    service = await bench.partition()
    service.open_gate.clear()
    await bench.worker()
    task = coordinator.task(inputs=do("write"), push_to=service.address, layout=1)
    quick = coordinator.task(inputs=do("nothing"))
    coordinator.assign(task, quick)
    await coordinator.report_of(quick)
    await service.stop()
    failure = (await coordinator.report_of(task)).failed
    assert failure.kind == INFRASTRUCTURE
    assert failure.message.startswith("the push to ps-0 broke: ")
    again = await bench.partition(service.port)
    report = await coordinator.run(inputs=do("write"), push_to=again.address, layout=1)
    assert report.HasField("finished")


async def test_an_attempt_with_a_copy_is_reported_when_both_services_have_all_of_it(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(WRITE)
    first, second = await bench.partition(), await bench.partition(name="ps-1")
    second.open_gate.clear()
    await bench.worker()
    places: dict[str, Any] = {"push_to": first.address, "copy_to": second.address, "layout": 1}
    task = coordinator.task(inputs=do("write"), **places)
    attempt = attempt_from_wire(task.attempt)
    coordinator.assign(task)
    await first.until(lambda: attempt in first.complete)
    assert attempt not in coordinator.reports
    second.open_gate.set()
    assert (await coordinator.report_of(task)).HasField("finished")
    assert second.complete == first.complete
    assert second.blocks == first.blocks


async def test_an_attempt_whose_copy_cannot_be_pushed_goes_on_without(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WRITE)
    first, second = await bench.partition(), await bench.partition(name="ps-1")
    second.answer = partition_pb2.PUSH_STATUS_DISK_FULL
    await bench.worker()
    places: dict[str, Any] = {"push_to": first.address, "copy_to": second.address, "layout": 1}
    assert (await coordinator.run(inputs=do("write"), **places)).HasField("finished")
    assert len(first.complete) == 1


async def test_an_attempt_that_only_its_copy_reached_fails(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(WRITE)
    first, second = await bench.partition(), await bench.partition(name="ps-1")
    first.answer = partition_pb2.PUSH_STATUS_DISK_FULL
    await bench.worker()
    places: dict[str, Any] = {"push_to": first.address, "copy_to": second.address, "layout": 1}
    report = await coordinator.run(inputs=do("write"), **places)
    assert report.failed.kind == INFRASTRUCTURE


async def test_a_slot_waits_for_the_slower_of_two_services(bench: Bench, do: Do) -> None:
    """40 MB, of which one service takes all at once, and the other nothing for a while."""
    coordinator = await bench.begin(WRITE)
    first, second = await bench.partition(), await bench.partition(name="ps-1")
    second.open_gate.clear()
    worker = await bench.worker()
    places: dict[str, Any] = {"push_to": first.address, "copy_to": second.address, "layout": 1}
    task = coordinator.task(inputs=do("fill"), **places)
    coordinator.assign(task)
    beats = coordinator.heartbeats
    await coordinator.until(lambda: coordinator.heartbeats > beats + 5)
    assert worker.peak_kib < 150 * 1024
    second.open_gate.set()
    assert (await coordinator.report_of(task)).HasField("finished")
    assert second.complete == first.complete
