"""What a slow worker costs a job, with and without rivals, and what killed workers cost.

The tasks sleep, so that a machine with two cores can have many workers. A first stage waits until
all workers are there; what is measured is the second, from its first assignment to its last seal.
"""

import argparse
import os
import platform
import shlex
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disco import Job
from disco.submission import job_spec
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.session import session_token
from disco_engine.local.supervisor import Role
from disco_engine.records.readers import pairs_of
from disco_engine.results import read_part

SLOWER = 10
RIVALS = {"speculation_multiplier": 2.0, "speculation_quantile": 0.75}


class Sleepers(Job):
    """A task per partition that sleeps; on some workers, for ten times as long."""

    @staticmethod
    def map(entry: str, params: Any) -> Iterator[tuple[int, int]]:
        """Wait until all workers are there, then emit a record for every task."""
        import os
        import time

        while not os.path.exists(f"{params['directory']}/go"):
            time.sleep(0.02)
        if entry == "0":
            for number in range(params["tasks"]):
                yield number, 1

    @staticmethod
    def partition(key: int, partitions: int, params: Any) -> int:
        """Give every task one record."""
        return key

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[int, int]]:
        """Sleep, and pass the record on."""
        import os
        import time

        with open(f"{params['directory']}/slow") as file:
            slow = str(os.getppid()) in file.read().split()
        for key, count in pairs:
            time.sleep(params["seconds"] * (params["slower"] if slow else 1))
            yield key, count


def run_once(options: argparse.Namespace, *, slow: int, killed: int, rivals: bool) -> float:
    """Run the job once and return how many seconds its second stage took.

    Args:
        options: Of the command line.
        slow: How many workers are slow.
        killed: How many are killed when half of the tasks are done.
        rivals: Slow attempts get them.

    Raises:
        RuntimeError: The job failed, or its result is wrong.
    """
    with tempfile.TemporaryDirectory() as directory:
        params = {
            "directory": directory,
            "tasks": options.tasks,
            "seconds": options.seconds,
            "slower": SLOWER,
        }
        spec = job_spec(
            Sleepers(),
            {
                "input": [f"raw://{number}" for number in range(options.workers)],
                "partitions": options.tasks,
                "params": params,
            },
            name="sleepers",
            settings=RIVALS if rivals else {},
        )
        with LocalEngine(spec, workers=options.workers, partition_services=3) as engine:
            engine.start()
            workers = [c.pid for c in engine.children() if c.role is Role.WORKER and c.pid]
            Path(directory, "slow").write_text(" ".join(map(str, workers[:slow])))
            victims = workers[slow : slow + killed]
            for reply in engine.watch():
                stages = reply.progress.stages
                if stages and stages[0].tasks_running == options.workers:
                    Path(directory, "go").touch()
                if len(stages) > 1 and 2 * stages[1].tasks_done >= options.tasks:
                    while victims:
                        os.kill(victims.pop(), signal.SIGKILL)
            progress = engine.wait()
            check(engine, progress, options.tasks)
            return progress.stages[1].finished_s - progress.stages[1].started_s


def check(engine: LocalEngine, progress: coordinator_pb2.JobProgress, tasks: int) -> None:
    """Raise RuntimeError unless every record is in the result once."""
    found: Counter[int] = Counter()
    for part in engine.results():
        uid, address = progress.job_uid, part.service.address
        for key, count in pairs_of(read_part(address, session_token(), uid, part.stage, part.task)):
            found[key] += count
    if found != Counter(range(tasks)):
        raise RuntimeError(f"wrong result: {progress.message or found}")


def main() -> None:
    """Run all cases in rounds and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--workers", type=int, default=9, help="workers of one slot (default 9)")
    parser.add_argument("--tasks", type=int, default=54, help="tasks (default 54)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a task (default 2)")
    options = parser.parse_args()
    killed = max(1, round(0.11 * options.workers))
    cases: dict[str, dict[str, Any]] = {
        "undisturbed": {"slow": 0, "killed": 0, "rivals": False},
        "undisturbed, with rivals": {"slow": 0, "killed": 0, "rivals": True},
        f"a worker {SLOWER} times slower": {"slow": 1, "killed": 0, "rivals": False},
        f"a worker {SLOWER} times slower, with rivals": {"slow": 1, "killed": 0, "rivals": True},
        f"{killed} of {options.workers} workers killed": {
            "slow": 0,
            "killed": killed,
            "rivals": False,
        },
    }
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    for number in range(options.runs):
        for case, how in cases.items():
            seconds[case].append(run_once(options, **how))
            print(f"round {number + 1}, {case}: {seconds[case][-1]:.1f} s", file=sys.stderr)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(
        f"Machine: {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}."
        f" Command: `python bench/stragglers.py {shlex.join(sys.argv[1:])}`"
    )
    print("\n| case | median s | range s | times undisturbed |")
    print("| --- | --- | --- | --- |")
    usual = statistics.median(seconds["undisturbed"])
    for case, found in seconds.items():
        median = statistics.median(found)
        spread = f"{min(found):.1f}-{max(found):.1f}"
        print(f"| {case} | {median:.1f} | {spread} | {median / usual:.2f} |")


if __name__ == "__main__":
    main()
