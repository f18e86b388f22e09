"""Many tasks that do next to nothing, through the whole local engine with two workers.

What is left is what a task costs in the framework: from the first process's start to the last
one's end, and for each kind of process.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

from disco_jobs import Empty

from disco.submission import job_spec
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from disco_operator.model import Json
from disco_operator.progress import note_progress
from scaling.processes import Sampler
from scaling.table import Row, at_least, at_most

ROLES = ("coordinator", "partition service", "worker", "slot")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--tasks", type=int, default=50_000, help="default 50,000")


def run(options: argparse.Namespace) -> Iterator[Row]:
    """Run the job once and yield what it took."""
    tasks = options.tasks // 10 if options.quick else options.tasks
    spec = job_spec(Empty(), {"input": ["raw://"] * tasks}, name="tasks")
    largest = status = 0
    began = time.monotonic()
    with Sampler(interval_s=0.5) as sampler, LocalEngine(spec, workers=2) as engine:
        engine.start()
        for reply in engine.watch():
            # What watchers of a running job get; the parts of a result are told once, at its end.
            if not reply.progress.results:
                largest = max(largest, reply.progress.ByteSize())
            status = max(status, status_bytes(reply.progress))
        phase = coordinator_pb2.JobPhase.Name(reply.progress.phase)
    seconds = time.monotonic() - began
    if phase != "JOB_PHASE_SUCCEEDED":
        raise RuntimeError(f"the job ended as {phase}: {reply.progress.message}")
    yield at_least(f"{tasks:,} tasks, process start included", tasks / seconds, 3_000, "tasks/s")
    yield at_most(
        "coordinator's memory at its peak", sampler.peak_bytes("coordinator") / 1e6, 300, "MB"
    )
    yield at_most("progress of the running job, one message", largest / 1e3, 20, "kB", 1)
    yield at_most("status of the DiscoJob", status / 1e3, 20, "kB", 1)
    for role in ROLES:
        each_us = 1e6 * sampler.cpu_s(role) / tasks
        yield Row(f"processor time per task, {role}s", f"{each_us:.0f} µs")


def status_bytes(progress: coordinator_pb2.JobProgress) -> int:
    """Return how large a DiscoJob's status is with what the operator takes over from *progress*."""
    status: Json = {}
    note_progress(status, progress, datetime.now(UTC))
    return len(json.dumps(status, separators=(",", ":")).encode())
