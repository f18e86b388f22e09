"""How soon a job of many tasks ends when it is cancelled, at moments drawn by lot.

The first moments are while it is planned and just before its stage ends; the others lie between.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

from disco_jobs import Empty

from disco.submission import job_spec
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from scaling.table import Row, at_most


class Ended(NamedTuple):
    """One cancelled job.

    Attributes:
        when: The moment, for people.
        answer_s: Until the call was answered.
        over_s: From the call until the job was over.
        gone_s: From the call until no worker process was left.
    """

    when: str
    answer_s: float
    over_s: float
    gone_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--tasks", type=int, default=50_000, help="default 50,000")
    parser.add_argument("--moments", type=int, default=10, help="jobs to cancel (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default 1)")


def run(options: argparse.Namespace) -> Iterator[Row]:
    """Cancel one job after the other and yield how long the slowest took."""
    tasks = options.tasks // 10 if options.quick else options.tasks
    moments = 3 if options.quick else options.moments
    lot = random.Random(options.seed)
    shares = [0.0, 0.999, *(lot.random() for _ in range(moments - 2))]
    ended = [cancelled(tasks, share) for share in shares[:moments]]
    for one in ended:
        text = f"answered in {1e3 * one.answer_s:.0f} ms, over {one.over_s:.2f} s"
        yield Row(f"cancelled {one.when}", f"{text}, workers gone {one.gone_s:.2f} s")
    answer_s = max(one.answer_s for one in ended)
    yield at_most(f"slowest answer, {tasks:,} tasks", answer_s, 1, "s", 3)
    yield at_most("slowest end of the job", max(one.over_s for one in ended), 2, "s", 2)
    yield at_most("slowest end of the workers", max(one.gone_s for one in ended), 5, "s", 2)


def cancelled(tasks: int, share: float) -> Ended:
    """Run a job, cancel it when so large a share of its tasks is done, and time its end."""
    spec = job_spec(Empty(), {"input": ["raw://"] * tasks}, name="cancel")
    with LocalEngine(spec, workers=2) as engine:
        engine.start()
        when = "before it began"
        for reply in engine.watch():
            done = sum(stage.tasks_done for stage in reply.progress.stages)
            when = f"with {done:,} tasks done" if done else "while it was planned"
            if reply.progress.epoch and done >= share * tasks:
                break
        began = time.monotonic()
        engine.cancel("for the benchmark")
        answered = time.monotonic()
        phase = engine.wait().phase
        over = time.monotonic()
        engine.stop_workers()
        gone = time.monotonic()
    ends = (coordinator_pb2.JOB_PHASE_CANCELLED, coordinator_pb2.JOB_PHASE_SUCCEEDED)
    if phase not in ends:
        raise RuntimeError(f"it ended as {coordinator_pb2.JobPhase.Name(phase)}")
    return Ended(when, answered - began, over - began, gone - began)
