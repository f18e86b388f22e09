"""Hundreds of workers, each with a stream of its own, and one coordinator: what each costs it.

The workers have no slots and answer at once, so it is the coordinator that is measured; they are in
two processes beside it, which take their share of the machine.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from disco.v1 import job_pb2
from disco_engine.core.settings import JobSettings
from disco_engine.local.client import CoordinatorClient
from disco_engine.wire import settings_to_wire
from scaling.crowd import Shared, run_crowd
from scaling.processes import Sampler, Usage
from scaling.service import JOB_UID, TOKEN, running_program, running_service
from scaling.table import Row, at_most

PROCESSES = 2
CREDIT = 20
_PATIENCE_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--workers", type=int, default=500, help="default 500")
    parser.add_argument("--tasks", type=int, default=50_000, help="default 50,000")
    parser.add_argument("--idle-s", type=float, default=20.0, help="heartbeats for so long")


def run(options: argparse.Namespace) -> Iterator[Row]:
    """Let them join, wait, and work; yield what that took the coordinator."""
    workers = options.workers // 10 if options.quick else options.workers
    tasks = options.tasks // 10 if options.quick else options.tasks
    idle_s = options.idle_s / 4 if options.quick else options.idle_s
    settings = JobSettings()
    spec = job_pb2.JobSpec(uid=JOB_UID, name="workers", settings=settings_to_wire(settings))
    context = multiprocessing.get_context("spawn")
    shared = Shared(context.Value("i", 0), context.Value("i", 0), context.Event())
    names = [f"w-{number}" for number in range(workers)]
    with (
        tempfile.TemporaryDirectory() as name,
        Sampler() as sampler,
        running_service(Path(name)) as service,
    ):
        job_file = Path(name, "job.pb")
        job_file.write_bytes(spec.SerializeToString())
        flags = ["--job-file", str(job_file), f"--partition-service=ps-0={service.address}"]
        with running_program("disco_engine.coordinator", Path(name), *flags) as port:
            time.sleep(0.3)  # for the sampler to look
            (usage,) = sampler.of("coordinator")
            address = f"127.0.0.1:{port}"
            began = time.monotonic()
            before_s = usage.cpu_s
            crowd = [
                context.Process(
                    target=run_crowd, args=(address, names[i::PROCESSES], tasks, CREDIT, shared)
                )
                for i in range(PROCESSES)
            ]
            for process in crowd:
                process.start()
            try:
                _until(lambda: shared.holding.value >= workers)
                seconds = time.monotonic() - began
                time.sleep(0.2)
                joined_us = 1e6 * (usage.cpu_s - before_s) / workers
                yield Row(f"{workers} workers have joined and have a task", f"{seconds:.1f} s")
                yield Row("its processor time per join and first task", f"{joined_us:.0f} µs")
                yield from _idle(usage, workers, idle_s, settings.worker_lease_s / 3)
                yield from _busy(usage, address, shared, tasks)
            finally:
                for process in crowd:
                    process.terminate()
                    process.join()
        yield at_most("memory of the coordinator", usage.peak_bytes / 1e6, 300, "MB")
        yield at_most("open descriptors of the coordinator", usage.descriptors, 2 * workers + 50)


def _idle(usage: Usage, workers: int, seconds: float, interval_s: float) -> Iterator[Row]:
    before_s = usage.cpu_s
    time.sleep(seconds)
    share = (usage.cpu_s - before_s) / seconds
    beats = workers / interval_s
    figure = f"coordinator's share of a core, {beats:.0f} heartbeats/s and no news"
    yield at_most(figure, 100 * share, 25, "%", 1)
    yield Row("its processor time per heartbeat, ticks included", f"{1e6 * share / beats:.0f} µs")


def _busy(usage: Usage, address: str, shared: Shared, tasks: int) -> Iterator[Row]:
    client = CoordinatorClient(address, TOKEN)
    try:
        before_s, began = usage.cpu_s, time.monotonic()
        shared.hurry.set()
        for reply in client.watch():
            if reply.progress.stages and reply.progress.stages[0].tasks_done == tasks:
                break
        seconds = time.monotonic() - began
    finally:
        client.close()
    time.sleep(0.2)
    each_us = 1e6 * (usage.cpu_s - before_s) / tasks
    yield Row(f"{tasks:,} tasks, by workers that answer at once", f"{tasks / seconds:,.0f} tasks/s")
    yield Row("its processor time per task", f"{each_us:.0f} µs")


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not reached():
        if time.monotonic() > deadline:
            raise RuntimeError("the workers do not all get a task")
        time.sleep(0.01)
