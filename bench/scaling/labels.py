"""Thousands of tasks times a thousand labels in one partition service: files, memory, time.

The design's bounds: no file per label, and memory for tasks and labels, not for their product. What
grows with the product is on disk, and is read once, by a coordinator or a service that starts.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from disco.v1 import common_pb2, coordinator_pb2, partition_pb2
from disco_engine.core import label_table
from disco_engine.core.model import AttemptId, NodeName, ServiceId, Totals
from disco_engine.core.outputs import StageOutputs
from disco_engine.core.settings import MIB
from disco_engine.partition.store import Limits
from disco_engine.results import read_label
from disco_engine.wire import attempt_to_wire, result_from_wire, totals_to_wire
from scaling.processes import Sampler
from scaling.service import EPOCH, JOB_UID, TOKEN, Service, running_service
from scaling.table import Row, at_most

STAGE = 1
BATCH = 50
"""Attempts that are pushed before they are sealed."""
READ = 20
"""Labels that are read."""
REPORTS = 50
"""Reports that a coordinator counts."""
FILES = 10
"""A log, a journal, and what a Python process with gRPC has open besides: a few dozen at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--tasks", type=int, default=5_000, help="default 5,000")
    parser.add_argument("--labels", type=int, default=1_000, help="default 1,000")
    parser.add_argument("--bytes", type=int, default=200, help="of a block (default 200)")


def run(options: argparse.Namespace) -> Iterator[Row]:
    """Fill a service, read from it, start it again; yield what each took."""
    tasks = options.tasks // 10 if options.quick else options.tasks
    labels, size = options.labels, options.bytes
    blocks = tasks * labels
    yield from counted(labels)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Sampler() as sampler, running_service(directory) as service:
            service.attach()
            usage = sampler.of("partition service")[0]
            empty_bytes, before_s = usage.peak_bytes, usage.cpu_s
            began = time.monotonic()
            fill(service, tasks, labels, size)
            seconds = time.monotonic() - began
            time.sleep(0.2)  # for the sampler to look again
            pushed_s = usage.cpu_s - before_s
            yield Row(
                f"{tasks:,} tasks x {labels:,} labels, {size} bytes each: pushed and sealed",
                f"{seconds:.1f} s, {blocks / seconds:,.0f} blocks/s",
            )
            yield Row("service's processor time per block", f"{1e6 * pushed_s / blocks:.1f} µs")
            yield at_most("files of the service", len(os.listdir(directory / "data")), FILES)
            yield at_most("open descriptors of the service", usage.descriptors, 5 * FILES)
            # Twice the buffer: blocks on their way in and out, and what the allocator keeps.
            bound = empty_bytes + 2 * Limits().memory_bytes + 2_000 * (tasks + labels)
            yield at_most("memory of the service", usage.peak_bytes / 1e6, bound / 1e6, "MB")
            yield from read(service, tasks, labels)
            time.sleep(0.2)
            began = time.monotonic()
            told = service.attach()
            seconds = time.monotonic() - began
            yield Row(f"inventory of {told:,} attempts for a new coordinator", f"{seconds:.1f} s")
            yield at_most(
                "memory of the service, after all that", usage.peak_bytes / 1e6, bound / 1e6, "MB"
            )
        began = time.monotonic()
        with running_service(directory):
            seconds = time.monotonic() - began
        yield Row("start of a service that has all this", f"{seconds:.1f} s")
        stored = sum(path.stat().st_size for path in (directory / "data").iterdir())
        yield Row("on disk, per block", f"{stored / blocks:.0f} bytes")


def counted(labels: int) -> Iterator[Row]:
    """Yield what it takes the coordinator to count what tasks wrote for so many labels."""
    result = coordinator_pb2.AttemptResult(
        label_table=label_table.pack(dict.fromkeys(range(labels), Totals(1, 1_000, 100_000)))
    )
    message = coordinator_pb2.AttemptReport(finished=result).SerializeToString()
    outputs = StageOutputs()
    began = time.process_time()
    for _ in range(REPORTS):
        heard = coordinator_pb2.AttemptReport.FromString(message)
        table = label_table.pack(result_from_wire(heard.finished).labels)
        outputs.add(ServiceId("ps-0"), NodeName("here"), table)
    each_us = 1e6 * (time.process_time() - began) / REPORTS / labels
    yield Row("coordinator's processor time per task and label", f"{each_us:.1f} µs")
    yield Row("its memory per task and label", f"{len(table) / labels:.0f} bytes")
    yield Row("in the report, per label", f"{len(message) / labels:.0f} bytes")


def fill(service: Service, tasks: int, labels: int, size: int) -> None:
    """Push what so many tasks wrote for each label, and have it sealed."""
    frame = os.urandom(size)
    total = Totals(labels, labels, labels * size)
    blocks = [common_pb2.Block(label=label, records=1, frame=frame) for label in range(labels)]
    for first in range(0, tasks, BATCH):
        attempts = [AttemptId(STAGE, task, EPOCH, 1) for task in range(first, first + BATCH)]
        requests = (
            partition_pb2.PushRequest(
                job_uid=JOB_UID,
                outputs=[
                    partition_pb2.AttemptBlocks(
                        attempt=attempt_to_wire(attempt),
                        layout=partition_pb2.LAYOUT_BY_LABEL,
                        blocks=blocks,
                        complete=totals_to_wire(total),
                    )
                ],
            )
            for attempt in attempts
        )
        if service.push(requests) != len(attempts):
            raise RuntimeError("the service has not taken all")
        service.seal((attempt, total) for attempt in attempts)


def read(service: Service, tasks: int, labels: int) -> Iterator[Row]:
    """Read a few labels as a reducer does, and yield what that took."""
    chosen = range(0, labels, max(1, labels // READ))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    for label in chosen:
        found = sum(1 for _ in read_label(service.address, TOKEN, JOB_UID, STAGE, label))
        if found != tasks:
            raise RuntimeError(f"label {label} has {found} blocks of {tasks}")
    seconds = (time.monotonic() - began) / len(chosen)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    yield Row(f"a label's {tasks:,} blocks, read", f"{seconds:.2f} s")
    yield at_most("memory that reading took the reader", grown / 1e6, 16 * MIB / 1e6, "MB")
