"""Whatever process is killed at whatever moment, a job ends with exactly the right records."""

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disco import Job
from disco.submission import job_spec
from disco.util import kvgroup
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.session import session_token
from disco_engine.local.supervisor import Role
from disco_engine.records.readers import pairs_of
from disco_engine.results import read_part

MAPS = 60
WORDS = 40  # per map task
LABELS = 6


class CountNumbers(Job):
    """Count which numbers the inputs name; slow enough to be killed on the way."""

    partitions = LABELS
    sort = True

    @staticmethod
    def map(entry: str, params: Any) -> Iterator[tuple[bytes, int]]:
        import time

        seed = int(entry)
        for i in range(WORDS):
            time.sleep(0.0005)
            yield b"word-%d" % (seed * i % 97), 1

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[bytes, int]]:
        import time

        for word, ones in kvgroup(pairs):
            time.sleep(0.001)
            yield word, sum(ones)


EXPECTED = Counter(b"word-%d" % (seed * i % 97) for seed in range(MAPS) for i in range(WORDS))


def slots_of(worker: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split()]


def victim(engine: LocalEngine, role: str, choose: random.Random) -> int | None:
    """Return the process to kill, or None if there is none at this moment."""
    if role == "slot":
        workers = [child.pid for child in engine.children() if child.role is Role.WORKER]
        slots = [pid for worker in workers if worker is not None for pid in slots_of(worker)]
        return choose.choice(slots) if slots else None
    pids = [child.pid for child in engine.children() if child.role == role and child.pid]
    return choose.choice(pids) if pids else None


def records_of(engine: LocalEngine, uid: str) -> Iterator[tuple[bytes, int]]:
    for part in engine.results():
        frames = read_part(part.service.address, session_token(), uid, part.stage, part.task)
        yield from pairs_of(frames)


def run_and_kill(
    role: str, seed: int, *, kills: int = 2, partition_services: int = 1
) -> Counter[bytes]:
    """Run the job, kill a process of *role* whenever another random share of tasks is done."""
    choose = random.Random(f"{role} {seed}")
    total = MAPS + LABELS
    moments = sorted(choose.randrange(total) for _ in range(kills))
    spec = job_spec(
        CountNumbers(),
        {"input": [f"raw://{seed}" for seed in range(MAPS)], "max_attempts": 10},
        name="killed",
        settings={"worker_lease_s": 3.0, "service_lease_s": 10.0},
    )
    with LocalEngine(spec, workers=2, partition_services=partition_services) as engine:
        engine.start()
        for reply in engine.watch():
            done = sum(stage.tasks_done for stage in reply.progress.stages)
            over = reply.progress.phase >= coordinator_pb2.JOB_PHASE_SUCCEEDED
            if moments and done >= moments[0] and not over:
                pid = victim(engine, role, choose)
                if pid is not None:
                    moments.pop(0)
                    os.kill(pid, signal.SIGKILL)
        progress = engine.wait()
        assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress
        records: Counter[bytes] = Counter()
        for word, count in records_of(engine, spec.uid):
            assert word not in records, "a record came twice"
            records[word] = count
        return records


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("role", ["worker", "slot", "partition service", "coordinator"])
def test_a_killed_process_neither_loses_nor_doubles_a_record(role: str, seed: int) -> None:
    assert run_and_kill(role, seed) == EXPECTED


def test_with_two_partition_services_a_killed_one_costs_only_what_it_held() -> None:
    assert run_and_kill("partition service", 7, kills=3, partition_services=2) == EXPECTED


def test_a_result_outlives_a_partition_service_killed_right_after_the_success() -> None:
    """A seal is answered before its data is on disk; success must not be."""
    spec = job_spec(
        CountNumbers(), {"input": [f"raw://{seed}" for seed in range(MAPS)]}, name="killed"
    )
    with LocalEngine(spec, workers=2, slots=1) as engine:
        engine.start()
        assert engine.wait().phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
        (service,) = (c.pid for c in engine.children() if c.role is Role.PARTITION_SERVICE)
        assert service is not None
        os.kill(service, signal.SIGKILL)
        assert Counter(dict(records_of(engine, spec.uid))) == EXPECTED
