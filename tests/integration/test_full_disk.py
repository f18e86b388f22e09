"""Disks that fill up while a job runs: it says which, or goes on when there is room again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import User

Disk = Callable[[str], Path]

NOISE = """\
import random
from disco import Job

class Noise(Job):
    \"\"\"Each input becomes 2 MB that cannot be compressed.\"\"\"

    @staticmethod
    def map(seed, params):
        noise = random.Random(seed)
        for number in range(1000):
            yield noise.randbytes(1000).hex(), number

class Shuffled(Noise):
    partitions = 2

    @staticmethod
    def reduce(pairs, params):
        yield "pairs", sum(1 for _ in pairs)

class Sorted(Shuffled):
    partitions = 1
    sort = True
"""
MANIFEST = """\
apiVersion: discoproject.org/v1alpha1
kind: DiscoJob
metadata: {name: shuffled}
spec:
  job: noise:Shuffled
  inputs: [{inputs}]
  retries: {maxConsecutiveLosses: 1}
"""
SEEDS = [f"raw://{seed}" for seed in range(12)]  # 24 MB of text, half of that compressed


@pytest.fixture(autouse=True)
def job_file(user: User) -> None:
    user.write("noise.py", NOISE)


def test_an_output_on_a_full_disk_fails_the_job_and_leaves_the_disk_as_it_was(
    user: User, disk: Disk
) -> None:
    small = disk("16m")

    error = user.fail("noise.py:Noise", *SEEDS, "--max-attempts", "2", "--output", f"{small}/out")

    assert "failed 2 times; the last time: cannot write " + str(small / "out") in error
    assert "No space left on device; free some space there, or choose another output\n" in error
    assert list(small.iterdir()) == []


def test_a_full_disk_below_the_partition_service_fails_the_job_and_is_named(
    user: User, disk: Disk
) -> None:
    user.temporary = disk("8m")
    user.write("job.yaml", MANIFEST.replace("{inputs}", ", ".join(map(repr, SEEDS))))

    error = user.fail("job.yaml", "--output", "out")

    assert f"the disk is full: {user.temporary}/disco-" in error
    assert " of 8,388,608 bytes used" in error
    assert "make room there, or give it more" in error


def test_a_job_waits_for_room_on_a_full_disk_and_goes_on(user: User, disk: Disk) -> None:
    user.temporary = disk("24m")
    ballast = user.temporary / "ballast"
    ballast.write_bytes(bytes(16 * 1024 * 1024))

    with user.start("noise.py:Shuffled", *SEEDS) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "the disk is full" in line:
                break
        ballast.unlink()
        out, err = process.communicate(timeout=150)

    assert process.returncode == 0, err
    counts = [line.split("\t") for line in out.splitlines()]
    assert sum(int(count) for _, count in counts) == 1000 * len(SEEDS)
    assert list(user.temporary.iterdir()) == []


def test_a_sort_that_finds_no_room_for_its_runs_fails_the_job_and_names_the_directory(
    user: User, disk: Disk
) -> None:
    user.temporary = disk("17m")

    error = user.fail(
        *("noise.py:Sorted", *SEEDS),
        *("--sort-memory", "1Mi", "--max-attempts", "1", "--output", "out"),
    )

    assert "stage reduce, task 0 failed once; the last time: SpillError: [Errno 28] " in error
    assert f"cannot spill to {user.temporary}/disco-" in error
    assert "(No space left on device); free space there, sort with more memory, or use" in error
    assert "Traceback" not in error
