"""Whether a container ran out of memory: read from what the kernel counts."""

from pathlib import Path

import pytest

from disco_engine.memory import OomWatch


@pytest.mark.parametrize(
    "text",
    ["oom 3\noom_kill {}\noom_group_kill 0\n", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"],
    ids=["cgroups v2", "cgroups v1"],
)
def test_each_kill_is_told_once(tmp_path: Path, text: str) -> None:
    counter = tmp_path / "counter"
    counter.write_text(text.format(2))
    watch = OomWatch([tmp_path / "no-such-file", counter])
    assert not watch.killed()
    counter.write_text(text.format(3))
    assert watch.killed()
    assert not watch.killed()


def test_without_counters_nothing_was_killed(tmp_path: Path) -> None:
    assert not OomWatch([tmp_path / "none"]).killed()
