"""How much the coordinator's memory grows per task: empty tasks, few and many."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from disco_jobs import Empty

from disco.submission import job_spec
from disco_engine.local.engine import LocalEngine
from disco_engine.local.supervisor import Role

FEW, MANY = 1_000, 21_000


def peak_bytes(tasks: int) -> int:
    """Return the peak resident bytes of the coordinator of a job with so many tasks."""
    spec = job_spec(Empty(), {"input": ["raw://"] * tasks}, name="memory")
    peak = 0
    with LocalEngine(spec, workers=2) as engine:
        engine.start()
        for _ in engine.watch():
            for child in engine.children():
                if child.role is Role.COORDINATOR and child.pid is not None:
                    status = Path(f"/proc/{child.pid}/status").read_text()
                    (line,) = (row for row in status.splitlines() if row.startswith("VmHWM:"))
                    peak = max(peak, int(line.split()[1]) * 1024)
    return peak


def main() -> None:
    """Print the growth."""
    few, many = peak_bytes(FEW), peak_bytes(MANY)
    print(f"coordinator: {few / 1e6:.0f} MB with {FEW} tasks, {many / 1e6:.0f} MB with {MANY}")
    print(f"growth: {(many - few) / (MANY - FEW):.0f} bytes per task")


if __name__ == "__main__":
    main()
