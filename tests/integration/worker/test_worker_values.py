"""What tasks put beside records goes with the report; what others put, the worker asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from disco.v1 import common_pb2

from .test_worker_sources import source

if TYPE_CHECKING:
    from tests.integration.worker.conftest import Bench, Do

USE = """
def putting(context):
    context.values.put("b", b"1")
    context.values.put("a", b"2")
    context.values.put("b", b"3")

def asking(context):
    read = []
    for source in context.sources:
        for frame in source.frames():
            read.append(frame.data.decode()[:1])
            read.append((context.values.get("k") or b"?").decode())
    print("".join(read), context.values.get("nobody"))

def careless(context):
    try:
        context.values.get("k")
    except Exception:
        context.values.put("k", b"instead")

def telling(context):
    context.status("one")
    context.status("the last")
"""


async def test_values_come_with_the_report_each_key_once(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(USE)
    await bench.worker()
    report = await coordinator.run(inputs=do("putting"))
    assert [(v.key, v.value) for v in report.finished.values] == [("b", b"3"), ("a", b"2")]
    assert coordinator.asked == []


async def test_a_task_asks_in_the_middle_of_its_input_and_misses_none_of_that(
    bench: Bench, do: Do
) -> None:
    """Input that is on its way while it asks waits for it in the slot."""
    coordinator = await bench.begin(USE)
    service = await bench.partition()
    total = service.hold(*(letter * 200_000 for letter in (b"a", b"b", b"c", b"d")))
    coordinator.values["k"] = b"-"
    coordinator.refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION]
    await bench.worker()
    sources = [source(service, total), source(service, total)]
    report = await coordinator.run(stage=2, inputs=do("asking"), sources=sources)
    assert report.output == "a-b-c-d-" * 2 + " None\n"
    assert coordinator.asked == ["k", "k", "k", "nobody"]


async def test_an_attempt_that_could_not_ask_fails_whatever_its_code_does(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(USE)
    coordinator.refusals = [grpc.StatusCode.UNIMPLEMENTED]
    await bench.worker()
    report = await coordinator.run(inputs=do("careless"))
    assert report.failed.kind == common_pb2.FAILURE_KIND_INFRASTRUCTURE
    assert "does not tell the value 'k': UNIMPLEMENTED: not now" in report.failed.message


async def test_the_last_status_of_a_short_task_comes_with_its_report(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(USE)
    coordinator.heartbeat_s = 3600
    await bench.worker()
    assert (await coordinator.run(inputs=do("telling"))).status == "the last"
