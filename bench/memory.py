"""How much the coordinator's memory grows per task: empty tasks, few and many."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "peers"))

from disco_jobs import Empty
from scaling.processes import Sampler

from disco.submission import job_spec
from disco_engine.local.engine import LocalEngine

FEW, MANY = 1_000, 21_000


def peak_bytes(tasks: int) -> int:
    """Return the peak resident bytes of the coordinator of a job with so many tasks."""
    spec = job_spec(Empty(), {"input": ["raw://"] * tasks}, name="memory")
    with LocalEngine(spec, workers=2) as engine, Sampler() as sampler:
        engine.start()
        engine.wait()
    return sampler.peak_bytes("coordinator")


def main() -> None:
    """Print the growth."""
    few, many = peak_bytes(FEW), peak_bytes(MANY)
    print(f"coordinator: {few / 1e6:.0f} MB with {FEW} tasks, {many / 1e6:.0f} MB with {MANY}")
    print(f"growth: {(many - few) / (MANY - FEW):.0f} bytes per task")


if __name__ == "__main__":
    main()
