"""Disks that fill up while a job runs: it says which, or goes on when there is room again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from disco import Job
from disco.submission import job_spec
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine

if TYPE_CHECKING:
    from tests.integration.conftest import User

Disk = Callable[[str], Path]

NOISE = """\
import random
from contextlib import suppress
from tempfile import gettempdir

from disco import Job, Stage, group_all, split

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

def take_all_room(interface, params):
    with suppress(OSError), open(f"{gettempdir()}/ballast", "wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass

def make_noise(interface, state, label, seeds):
    for seed in seeds:
        for key, value in Noise.map(seed, None):
            interface.output(0).add(key, value)

def collect(interface, state, label, pairs):
    for key, value in pairs:
        interface.output(0).add(key, value)

class Sorted(Job):
    pipeline = [
        (split, Stage("make", process=make_noise)),
        (group_all, Stage("collect", init=take_all_room, process=collect, sort=True)),
    ]
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

    assert "Error: shuffled failed after " in error
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
    user.temporary = disk("8m")

    error = user.fail(
        *("noise.py:Sorted", *SEEDS[:2]),
        *("--sort-memory", "1Mi", "--max-attempts", "1", "--output", "out"),
    )

    assert "stage collect, task 0 failed once; the last time: " in error
    assert f"time: cannot spill to {user.temporary}/disco-" in error
    assert "(No space left on device); free space there, sort with more memory, or use" in error
    assert "Traceback" not in error


def fill(disk: Path, *, but: int = 0) -> Path:
    """Use the room on a disk up, but for some bytes, and return the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with suppress(OSError):
            while file.write(bytes(4096)):
                pass
        file.truncate(file.tell() - but)
    return ballast


def test_a_job_without_room_for_its_files_is_not_begun_and_the_disk_is_named(
    user: User, disk: Disk
) -> None:
    user.temporary = disk("2m")
    ballast = fill(user.temporary, but=16 * 1024)

    process = user.start("noise.py:Shuffled", *SEEDS)
    _, err = process.communicate(timeout=150)

    assert process.returncode == 1
    assert err == (
        f"Error: the local engine cannot be started: the disk is full: {user.temporary} has 16,384"
        " of 2,097,152 bytes left; make room there, or set TMPDIR to a directory on another disk\n"
    )
    assert list(user.temporary.iterdir()) == [ballast]


class Lines(Job):
    """Count lines, slowly."""

    partitions = 1

    @staticmethod
    def map(line, params):  # type: ignore[no-untyped-def]
        import time

        time.sleep(0.2)
        yield "lines", 1

    @staticmethod
    def reduce(pairs, params):  # type: ignore[no-untyped-def]
        yield "lines", sum(count for _, count in pairs)


def test_processes_come_back_while_the_disk_is_full_and_the_job_goes_on_when_it_is_not(
    disk: Disk,
) -> None:
    small = disk("24m")
    spec = job_spec(Lines(), {"input": [f"raw://{n}" for n in range(20)]}, name="lines")
    with LocalEngine(spec, run_dir=small / "run", workers=1) as engine:
        engine.start()
        ballast, before = None, 0
        for reply in engine.watch():
            stages = reply.progress.stages
            if ballast is None and stages and stages[0].tasks_done >= 2:
                ballast, before = fill(small), reply.progress.epoch
                for child in engine.children():
                    assert child.pid is not None
                    os.kill(child.pid, signal.SIGKILL)
            elif ballast is not None and reply.progress.epoch != before:
                ballast.unlink(missing_ok=True)  # there are a service and another coordinator
        assert ballast is not None
        assert not ballast.exists()
        assert engine.wait().phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
        (part,) = engine.results()
        assert part.totals.records == 1


FILLER = """\
import tempfile
from pathlib import Path

from disco import Job

class Filler(Job):
    \"\"\"Its first attempt writes temporary files for as long as there is room.\"\"\"

    @staticmethod
    def map(line, params):
        marker = Path(params.marker)
        if not marker.exists():
            marker.touch()
            with open(f"{tempfile.mkdtemp()}/temporary", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(65536))
        yield line, 1
"""


def test_code_that_fills_the_disk_is_told_which_and_cleaned_up_behind(
    user: User, disk: Disk
) -> None:
    user.temporary = disk("24m")
    user.write("filler.py", FILLER)
    marker = user.directory.parent / "marker"

    ended = user.run("filler.py", "raw://line", "--param", f"marker={marker}")

    assert ended.status == 0, ended.err
    assert ended.out == "line\t1\n"
    assert f"No space left on device; the disk of {user.temporary}/disco-" in ended.err
    assert "where the task's temporary files are, has 0 of 25,165,824 bytes left" in ended.err
