"""Some seeds of the soak; `make soak` plays as many as there is time for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(900)  # it may be a busy machine; each takes some twenty seconds
@pytest.mark.parametrize("seeds", ["1:4", "4:7"])
def test_whatever_happens_to_its_processes_a_job_ends_with_the_right_records(seeds: str) -> None:
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "chaos", seeds, "--faults", "3"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "3 passed, 0 failed" in done.stdout
