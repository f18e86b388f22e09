"""Processes that lose their parents while a worker lives."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, subprocess, sys, time
from disco_engine.worker import orphans

orphans._LOOK_S = 0.05
ours = subprocess.Popen(["sh", "-c", "read line; exit 7"], stdin=subprocess.PIPE)
with orphans.ending_orphans():
    os.system("true & sleep 600 & sh -c 'setsid sleep 600 &'")
    while len(orphans.children()) != 3:  # `true` has been buried, and nobody else
        time.sleep(0.01)
    others = orphans.children() - {ours.pid}
    ours.communicate(b"go")
    print(ours.returncode, *others)
"""


def test_orphans_are_adopted_buried_and_ended_and_other_children_are_left_alone() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    status, *others = map(int, ended.stdout.split())
    assert status == 7
    assert len(others) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in others)
