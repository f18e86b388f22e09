"""Some seeds of the soak; `make soak` plays as many as there is time for."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("seeds", ["0:3", "3:6"])
def test_whatever_happens_to_its_processes_a_job_ends_with_the_right_records(seeds: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chaos", seeds, "--faults", "3"], capture_output=True, text=True
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "3 passed, 0 failed" in done.stdout
