"""Partition services that die, come back or rot, with one copy of each output and with two.

Between map and reduce there is a gate, so what a service holds is known when something befalls it:
all of the maps' outputs are sealed and on disk, and nobody has read them.
"""

import asyncio
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import eventually

from disco import Job
from disco.submission import job_spec
from disco.util import kvgroup
from disco.v1 import coordinator_pb2, jobs_pb2
from disco_engine.core.model import AttemptId
from disco_engine.local.engine import LocalEngine
from disco_engine.local.session import session_token
from disco_engine.partition.recovery import recover
from disco_engine.records.blocks import Frame
from disco_engine.records.readers import pairs_of
from disco_engine.results import read_part
from disco_engine.rpc import Line, aio_channel, credentials_of
from disco_gateway.backend import ResultSource
from disco_gateway.errors import UnavailableError
from disco_gateway.results import result_replies
from disco_operator.gateway.results import parts_of
from disco_operator.model import JobKey

MAPS = 12
WORDS = 200
LABELS = 3
PATIENCE_S = 150.0


class CountNumbers(Job):
    """Count which numbers the inputs name, and note which input is mapped.

    Nothing is mapped before both workers are at it, so that either service gets something.
    """

    partitions = LABELS

    @staticmethod
    def map(entry: str, params: Any) -> Iterator[tuple[bytes, int]]:
        import os
        import time

        open(f"{params['mapping']}/{os.getppid()}", "w").close()
        while len(os.listdir(params["mapping"])) < 2:
            time.sleep(0.02)
        with open(params["mapped"], "a") as mapped:
            mapped.write(f"{entry}\n")
        for i in range(WORDS):
            yield b"word-%d" % (int(entry) * i % 97), 1

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[bytes, int]]:
        import os
        import time

        open(f"{params['reducing']}/{os.getppid()}", "w").close()
        while not os.path.exists(params["gate"]):
            time.sleep(0.02)
        for word, ones in kvgroup(sorted(pairs)):
            yield word, sum(ones)


EXPECTED = Counter(b"word-%d" % (seed * i % 97) for seed in range(MAPS) for i in range(WORDS))


class Halfway:
    """A job whose maps are done, with two partition services."""

    def __init__(self, directory: Path, copies: int) -> None:
        self.copies = copies
        self.directory = directory
        self.mapped = directory / "mapped"
        self.gate = directory / "gate"
        self.mapping, self.reducing = directory / "mapping", directory / "reducing"
        self.mapping.mkdir()
        self.reducing.mkdir()
        places = {
            name: str(getattr(self, name)) for name in ("mapped", "gate", "mapping", "reducing")
        }
        self.spec = job_spec(
            CountNumbers(),
            {
                "input": [f"raw://{seed}" for seed in range(MAPS)],
                "params": places,
                "max_attempts": 1,
            },
            name="copied",
            settings={"copies": copies, "service_lease_s": 10.0},
        )
        self.engine = LocalEngine(self.spec, workers=2, partition_services=2)

    def data_of(self, service: str) -> Path:
        return self.engine.run_dir / "data" / service

    def on_disk(self, service: str) -> tuple[set[AttemptId], set[AttemptId]]:
        """Return what a service that is killed now would know to be sealed, and to be a copy."""
        copy = self.directory / "looked-at"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.data_of(service), copy)
        holdings = recover(copy, self.spec.uid)
        try:
            ledger = holdings.ledger
            return set(ledger.sealed_attempts()), set(ledger.copies())
        finally:
            holdings.close()

    def wait_for_maps(self) -> dict[str, set[int]]:
        """Wait until all that the maps left is on disk; return whose output each service has."""

        def are_down() -> bool:
            progress = self.engine.progress
            if progress is None or not progress.stages or progress.stages[0].tasks_done < MAPS:
                return False
            down = [self.on_disk(service) for service in ("ps-0", "ps-1")]
            copies = MAPS if self.copies > 1 else 0
            return [sum(map(len, kind)) for kind in zip(*down, strict=True)] == [MAPS, copies]

        eventually(are_down, PATIENCE_S)
        return {
            service: {attempt.task for attempt in self.on_disk(service)[0]}
            for service in ("ps-0", "ps-1")
        }

    def wait_for_both_workers(self) -> None:
        """Wait until each of them reduces something, so that either service gets a result."""
        eventually(lambda: len(list(self.reducing.iterdir())) >= 2, PATIENCE_S)

    def kill(self, service: str) -> None:
        (pid,) = (child.pid for child in self.engine.children() if child.id == service)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def wait_for_results(self) -> None:
        """Wait until the result and its copies are on disk."""
        parts = self.engine.results()

        def are_down() -> bool:
            down = [self.on_disk(service) for service in ("ps-0", "ps-1")]
            kinds = zip(*down, strict=True)
            last = [{a for one in kind for a in one if a.stage == parts[0].stage} for kind in kinds]
            return [len(kind) for kind in last] == [len(parts), len(parts)]

        eventually(are_down, PATIENCE_S)

    async def read_as_on_a_cluster(self) -> Counter[bytes]:
        """Return the result as a cluster's gateway finds it: from what the services say they have.

        Raises:
            UnavailableError: A service is away.
        """
        addresses = dict(zip(("ps-0", "ps-1"), self.engine.services(), strict=True))

        def connect(service: str) -> Line:
            channel = aio_channel(addresses[service])
            return Line(channel=channel, metadata=credentials_of(session_token()))

        parts = self.engine.results()
        told = {"parts": len(parts), "records": sum(part.totals.records for part in parts)}
        uid = self.spec.uid
        found = await parts_of(JobKey("ns", "copied"), uid, tuple(addresses), connect, told)
        source = ResultSource(job_uid=uid, parts=found, connect=connect)
        job = jobs_pb2.Job(namespace="ns", name="copied", uid=uid)
        replies = result_replies(jobs_pb2.ResultsRequest(), job, source, None, patience_s=10.0)
        frames = [Frame(b.frame) async for reply in replies for b in reply.blocks]
        return Counter(dict(pairs_of(frames)))

    def finish(self) -> list[int]:
        """Open the gate, check the result, and return the inputs that were mapped again."""
        self.gate.touch()
        progress = self.engine.wait(PATIENCE_S)
        assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, progress
        records: Counter[bytes] = Counter()
        for part in self.engine.results():
            frames = read_part(
                part.service.address, session_token(), self.spec.uid, part.stage, part.task
            )
            for word, count in pairs_of(frames):
                assert word not in records, "a record came twice"
                records[word] = count
        assert records == EXPECTED
        runs = Counter(int(entry) for entry in self.mapped.read_text().split())
        assert set(runs) == set(range(MAPS))
        return sorted((runs - Counter(range(MAPS))).elements())


@pytest.mark.parametrize("copies", [1, 2])
def test_a_service_that_is_gone_costs_what_only_it_had(tmp_path: Path, copies: int) -> None:
    job = Halfway(tmp_path, copies)
    with job.engine.start():
        held = job.wait_for_maps()
        shutil.rmtree(job.data_of("ps-0"))
        job.kill("ps-0")
        assert job.finish() == (sorted(held["ps-0"]) if copies == 1 else [])


def test_a_service_that_comes_back_with_its_directory_costs_nothing(tmp_path: Path) -> None:
    job = Halfway(tmp_path, 1)
    with job.engine.start():
        job.wait_for_maps()
        job.kill("ps-0")
        assert job.finish() == []


@pytest.mark.parametrize("copies", [1, 2])
def test_damaged_bytes_are_found_and_cost_what_only_they_had(tmp_path: Path, copies: int) -> None:
    job = Halfway(tmp_path, copies)
    with job.engine.start():
        held = job.wait_for_maps()
        (log,) = job.data_of("ps-0").glob("stage-1.*.log")
        with log.open("r+b") as file:
            middle = file.seek(0, os.SEEK_END) // 2
            file.seek(middle)
            (byte,) = file.read(1)
            file.seek(middle)
            file.write(bytes([byte ^ 0x10]))
        again = job.finish()
        if copies == 2:
            assert again == []
        else:
            assert again
            assert set(again) <= held["ps-0"]


def test_results_are_read_from_copies_when_a_service_is_gone_after_the_end(tmp_path: Path) -> None:
    job = Halfway(tmp_path, copies=2)
    with job.engine.start():
        job.wait_for_both_workers()
        assert job.finish() == []
        assert {part.service.service_id for part in job.engine.results()} == {"ps-0", "ps-1"}
        job.wait_for_results()
        shutil.rmtree(job.data_of("ps-0"))
        job.kill("ps-0")
        found: list[Counter[bytes]] = []

        def is_read() -> bool:
            with suppress(UnavailableError):  # it is being started again
                found.append(asyncio.run(job.read_as_on_a_cluster()))
            return bool(found)

        eventually(is_read, PATIENCE_S)
        assert found == [EXPECTED]
