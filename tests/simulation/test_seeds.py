"""A few hundred jobs in which everything dies; ``make simulate`` runs as many as you like."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulator as ``make simulate`` does."""
    return subprocess.run(
        [sys.executable, "-m", "simulator", *arguments],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(900)  # it may be a busy machine; each takes some ten seconds of two cores
@pytest.mark.parametrize("seeds", ["0:75", "75:150", "150:225", "225:300"])
def test_jobs_end_well_whatever_dies(seeds: str) -> None:
    first, _, end = seeds.partition(":")
    done = simulate(seeds)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{int(end) - int(first)} passed, 0 failed"


@pytest.mark.timeout(900)
def test_jobs_end_well_when_nothing_but_partition_services_freezes() -> None:
    done = simulate("0:60", "--faults", "freeze_service")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_fault_that_there_is_not_is_refused_with_those_there_are() -> None:
    done = simulate("0:1", "--faults", "freeze,burn")
    assert done.returncode == 2
    assert "no fault 'burn'; there are: kill, kill_worker" in " ".join(done.stderr.split())


@pytest.mark.timeout(900)
def test_a_seed_is_repeated_exactly() -> None:
    first, second = simulate("12", "--story"), simulate("12", "--story")
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout == second.stdout
